package mysql_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/huker/huker/internal/metastore"
	"github.com/huker/huker/internal/metastore/mysql"
	"github.com/huker/huker/internal/metastore/mysql/mysqltest"
	"github.com/huker/huker/internal/model"
)

// put writes a secret, and get reads it: "" when there is none.
func put(ctx context.Context, tx metastore.Tx, name, value string) error {
	return tx.Secrets().Put(ctx, "o", name, []byte(value))
}

func get(t *testing.T, s metastore.Store, name string) (value string) {
	t.Helper()
	err := s.View(t.Context(), func(tx metastore.Tx) error {
		v, err := tx.Secrets().Get(t.Context(), "o", name)
		value = string(v)
		return err
	})
	if !errors.Is(err, metastore.ErrNotFound) {
		require.NoError(t, err)
	}
	return value
}

// switchable is a fate that can be set while the store is open.
type switchable struct {
	fate atomic.Pointer[func(string) mysqltest.Fate]
}

func (s *switchable) ask(statement string) mysqltest.Fate {
	if f := s.fate.Load(); f != nil {
		return (*f)(statement)
	}
	return mysqltest.Pass
}

// once has the nth statement from now on that begins with prefix meet its fate.
func (s *switchable) once(prefix string, nth int, fate mysqltest.Fate) (met *atomic.Bool) {
	met = &atomic.Bool{}
	f := func(statement string) mysqltest.Fate {
		if strings.HasPrefix(statement, prefix) {
			if nth--; nth == 0 {
				met.Store(true)
				return fate
			}
		}
		return mysqltest.Pass
	}
	s.fate.Store(&f)
	return met
}

func openFaulty(t *testing.T) (*mysql.Store, *switchable) {
	t.Helper()
	s, f := server(t), &switchable{}
	return openAt(t, config(s.Proxy(t, f.ask), s.Database(t))), f
}

// TestCommitNotKnown: the connection is lost around COMMIT. From this side it is all the same whether the server still got it.
func TestCommitNotKnown(t *testing.T) {
	for name, c := range map[string]struct {
		fate mysqltest.Fate
		want string
	}{
		"it took place":      {mysqltest.CutAfter, "new"},
		"it took place not":  {mysqltest.CutBefore, "old"},
		"nothing was broken": {mysqltest.Pass, "new"},
	} {
		t.Run(name, func(t *testing.T) {
			st, f := openFaulty(t)
			i := model.Instance{ID: "i"}
			require.NoError(t, st.Update(t.Context(), func(tx metastore.Tx) error {
				return errors.Join(put(t.Context(), tx, "n", "old"), tx.Instances().Create(t.Context(), &i))
			}))
			met, runs := f.once("COMMIT", 1, c.fate), 0
			err := st.Update(t.Context(), func(tx metastore.Tx) error {
				runs++
				return errors.Join(put(t.Context(), tx, "n", "new"), tx.Instances().Update(t.Context(), &i))
			})
			require.True(t, met.Load())
			require.Equal(t, 1, runs, "run again, though it may have taken place")
			require.Equal(t, c.want, get(t, st, "n"))
			if c.fate == mysqltest.Pass {
				require.NoError(t, err)
				return
			}
			require.ErrorIs(t, err, metastore.ErrUnknown)
			require.NotErrorIs(t, err, metastore.ErrUnavailable)
			require.EqualValues(t, 1, i.Version, "the caller's value must not claim a version that may not be there")
		})
	}
}

// TestCommitIsNotAnswered: a server that was cut off after it had got the COMMIT. The wait for it has an end, and what one knows then is nothing.
func TestCommitIsNotAnswered(t *testing.T) {
	if testing.Short() {
		t.Skip("takes as long as the store waits")
	}
	t.Parallel()
	st, f := openFaulty(t)
	f.once("COMMIT", 1, mysqltest.Silence)
	started := time.Now()
	err := st.Update(t.Context(), func(tx metastore.Tx) error { return put(t.Context(), tx, "n", "new") })
	require.ErrorIs(t, err, metastore.ErrUnknown)
	require.GreaterOrEqual(t, time.Since(started), mysql.IOTimeout)
	require.Less(t, time.Since(started), 3*mysql.IOTimeout)
	require.Equal(t, "new", get(t, st, "n"))
}

// TestCommitOfNothing: where nothing was written, there is nothing that one might not know; a View does not even wait for it.
func TestCommitOfNothing(t *testing.T) {
	for _, fate := range []mysqltest.Fate{mysqltest.CutAfter, mysqltest.CutBefore} {
		st, f := openFaulty(t)
		for name, transact := range map[string]func(context.Context, func(metastore.Tx) error) error{"Update": st.Update, "View": st.View} {
			met, runs := f.once("COMMIT", 1, fate), 0
			require.NoError(t, transact(t.Context(), func(tx metastore.Tx) error {
				runs++
				_, err := tx.Hosts().List(t.Context())
				return err
			}), name)
			require.Eventually(t, met.Load, 10*time.Second, time.Millisecond)
			require.Equal(t, map[string]int{"Update": 2, "View": 1}[name], runs)
		}
	}
}

