package mysql_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/huker/huker/internal/metastore"
	"github.com/huker/huker/internal/metastore/mysql"
	"github.com/huker/huker/internal/metastore/mysql/mysqltest"
	"github.com/huker/huker/internal/model"
)

// TestOutages is about a server in trouble, one trouble after the other.
func TestOutages(t *testing.T) {
	t.Parallel()
	s := mysqltest.Start(t) // of its own
	for name, test := range map[string]func(*testing.T, *mysqltest.Server){
		"connections killed":     connectionsKilled,
		"killed within":          killedWithin,
		"too many connections":   tooManyConnections,
		"read-only for a while":  readOnlyForAWhile,
		"read-only at commit":    readOnlyAtCommit,
		"read-only for long":     readOnlyForLong,
		"starts while read-only": startsReadOnly,
		"down for a while":       downForAWhile,
		"down for long":          downForLong,
		"hangs":                  hangs,
	} {
		t.Run(name, func(t *testing.T) { test(t, s) })
	}
}

func increment(ctx context.Context, s metastore.Store) error {
	return s.Update(ctx, func(tx metastore.Tx) error {
		q, err := tx.Quotas().Get(ctx, "n")
		if err != nil && !errors.Is(err, metastore.ErrNotFound) {
			return err
		}
		return tx.Quotas().Put(ctx, model.Quota{ProjectID: "n", Instances: q.Instances + 1})
	})
}

func count(t *testing.T, s metastore.Store) int {
	t.Helper()
	n, err := look(t.Context(), s)
	require.NoError(t, err)
	return n
}

func look(ctx context.Context, s metastore.Store) (n int, err error) {
	err = s.View(ctx, func(tx metastore.Tx) error {
		q, err := tx.Quotas().Get(ctx, "n")
		n = q.Instances
		if errors.Is(err, metastore.ErrNotFound) {
			return nil
		}
		return err
	})
	return n, err
}

func set(t *testing.T, s *mysqltest.Server, assignment string) {
	t.Helper()
	_, err := s.Root.ExecContext(context.WithoutCancel(t.Context()), "SET GLOBAL "+assignment)
	require.NoError(t, err)
}

func connections(t *testing.T, s *mysqltest.Server, user string) []string {
	t.Helper()
	return column(t, s, "SELECT id FROM performance_schema.processlist WHERE user = ? ORDER BY id", user)
}

func connectionsKilled(t *testing.T, s *mysqltest.Server) {
	l := s.Database(t)
	st := openAt(t, config(s.Socket(), l))
	for n := range 5 {
		require.NoError(t, increment(t.Context(), st))
		require.Equal(t, n+1, count(t, st))
		for _, id := range connections(t, s, l.User) {
			_, err := s.Root.ExecContext(t.Context(), "KILL "+id)
			require.NoError(t, err)
		}
	}
}

// killedWithin: the connection goes while fn runs, as it does when fn takes longer than the server waits for it.
func killedWithin(t *testing.T, s *mysqltest.Server) {
	l := s.Database(t)
	st := openAt(t, config(s.Socket(), l))
	runs := 0
	require.NoError(t, st.Update(t.Context(), func(tx metastore.Tx) error {
		runs++
		if err := put(t.Context(), tx, "n", fmt.Sprint(runs)); err != nil {
			return err
		}
		if runs == 1 {
			for _, id := range connections(t, s, l.User) {
				_, err := s.Root.ExecContext(t.Context(), "KILL "+id)
				require.NoError(t, err)
			}
		}
		_, err := tx.Hosts().List(t.Context())
		return err
	}))
	require.Equal(t, 2, runs)
	require.Equal(t, "2", get(t, st, "n"))
}

func tooManyConnections(t *testing.T, s *mysqltest.Server) {
	l := s.Database(t)
	_, err := s.Root.ExecContext(t.Context(), "ALTER USER "+l.User+"@localhost WITH MAX_USER_CONNECTIONS 2")
	require.NoError(t, err)
	st := openAt(t, config(s.Socket(), l))
	var g errgroup.Group
	for range 8 {
		g.Go(func() error {
			for range 5 {
				if err := increment(t.Context(), st); err != nil {
					return err
				}
			}
			return nil
		})
	}
	require.NoError(t, g.Wait())
	_, err = s.Root.ExecContext(t.Context(), "ALTER USER "+l.User+"@localhost WITH MAX_USER_CONNECTIONS 0")
	require.NoError(t, err)
	require.Equal(t, 40, count(t, st))
}

// useAll has every connection of both pools in use at the same moment.
func useAll(t *testing.T, s metastore.Store) {
	t.Helper()
	var g errgroup.Group
	var inside sync.WaitGroup
	meet := func() func(metastore.Tx) error {
		inside.Add(1)
		once := sync.OnceFunc(inside.Done)
		return func(metastore.Tx) error {
			once()
			inside.Wait()
			return nil
		}
	}
	updates, views := []func(metastore.Tx) error{}, []func(metastore.Tx) error{}
	for range mysql.Writers {
		updates = append(updates, meet())
	}
	for range mysql.Readers {
		views = append(views, meet())
	}
	for _, fn := range updates {
		g.Go(func() error { return s.Update(t.Context(), fn) })
	}
	for _, fn := range views {
		g.Go(func() error { return s.View(t.Context(), fn) })
	}
	require.NoError(t, g.Wait())
}

