package fleet_test

import (
	"io"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/huker/huker/runtime"
	"github.com/huker/huker/test/fleet"
)

// A host loses its power: nobody is told, all processes are gone, and when it is back so is what was to come back.
func TestLoseAndReboot(t *testing.T) {
	t.Parallel()
	s := newSite(t, fleet.Options{Hosts: 2})
	h1, h2 := s.Hosts[0], s.Hosts[1]
	db1, db2 := s.database(h1, "db", 10), s.database(h2, "db", 10)
	s.container(h1, runtime.Spec{Name: "frozen", Args: []string{"wait"}})
	require.NoError(t, s.docker(h1).Pause(t.Context(), "frozen"))
	again, address := s.holder(h1, true)
	once, err := h1.Start(fleet.Program{Name: "once", Args: []string{"sleep", "1000"}})
	require.NoError(t, err)
	for _, a := range []string{db1, db2} {
		s.becomes("open", func() string { return reach(t.Context(), dialer(), a, silence) })
	}
	c := held(t, dialer(), address)
	pids, err := h1.Pids()
	require.NoError(t, err)
	require.Contains(t, pids, again.Pid)
	require.Contains(t, pids, once.Pid)
	require.GreaterOrEqual(t, len(pids), 9, "its first, engine, containerd, two containers with a shim each, two programs: %v", pids)

	require.NoError(t, h1.Lose(t.Context()))
	require.False(t, h1.Up())
	for _, p := range pids {
		_, err := os.Readlink("/proc/" + strconv.Itoa(p) + "/ns/net") // the last that a process has
		require.Error(t, err, "process %d", p)
	}
	require.Error(t, again.Err())
	require.Error(t, once.Err())
	quiet(t, c)
	require.Equal(t, "dropped", reach(t.Context(), dialer(), db1, silence))
	require.Equal(t, "dropped", s.from(h2, "db", db1, silence))
	require.Equal(t, "open", reach(t.Context(), dialer(), db2, patience))
	require.NoError(t, h1.Lose(t.Context()), "it stays lost")
	_, err = h1.Exec(t.Context(), "true")
	require.ErrorIs(t, err, fleet.ErrDown)
	_, err = h1.Start(fleet.Program{Name: "x", Args: []string{"true"}})
	require.ErrorIs(t, err, fleet.ErrDown)
	require.Empty(t, h1.NetNS())

	require.NoError(t, h1.Reboot(t.Context()))
	s.open(h1) // the firewall has started afresh, too
	s.becomes("open", func() string { return reach(t.Context(), dialer(), db1, silence) })
	require.Contains(t, s.from(h2, "db", db1, patience), "open ")
	require.Contains(t, s.from(h1, "db", db2, patience), "open ")
	s.becomes("open", func() string { return reach(t.Context(), dialer(), address, silence) })
	now, err := h1.Program("holder")
	require.NoError(t, err)
	require.NotEqual(t, again.Pid, now.Pid)
	now, err = h1.Program("once")
	require.NoError(t, err)
	require.Same(t, once, now)
	require.NoError(t, c.SetDeadline(time.Now().Add(patience)))
	_, err = c.Write([]byte("x"))
	for err == nil {
		_, err = c.Read(make([]byte, 1))
	}
	require.ErrorIs(t, err, unix.ECONNRESET, "the host knows nothing of a connection from before")
	state, err := s.docker(h1).Inspect(t.Context(), "frozen")
	require.NoError(t, err)
	require.Equal(t, runtime.PhaseExited, state.Phase)
}

