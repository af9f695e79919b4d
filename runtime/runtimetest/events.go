package runtimetest

import (
	"context"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/huker/huker/runtime"
)

// expect reads events until one of the kind and container comes.
func expect(t *testing.T, events <-chan runtime.Event, kind runtime.EventKind, name string) runtime.Event {
	t.Helper()
	late := time.After(patience)
	for {
		select {
		case e, ok := <-events:
			require.True(t, ok, "the channel was closed")
			if e.Kind == kind && e.Name == name {
				return e
			}
		case <-late:
			require.FailNow(t, "no such event", "%s of %q", kind, name)
		}
	}
}

func (b *bed) listen(t *testing.T) <-chan runtime.Event {
	t.Helper()
	events, err := b.d.Events(t.Context())
	require.NoError(t, err)
	return events
}

func testEvents(t *testing.T, b *bed) {
	ctx, events := soon(t), b.listen(t)
	s := b.spec("a", "exit", "7")
	s.Labels = map[string]string{"instance": "i-1"}
	b.run(t, s)
	e := expect(t, events, runtime.EventStarted, s.Name)
	require.Equal(t, map[string]string{"instance": "i-1", runtime.OwnerLabel: b.owner, runtime.SpecLabel: s.Hash()}, e.Labels)
	require.WithinDuration(t, time.Now(), e.Time, patience)
	e = expect(t, events, runtime.EventDied, s.Name)
	require.Equal(t, 7, e.ExitCode)
	require.Equal(t, "i-1", e.Labels["instance"])
	require.NoError(t, b.d.Remove(ctx, s.Name))
	expect(t, events, runtime.EventRemoved, s.Name)

	killed := b.spec("b", "wait")
	b.run(t, killed)
	expect(t, events, runtime.EventStarted, killed.Name)
	require.NoError(t, b.d.Signal(ctx, killed.Name, "KILL"))
	require.Equal(t, 137, expect(t, events, runtime.EventDied, killed.Name).ExitCode)
	b.becomes(t, killed.Name, phase(runtime.PhaseExited))
}

func testEventsOwner(t *testing.T, b *bed) {
	ctx, events, other := soon(t), b.listen(t), b.another(t)
	theirs := b.spec("theirs", "exit", "0")
	require.NoError(t, other.Create(ctx, theirs))
	require.NoError(t, other.Start(ctx, theirs.Name))
	require.NoError(t, other.Remove(ctx, theirs.Name))
	b.run(t, b.spec("a", "wait"))
	require.Equal(t, b.name("a"), (<-events).Name, "nobody else's events come")
}

func testEventsOOM(t *testing.T, b *bed) {
	if !b.Kernel {
		t.Skip("SKIPPED, NOT TESTED: no kernel behind this engine")
	}
	events := b.listen(t)
	told := false
	// Some engines learn of the end and of its reason by two ways, and miss the second when the first is quicker.
	for i := 0; i < 5 && !told; i++ {
		s := b.spec("a"+strconv.Itoa(i), "eat", "200")
		s.Limits = runtime.Limits{MemoryMB: 32}
		b.run(t, s)
		require.Equal(t, 137, expect(t, events, runtime.EventDied, s.Name).ExitCode, "it had no swap to go to")
		told = b.becomes(t, s.Name, phase(runtime.PhaseExited)).OOM
	}
	require.True(t, told, "that memory was out is never told")
}

func testEventsEnd(t *testing.T, b *bed) {
	ctx, cancel := context.WithCancel(t.Context())
	events, err := b.d.Events(ctx)
	require.NoError(t, err)
	b.run(t, b.spec("a", "wait"))
	expect(t, events, runtime.EventStarted, b.name("a"))
	cancel()
	late := time.After(patience)
	for {
		select {
		case _, ok := <-events:
			if !ok {
				return
			}
		case <-late:
			require.FailNow(t, "the channel stays open when its context is over")
		}
	}
}

// While the engine cannot be reached calls say so; once it can, listeners are told to list again, and hear what comes after.
func testEventsResync(t *testing.T, b *bed) {
	if b.OpenCuttable == nil {
		t.Skip("SKIPPED, NOT TESTED: this engine's connection cannot be cut here")
	}
	d, cut, mend := b.OpenCuttable(t, b.owner)
	events, err := d.Events(t.Context())
	require.NoError(t, err)
	s := b.spec("a", "wait")
	b.run(t, s)
	expect(t, events, runtime.EventStarted, s.Name)

	cut()
	_, err = d.Inspect(soon(t), s.Name)
	require.ErrorIs(t, err, runtime.ErrUnavailable)
	_, err = d.List(soon(t), nil)
	require.ErrorIs(t, err, runtime.ErrUnavailable)
	require.ErrorIs(t, d.Create(soon(t), s), runtime.ErrUnavailable)
	_, err = d.Events(soon(t))
	require.ErrorIs(t, err, runtime.ErrUnavailable)
	mend()
	expect(t, events, runtime.EventResync, "")
	state, err := d.Inspect(soon(t), s.Name)
	require.NoError(t, err)
	require.Equal(t, runtime.PhaseRunning, state.Phase)
	require.NoError(t, d.Stop(soon(t), s.Name, time.Second))
	expect(t, events, runtime.EventDied, s.Name)
}

// The engine ends and comes back: so do containers with Restart, unless they were stopped, and listeners are told.
func testEngineRestart(t *testing.T, b *bed) {
	if b.RestartEngine == nil {
		t.Skip("SKIPPED, NOT TESTED: this engine cannot be restarted here")
	}
	ctx, events := soon(t), b.listen(t)
	volume := b.name("v")
	require.NoError(t, b.d.CreateVolume(ctx, volume, nil))
	back := mounting(b.spec("back", "wait"), volume, false)
	back.Restart = true
	stopped, plain, made := b.spec("stopped", "wait"), b.spec("plain", "wait"), b.spec("made", "wait")
	stopped.Restart, made.Restart = true, true
	b.run(t, back)
	b.run(t, stopped)
	b.run(t, plain)
	require.NoError(t, b.d.Create(ctx, made))
	b.exec(t, back.Name, "write", "/v/f", "kept")
	require.NoError(t, b.d.Stop(ctx, stopped.Name, time.Second))
	before, err := b.d.Inspect(ctx, back.Name)
	require.NoError(t, err)

	b.RestartEngine(t)
	expect(t, events, runtime.EventResync, "")
	after := b.becomes(t, back.Name, func(s runtime.State) bool { return s.Phase == runtime.PhaseRunning && s.Started.After(before.Started) })
	require.Equal(t, before.Handle, after.Handle)
	require.Equal(t, "kept", b.exec(t, back.Name, "read", "/v/f"))
	b.stays(t, stopped.Name, runtime.PhaseExited)
	b.stays(t, plain.Name, runtime.PhaseExited)
	b.stays(t, made.Name, runtime.PhaseCreated)
	all, err := b.d.List(soon(t), nil)
	require.NoError(t, err)
	require.Len(t, all, 4)
	require.NoError(t, b.d.Start(soon(t), plain.Name))
	expect(t, events, runtime.EventStarted, plain.Name)
}