// readOnlyForAWhile: as during a failover. Reading goes on; writing waits; and no connection from before is used again, as it may lead to a server
// that is a replica now.
func readOnlyForAWhile(t *testing.T, s *mysqltest.Server) {
	l := s.Database(t)
	st := openAt(t, config(s.Socket(), l))
	useAll(t, st)
	before := connections(t, s, l.User)
	require.Len(t, before, mysql.Writers+mysql.Readers)

	set(t, s, "super_read_only = 1")
	done := make(chan error, 1)
	go func() { done <- increment(t.Context(), st) }()
	select {
	case err := <-done:
		t.Errorf("did not wait: %v", err)
	case <-time.After(time.Second):
	}
	require.Zero(t, count(t, st))
	set(t, s, "super_read_only = 0")
	set(t, s, "read_only = 0")
	require.NoError(t, <-done)
	require.Equal(t, 1, count(t, st))
	useAll(t, st)
	for _, id := range connections(t, s, l.User) {
		require.NotContains(t, before, id, "a connection from before was kept")
	}
}

// readOnlyAtCommit: the last moment at which a server can refuse. It says so, and that is no matter of not knowing.
func readOnlyAtCommit(t *testing.T, s *mysqltest.Server) {
	st := openAt(t, config(s.Socket(), s.Database(t)))
	runs := 0
	require.NoError(t, st.Update(t.Context(), func(tx metastore.Tx) error {
		runs++
		err := put(t.Context(), tx, "n", fmt.Sprint(runs))
		switch runs {
		case 1:
			set(t, s, "super_read_only = 1")
		case 3:
			set(t, s, "super_read_only = 0")
			set(t, s, "read_only = 0")
		}
		return err
	}))
	require.Greater(t, runs, 3)
	require.Equal(t, fmt.Sprint(runs), get(t, st, "n"))
}

func readOnlyForLong(t *testing.T, s *mysqltest.Server) {
	var said lines
	c := config(s.Socket(), s.Database(t)).Patience(time.Second)
	c.Log = slog.New(slog.NewTextHandler(&said, nil))
	st := openAt(t, c)
	set(t, s, "super_read_only = 1")
	defer set(t, s, "read_only = 0")
	defer set(t, s, "super_read_only = 0")
	err := increment(t.Context(), st)
	require.ErrorIs(t, err, metastore.ErrUnavailable)
	require.ErrorContains(t, err, "read-only", "the reason must not get lost")
	require.Equal(t, 1, strings.Count(said.String(), "level=WARN"), "once for a call: %s", said.String())
	require.Zero(t, count(t, st))
	short, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	require.Error(t, st.Ping(short), "a store that cannot be written is not healthy")
}

// startsReadOnly: with tables that are up to date a program starts, and reads. With others it says what is wrong.
func startsReadOnly(t *testing.T, s *mysqltest.Server) {
	l, fresh := s.Database(t), s.Database(t)
	require.NoError(t, increment(t.Context(), openAt(t, config(s.Socket(), l))))
	set(t, s, "super_read_only = 1")
	defer set(t, s, "read_only = 0")
	defer set(t, s, "super_read_only = 0")
	require.Equal(t, 1, count(t, openAt(t, config(s.Socket(), l))))
	_, err := mysql.Open(t.Context(), config(s.Socket(), fresh))
	require.ErrorContains(t, err, "read-only")
}

func downForAWhile(t *testing.T, s *mysqltest.Server) {
	st := openAt(t, config(s.Socket(), s.Database(t)))
	require.NoError(t, increment(t.Context(), st))
	for round := range 2 {
		require.NoError(t, s.Down())
		short, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		started := time.Now()
		require.ErrorIs(t, increment(short, st), context.DeadlineExceeded)
		_, err := look(short, st)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Less(t, time.Since(started), 10*time.Second, "the caller's time counts")
		cancel()
		var g errgroup.Group
		for range 4 {
			g.Go(func() error { return increment(t.Context(), st) })
			g.Go(func() error { _, err := look(t.Context(), st); return err })
		}
		require.NoError(t, s.Up())
		require.NoError(t, g.Wait(), "nobody opened anything anew")
		require.Equal(t, 1+4*(round+1), count(t, st))
	}
}

func downForLong(t *testing.T, s *mysqltest.Server) {
	l := s.Database(t)
	st, patient := openAt(t, config(s.Socket(), l).Patience(time.Second)), openAt(t, config(s.Socket(), l))
	require.NoError(t, s.Down())
	err := increment(t.Context(), st)
	require.ErrorIs(t, err, metastore.ErrUnavailable)
	require.ErrorContains(t, err, "refused", "the reason must not get lost")
	_, err = mysql.Open(t.Context(), config(s.Socket(), l))
	require.ErrorContains(t, err, "refused")
	require.NotContains(t, err.Error(), l.Password)
	require.NoError(t, s.Up())
	require.NoError(t, increment(t.Context(), patient))
	require.Equal(t, 1, count(t, st))
}

// hangs: a server that neither answers nor goes.
func hangs(t *testing.T, s *mysqltest.Server) {
	st := openAt(t, config(s.Socket(), s.Database(t)))
	require.NoError(t, increment(t.Context(), st))
	require.NoError(t, s.Pause())
	short, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	started := time.Now()
	require.ErrorIs(t, increment(short, st), context.DeadlineExceeded)
	_, err := look(short, st)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorIs(t, st.Ping(short), context.DeadlineExceeded)
	require.Less(t, time.Since(started), 10*time.Second, "the caller's time counts")
	done := make(chan error, 1)
	go func() { done <- increment(t.Context(), st) }()
	select {
	case err := <-done:
		t.Errorf("a server that hangs has answered: %v", err)
	case <-time.After(300 * time.Millisecond):
	}
	require.NoError(t, s.Resume())
	require.NoError(t, <-done)
	require.Equal(t, 2, count(t, st))
}

// lines is a buffer for several goroutines.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(slices.Clone(l.b.Bytes()))
}