// A paused host's kernel is there, and its processes are not; what it had to do it does when it is resumed.
func TestPause(t *testing.T) {
	t.Parallel()
	s := newSite(t, fleet.Options{Hosts: 1})
	h := s.Hosts[0]
	db := s.database(h, "db", 10)
	s.becomes("open", func() string { return reach(t.Context(), dialer(), db, silence) })
	_, address := s.holder(h, false)
	c := held(t, dialer(), address)

	require.NoError(t, h.Pause(t.Context()))
	waiting, err := dialer()(t.Context(), "tcp4", db)
	require.NoError(t, err, "the kernel accepts")
	defer waiting.Close()
	quiet(t, waiting)
	quiet(t, c)
	require.NoError(t, h.Resume(t.Context()))
	require.NoError(t, waiting.SetDeadline(time.Now().Add(patience)))
	said, err := io.ReadAll(waiting)
	require.NoError(t, err)
	require.NotEmpty(t, said)

	// One process only: the container's, by the number that its engine says.
	state, err := s.docker(h).Inspect(t.Context(), "db")
	require.NoError(t, err)
	require.NoError(t, h.Pause(t.Context(), state.Pid))
	waiting, err = dialer()(t.Context(), "tcp4", db)
	require.NoError(t, err)
	defer waiting.Close()
	quiet(t, waiting)
	require.Equal(t, "open", reach(t.Context(), dialer(), address, patience))
	require.NoError(t, h.Heal(t.Context()))
	require.Equal(t, "open", reach(t.Context(), dialer(), db, patience))

	require.NoError(t, h.Pause(t.Context()))
	require.NoError(t, h.Lose(t.Context()), "paused processes die too")
	require.NoError(t, h.Heal(t.Context()))
	s.open(h)
	s.becomes("open", func() string { return reach(t.Context(), dialer(), db, silence) })

	state, err = s.docker(h).Inspect(t.Context(), "db")
	require.NoError(t, err)
	require.NoError(t, h.Kill(t.Context(), state.Pid))
	s.becomes("open", func() string { // its engine starts it again
		now, err := s.docker(h).Inspect(t.Context(), "db")
		if err != nil || now.Pid == state.Pid {
			return "dead"
		}
		return reach(t.Context(), dialer(), db, silence)
	})
	require.ErrorIs(t, h.Kill(t.Context()), fleet.ErrInvalid)
}

// The engine alone is killed, and stopped: in the first case containers go on.
func TestEngineAlone(t *testing.T) {
	t.Parallel()
	s := newSite(t, fleet.Options{Hosts: 1})
	h := s.Hosts[0]
	db := s.database(h, "db", 10)
	s.becomes("open", func() string { return reach(t.Context(), dialer(), db, silence) })
	require.NoError(t, h.StopDocker(t.Context(), unix.SIGKILL))
	_, err := h.Docker(t.Context(), "x")
	require.ErrorIs(t, err, runtime.ErrUnavailable)
	require.Equal(t, "open", reach(t.Context(), dialer(), db, patience))
	require.NoError(t, h.Heal(t.Context()))
	require.NoError(t, h.StartDocker(t.Context()), "it runs already")
	s.becomes("open", func() string { return reach(t.Context(), dialer(), db, silence) })
	require.NoError(t, h.StopDocker(t.Context(), unix.SIGTERM))
	require.Equal(t, "dropped", reach(t.Context(), dialer(), db, silence))
	require.NoError(t, h.StartDocker(t.Context()))
	s.becomes("open", func() string { return reach(t.Context(), dialer(), db, silence) })
}

// Programs: what they say is kept, how they end is known, and what is stopped is not started again.
func TestPrograms(t *testing.T) {
	t.Parallel()
	s := newSite(t, fleet.Options{Hosts: 1})
	h := s.Hosts[0]
	p, err := h.Start(fleet.Program{Name: "says", Args: []string{"bash", "-c", "echo $WORD from $(hostname); exit 3"}, Env: []string{"WORD=hello"}})
	require.NoError(t, err)
	<-p.Done()
	require.ErrorContains(t, p.Err(), "exit status 3")
	require.Equal(t, "hello from h1\n", fleet.Tail(p.Log, 100))
	p, _ = s.holder(h, true)
	_, err = h.Start(fleet.Program{Name: "holder", Args: []string{"true"}})
	require.ErrorIs(t, err, fleet.ErrInvalid, "it runs")
	_, err = h.Start(fleet.Program{Name: "a/b", Args: []string{"true"}})
	require.ErrorIs(t, err, fleet.ErrInvalid)
	_, err = h.Start(fleet.Program{Name: "none", Args: []string{"/nonexistent"}})
	require.ErrorIs(t, err, os.ErrNotExist)
	require.NoError(t, p.Stop(t.Context()))
	require.Error(t, p.Err())
	require.NoError(t, h.Reboot(t.Context()))
	now, err := h.Program("holder")
	require.NoError(t, err)
	require.Same(t, p, now)

	// What has lost its parent is waited for by the host's first process.
	_, err = h.Exec(t.Context(), "bash", "-c", "(sleep 0.1 & sleep 0.1 &)")
	require.NoError(t, err)
	s.becomes("none", func() string {
		out, err := h.Exec(t.Context(), "ps", "-eo", "stat,args")
		if err != nil || strings.Contains(out, "sleep") {
			return out
		}
		return "none"
	})
	out, err := h.Exec(t.Context(), "bash", "-c", "echo out; echo wrong >&2; exit 1")
	require.ErrorContains(t, err, "wrong")
	require.Equal(t, "out\n", out)
	require.NotErrorIs(t, err, fleet.ErrDown)

	require.NoError(t, s.Close(t.Context()))
	require.ErrorIs(t, h.Boot(t.Context()), fleet.ErrDown)
	require.NoError(t, s.Close(t.Context()), "once more")
}
