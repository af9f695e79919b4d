package zk_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/huker/huker/internal/coord"
	"github.com/huker/huker/internal/coord/coordtest"
	"github.com/huker/huker/internal/coord/zk/zktest"
)

// TestStoppedHolder: a process that holds a lease is stopped for longer than its time to live (SIGSTOP). When it goes on, it can do
// nothing in the lease's name, and knows that it lost it.
func TestStoppedHolder(t *testing.T) {
	long(t)
	e := zktest.StartPlain(t)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), holdVariable+"="+e.Servers[0].Address)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	defer func() {
		_ = stdin.Close()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	said := bufio.NewReader(stdout)
	var token int64
	expectLine(t, said, "holding %d", &token)

	require.NoError(t, cmd.Process.Signal(syscall.SIGSTOP))
	b := e.Root(t)
	stopped := time.Now()
	lb := elect(t, b, 10*time.Second, "/lease")
	require.Greater(t, lb.Token, token)
	require.Less(t, time.Since(stopped), holdTTL+3*time.Second)
	// What was on its way when it was stopped may have been carried out before that.
	require.NoError(t, b.Apply(soon(t), lb.Guard(), coord.Put("/guarded", []byte("b"), nil)))
	require.NoError(t, b.Apply(soon(t), lb.Guard(), coord.Put("/owned", []byte("b"), nil)))
	require.NoError(t, cmd.Process.Signal(syscall.SIGCONT))
	line, err := said.ReadString('\n')
	require.NoError(t, err)
	require.Contains(t, line, "lost", "it knows")
	require.Equal(t, "b", string(get(t, b, "/guarded").Value))
	require.Equal(t, "b", string(get(t, b, "/owned").Value))
	require.NoError(t, lb.Context.Err())
}

// TestLeasesNeverOverlap: candidates in an ensemble, behind networks that are cut now and then, while servers are stopped, cut off and
// killed. Of two leaders, the first knows that it is over before the second begins.
func TestLeasesNeverOverlap(t *testing.T) {
	long(t)
	e := zktest.Start(t, 3)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var leading, overlaps, terms, top atomic.Int64
	var wg sync.WaitGroup
	var proxies []*coordtest.Proxy
	for i := range 5 {
		cfg := e.Config(t, "root")
		var mine []string
		for _, server := range e.Servers {
			p := coordtest.NewProxy(t, server.Address)
			proxies = append(proxies, p)
			mine = append(mine, p.Address)
		}
		cfg.Servers = mine
		s := zktest.OpenConfig(t, cfg)
		wg.Go(func() {
			for ctx.Err() == nil {
				sess, err := s.NewSession(ctx, 2*time.Second)
				if err != nil {
					continue
				}
				if l, err := coord.Elect(ctx, s, sess, "/lease", fmt.Append(nil, i)); err == nil {
					if leading.Add(1) != 1 || top.Swap(l.Token) >= l.Token {
						overlaps.Add(1)
					}
					terms.Add(1)
					select { // a term is long enough for things to happen in it
					case <-l.Context.Done():
					case <-time.After(1500 * time.Millisecond):
					}
					leading.Add(-1)
				}
				_ = sess.Close(ctx)
			}
		})
	}
	for round := range 6 {
		for i, p := range proxies {
			if (i/3+round)%3 == 0 { // a candidate's whole network
				p.Cut()
			}
		}
		victim := e.Servers[round%3]
		switch round / 2 {
		case 0:
			victim.Pause(t)
			time.Sleep(2500 * time.Millisecond)
			victim.Resume(t)
		case 1:
			victim.Isolate()
			time.Sleep(2500 * time.Millisecond)
			victim.Rejoin()
		default:
			victim.Kill()
			time.Sleep(2500 * time.Millisecond)
			victim.Launch(t)
			e.AwaitUp(t, round%3)
		}
		for _, p := range proxies {
			p.Mend()
		}
		time.Sleep(time.Second)
	}
	require.Eventually(t, func() bool { return terms.Load() >= 5 }, 30*time.Second, 20*time.Millisecond)
	stop()
	wg.Wait()
	t.Logf("%d terms", terms.Load())
	require.Zero(t, overlaps.Load())
}

// TestSessionMovesOn: the server that a session is connected to dies; another one takes it over, and the session's keys stay.
func TestSessionMovesOn(t *testing.T) {
	long(t)
	e := zktest.Start(t, 3)
	a, b := e.Root(t), e.Root(t)
	var sessions []coord.Session
	for i := range 6 { // on all servers
		sess, err := a.NewSession(soon(t), 10*time.Second)
		require.NoError(t, err)
		require.NoError(t, a.Apply(soon(t), coord.CreateEphemeral(fmt.Sprintf("/e/%d", i), nil, sess)))
		sessions = append(sessions, sess)
	}
	e.Servers[(e.Leader(t)+1)%3].Kill()
	time.Sleep(11 * time.Second)
	for i, sess := range sessions {
		select {
		case <-sess.Done():
			require.Fail(t, "lost though two of three servers are there")
		default:
		}
		require.Equal(t, sess.ID(), get(t, b, fmt.Sprintf("/e/%d", i)).Session)
		require.NoError(t, sess.Close(soon(t)))
		_, err := b.Get(soon(t), fmt.Sprintf("/e/%d", i))
		require.ErrorIs(t, err, coord.ErrNotFound)
	}
}

// TestServerCutOffFromLeader: a holder's server answers it, but has lost the others. The holder knows that it may have lost its lease
// before another one can get it, though its connection looks well.
func TestServerCutOffFromLeader(t *testing.T) {
	long(t)
	e := zktest.Start(t, 3)
	for _, role := range []string{"follower", "leader"} {
		t.Run(role, func(t *testing.T) {
			leader := e.Leader(t)
			cut, other := (leader+1)%3, (leader+2)%3
			if role == "leader" {
				cut, other = leader, (leader+1)%3
			}
			on := func(i int) coord.Store {
				cfg := e.Config(t, "root")
				cfg.Servers = []string{e.Servers[i].Address}
				return zktest.OpenConfig(t, cfg)
			}
			a, b := on(cut), on(other)
			const ttl = 4 * time.Second
			la := elect(t, a, ttl, "/lease")
			lostAt := make(chan time.Time, 1)
			go func() {
				<-la.Context.Done()
				lostAt <- time.Now()
			}()
			next := make(chan *coord.Leadership, 1)
			takenAt := make(chan time.Time, 1)
			go func() {
				for t.Context().Err() == nil {
					sess, err := b.NewSession(t.Context(), 20*time.Second)
					if err != nil {
						continue
					}
					if l, err := coord.Elect(t.Context(), b, sess, "/lease", nil); err == nil {
						takenAt <- time.Now()
						next <- l
						return
					}
				}
			}()
			time.Sleep(time.Second)
			isolated := time.Now()
			e.Servers[cut].Isolate()
			var lb *coord.Leadership
			select {
			case lb = <-next:
			case <-time.After(30 * time.Second):
				require.Fail(t, "nobody took over")
			}
			lost, taken := <-lostAt, <-takenAt
			t.Logf("lost after %s, taken after %s", lost.Sub(isolated), taken.Sub(isolated))
			require.True(t, lost.Before(taken))
			require.Greater(t, lb.Token, la.Token)
			e.Servers[cut].Rejoin()
			e.AwaitUp(t, cut)
			require.Eventually(t, func() bool {
				err := a.Apply(t.Context(), la.Guard(), coord.Put("/guarded", nil, nil))
				return errors.Is(err, coord.ErrConflict)
			}, 30*time.Second, 50*time.Millisecond)
		})
	}
}