// TestLostOnTheWay: the connection is lost at each statement before the commit. The transaction is run again, and takes place once.
func TestLostOnTheWay(t *testing.T) {
	st, f := openFaulty(t)
	round := 0
	for _, at := range []struct {
		prefix string
		nth    int
	}{{"START TRANSACTION", 1}, {"SELECT", 1}, {"UPDATE", 1}, {"INSERT", 1}, {"INSERT", 2}} {
		for _, fate := range []mysqltest.Fate{mysqltest.CutBefore, mysqltest.CutAfter} {
			for _, swallow := range []bool{false, true} {
				round++
				i, e := model.Instance{ID: fmt.Sprint("i", round)}, model.Event{InstanceID: fmt.Sprint("i", round)}
				met, runs := f.once(at.prefix, at.nth, fate), 0
				err := st.Update(t.Context(), func(tx metastore.Tx) error {
					runs++
					_, err := tx.Instances().Usage(t.Context(), "p")
					err = errors.Join(err, put(t.Context(), tx, "n", fmt.Sprint(round)), tx.Instances().Create(t.Context(), &i), tx.Events().Append(t.Context(), &e))
					if swallow {
						return nil
					}
					return err
				})
				what := fmt.Sprintf("%+v %v %v", at, fate, swallow)
				require.NoError(t, err, what)
				require.True(t, met.Load(), what)
				if at.prefix == "START TRANSACTION" { // fn had not begun
					require.Equal(t, 1, runs, what)
				} else {
					require.Equal(t, 2, runs, what)
				}
				require.EqualValues(t, 1, i.Version, what)
				require.NoError(t, st.View(t.Context(), func(tx metastore.Tx) error {
					es, err := tx.Events().List(t.Context(), i.ID, 0)
					require.Equal(t, []model.Event{e}, es, what)
					return err
				}))
				require.Equal(t, fmt.Sprint(round), get(t, st, "n"), what)
			}
		}
	}
}

// TestDeadlock: two transactions take two locks in opposite order. One of them is rolled back by the server while its fn pays no attention and
// writes on: none of that may stay, and it is run again.
func TestDeadlock(t *testing.T) {
	st := open(t)
	ctx := t.Context()
	for _, n := range []string{"a", "b"} {
		require.NoError(t, st.Update(ctx, func(tx metastore.Tx) error { return put(ctx, tx, n, "old") }))
	}
	var runs atomic.Int64
	met := [2]chan struct{}{make(chan struct{}), make(chan struct{})}
	cross := func(me int, first, second string) error {
		mine := 0
		return st.Update(ctx, func(tx metastore.Tx) error {
			mine++
			runs.Add(1)
			if err := put(ctx, tx, first, fmt.Sprint(me)); err != nil {
				return err
			}
			if mine == 1 {
				close(met[me])
				<-met[1-me]
			}
			err := put(ctx, tx, second, fmt.Sprint(me))
			more := put(ctx, tx, fmt.Sprintf("trace of %d %d", me, mine), "x") // whatever came before
			if err != nil {
				require.ErrorContains(t, more, "1213", "a write went on after the transaction was rolled back")
			}
			return nil
		})
	}
	done := make(chan error, 2)
	go func() { done <- cross(0, "a", "b") }()
	go func() { done <- cross(1, "b", "a") }()
	require.NoError(t, <-done)
	require.NoError(t, <-done)
	require.EqualValues(t, 3, runs.Load(), "one of them loses, once")
	require.Equal(t, get(t, st, "a"), get(t, st, "b"), "they took place one after the other")
	traces := ""
	for _, n := range []string{"0 1", "0 2", "1 1", "1 2"} {
		if get(t, st, "trace of "+n) != "" {
			traces += n + ";"
		}
	}
	require.Contains(t, []string{"0 1;1 2;", "0 2;1 1;"}, traces, "what a transaction wrote after it was rolled back has stayed")
}

// locked has somebody else lock an instance's row until release.
func locked(t *testing.T, s *mysqltest.Server, database, id string) (release func()) {
	t.Helper()
	other, err := s.Root.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	t.Cleanup(func() { _ = other.Rollback() })
	var found string
	require.NoError(t, other.QueryRowContext(t.Context(), "SELECT id FROM "+database+".instances WHERE id = ? FOR UPDATE", id).Scan(&found))
	return func() { require.NoError(t, other.Rollback()) }
}

func TestLockWait(t *testing.T) {
	s := server(t)
	l := s.Database(t)
	st := openAt(t, config(s.Socket(), l))
	i := model.Instance{ID: "i"}
	require.NoError(t, st.Update(t.Context(), func(tx metastore.Tx) error { return tx.Instances().Create(t.Context(), &i) }))
	release := locked(t, s, l.Database, "i")

	short, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	started := time.Now()
	mine := i
	require.ErrorIs(t, st.Update(short, func(tx metastore.Tx) error { return tx.Instances().Update(short, &mine) }), context.DeadlineExceeded)
	require.Less(t, time.Since(started), mysql.LockWait, "the caller's time counts")
	require.NoError(t, st.View(t.Context(), func(tx metastore.Tx) error {
		_, err := tx.Instances().Get(t.Context(), "i")
		return err
	}), "a View waits for no locks")

	if testing.Short() {
		return
	}
	var runs atomic.Int64
	done := make(chan error, 1)
	go func() {
		done <- st.Update(t.Context(), func(tx metastore.Tx) error {
			runs.Add(1)
			i.Name = "changed"
			return tx.Instances().Update(t.Context(), &i)
		})
	}()
	require.Eventually(t, func() bool { return runs.Load() == 2 }, 3*mysql.LockWait, 20*time.Millisecond, "the wait for a lock must end")
	release()
	require.NoError(t, <-done)
	require.EqualValues(t, 2, i.Version)
}
