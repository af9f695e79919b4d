package zk_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/huker/huker/internal/coord"
	"github.com/huker/huker/internal/coord/zk"
)

// holdVariable makes this program a holder of a lease instead of a test: "<server>".
const holdVariable = "HUKER_ZKTEST_HOLD"

func TestMain(m *testing.M) {
	if server := os.Getenv(holdVariable); server != "" {
		if err := hold(server); err != nil {
			fmt.Println("failed:", err)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// hold takes the lease, writes in its name as long as it believes in it, and says what becomes of that.
func hold(server string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // ends with the test
		cancel()
	}()
	s, err := zk.Open(ctx, zk.Config{Servers: []string{server}})
	if err != nil {
		return err
	}
	defer s.Close()
	sess, err := s.NewSession(ctx, holdTTL)
	if err != nil {
		return err
	}
	l, err := coord.Elect(ctx, s, sess, "/lease", nil)
	if err != nil {
		return err
	}
	fmt.Println("holding", l.Token)
	for ctx.Err() == nil && l.Context.Err() == nil {
		_ = s.Apply(ctx, l.Guard(), coord.Put("/guarded", fmt.Append(nil, l.Token), nil))
		_ = s.Apply(ctx, coord.Put("/owned", fmt.Append(nil, l.Token), sess))
	}
	fmt.Println("lost", context.Cause(l.Context))
	return ctx.Err()
}

const holdTTL = 2 * time.Second

func expectLine(t *testing.T, r *bufio.Reader, format string, into ...any) {
	t.Helper()
	line, err := r.ReadString('\n')
	require.NoError(t, err)
	_, err = fmt.Sscanf(line, format, into...)
	require.NoError(t, err, line)
}

// soon is a context for what should not take long.
func soon(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func put(t *testing.T, s coord.Store, key, value string) {
	t.Helper()
	require.NoError(t, s.Apply(soon(t), coord.Put(key, []byte(value), nil)))
}

func get(t *testing.T, s coord.Store, key string) coord.Entry {
	t.Helper()
	e, err := s.Get(soon(t), key)
	require.NoError(t, err)
	return e
}

func elect(t *testing.T, s coord.Store, ttl time.Duration, key string) *coord.Leadership {
	t.Helper()
	sess, err := s.NewSession(soon(t), ttl)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	giveUp := time.AfterFunc(30*time.Second, cancel)
	l, err := coord.Elect(ctx, s, sess, key, nil)
	giveUp.Stop()
	require.NoError(t, err)
	return l
}

func long(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("not in a short run")
	}
}
