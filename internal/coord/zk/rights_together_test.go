package zk_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/huker/huker/internal/coord"
	"github.com/huker/huker/internal/coord/zk"
	"github.com/huker/huker/internal/coord/zk/zktest"
)

// TestAdmittedAtOnce: readers of one prefix are admitted at the same time, by two control planes, while keys are made there. A walk that
// began before somebody got a right must not take it away again further down.
func TestAdmittedAtOnce(t *testing.T) {
	e := zktest.Start(t, 1)
	admin := e.Root(t)
	gates := []*zk.Gatekeeper{zk.NewGatekeeper(admin), zk.NewGatekeeper(e.Root(t))}
	conn := e.Raw(t, zk.RootPrincipal)
	rounds := 8
	if testing.Short() {
		rounds = 2
	}
	const readers, writers = 8, 2
	for round := range rounds {
		prefix := fmt.Sprintf("/r%d", round)
		for i := range readers {
			require.NoError(t, gates[i%len(gates)].Admit(soon(t), fmt.Sprintf("leaver.%d", i), coord.Rights{Read: []string{prefix}}))
		}
		var wg sync.WaitGroup
		errs := make(chan error, 2*readers+writers)
		for i := range readers {
			who := fmt.Sprintf("reader.%d", i)
			wg.Go(func() { errs <- gates[i%len(gates)].Admit(soon(t), who, coord.Rights{Read: []string{prefix}}) })
			wg.Go(func() { errs <- gates[i%len(gates)].Expel(soon(t), fmt.Sprintf("leaver.%d", i)) })
		}
		for w := range writers {
			wg.Go(func() {
				errs <- func() error {
					for n := range 12 {
						if err := admin.Apply(context.WithoutCancel(t.Context()), coord.Put(fmt.Sprintf("%s/%d/%d", prefix, n, w), nil, nil)); err != nil {
							return err
						}
					}
					return nil
				}()
			})
		}
		wg.Wait()
		for range 2*readers + writers {
			require.NoError(t, <-errs)
		}
		all := bearers(t, conn, prefix, zk.RootPrincipal)
		all = slices.DeleteFunc(all, func(path string) bool { return strings.HasSuffix(path, "/ kept") }) // nobody's but the control plane's
		require.Len(t, all, 12*(1+writers*3), "12 directories, and for each writer in each: directory, value and marker")
		for i := range readers {
			require.ElementsMatch(t, all, bearers(t, conn, prefix, fmt.Sprintf("reader.%d", i)), "reader %d in round %d", i, round)
		}
	}
}
