package runtimetest

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/huker/huker/runtime"
)

func testLifecycle(t *testing.T, b *bed) {
	ctx, d := soon(t), b.d
	s := b.spec("a", "wait")
	s.Env, s.Labels = []string{"COLOUR=blue"}, map[string]string{"x": "1"}
	before := time.Now()
	require.NoError(t, d.Create(ctx, s))
	made, err := d.Inspect(ctx, s.Name)
	require.NoError(t, err)
	require.Equal(t, runtime.PhaseCreated, made.Phase)
	require.Equal(t, s.Name, made.Name)
	require.Equal(t, b.Image, made.Image)
	require.Equal(t, map[string]string{"x": "1", runtime.OwnerLabel: b.owner, runtime.SpecLabel: s.Hash()}, made.Labels)
	require.NotEmpty(t, made.Handle)
	require.WithinDuration(t, before, made.Created, patience)
	require.True(t, made.Started.IsZero() && made.Finished.IsZero())

	require.NoError(t, d.Start(ctx, s.Name))
	up := b.becomes(t, s.Name, phase(runtime.PhaseRunning))
	require.Equal(t, made.Handle, up.Handle)
	require.Positive(t, up.Pid)
	require.WithinDuration(t, time.Now(), up.Started, patience)
	require.Equal(t, "blue", b.exec(t, s.Name, "env", "COLOUR"))

	require.NoError(t, d.Stop(ctx, s.Name, 10*time.Second))
	down := b.becomes(t, s.Name, phase(runtime.PhaseExited))
	require.Zero(t, down.ExitCode)
	require.Zero(t, down.Pid)
	require.False(t, down.OOM)
	require.False(t, down.Finished.Before(down.Started))

	require.NoError(t, d.Start(ctx, s.Name), "it can be started again")
	b.becomes(t, s.Name, phase(runtime.PhaseRunning))
	require.NoError(t, d.Remove(ctx, s.Name), "also while it runs")
	_, err = d.Inspect(ctx, s.Name)
	require.ErrorIs(t, err, runtime.ErrNotFound)
}

func testRepeats(t *testing.T, b *bed) {
	ctx, d := soon(t), b.d
	s := b.spec("a", "wait")
	require.NoError(t, d.Create(ctx, s))
	first, err := d.Inspect(ctx, s.Name)
	require.NoError(t, err)
	require.NoError(t, d.Stop(ctx, s.Name, 0), "it never ran")
	for range 2 {
		require.NoError(t, d.Create(ctx, s))
		require.NoError(t, d.Start(ctx, s.Name))
	}
	s.Limits.MemoryMB = 64
	require.NoError(t, d.Create(ctx, s), "limits are no part of what it is")
	again, err := d.Inspect(ctx, s.Name)
	require.NoError(t, err)
	require.Equal(t, first.Handle, again.Handle)
	require.Equal(t, runtime.PhaseRunning, again.Phase, "Create leaves it as it is")
	require.Zero(t, again.Limits.MemoryMB)
	for range 2 {
		require.NoError(t, d.Stop(ctx, s.Name, 5*time.Second))
	}
	for range 2 {
		require.NoError(t, d.Remove(ctx, s.Name))
	}
}

func testOtherSpec(t *testing.T, b *bed) {
	ctx, d := soon(t), b.d
	s := b.spec("a", "wait")
	b.run(t, s)
	other := b.spec("a", "stubborn")
	require.ErrorIs(t, d.Create(ctx, other), runtime.ErrExists)
	there, err := d.Inspect(ctx, s.Name)
	require.NoError(t, err)
	require.Equal(t, s.Hash(), there.Labels[runtime.SpecLabel])
	require.Equal(t, runtime.PhaseRunning, there.Phase)
	require.NoError(t, d.Remove(ctx, s.Name))
	require.NoError(t, d.Create(ctx, other), "the name is free again")
}

func testBadSpecs(t *testing.T, b *bed) {
	ctx := soon(t)
	s := b.spec("a")
	s.Image = "huker-test/there-is-none:" + b.suffix
	require.ErrorIs(t, b.d.Create(ctx, s), runtime.ErrNoImage)
	s = b.spec("../a")
	require.ErrorIs(t, b.d.Create(ctx, s), runtime.ErrInvalid)
	s = b.spec("a")
	s.Labels = map[string]string{runtime.OwnerLabel: "somebody"}
	require.ErrorIs(t, b.d.Create(ctx, s), runtime.ErrInvalid)
	all, err := b.d.List(ctx, nil)
	require.NoError(t, err)
	require.Empty(t, all, "nothing half-made is left")

	if b.Kernel {
		s = b.spec("b")
		s.Entrypoint = []string{"/no-such-program"}
		require.NoError(t, b.d.Create(ctx, s))
		require.Error(t, b.d.Start(ctx, s.Name))
		state, err := b.d.Inspect(ctx, s.Name)
		require.NoError(t, err)
		require.NotEqual(t, runtime.PhaseRunning, state.Phase)
		require.NotEmpty(t, state.Error, "why it did not start is kept")
	}
}

func testExitCode(t *testing.T, b *bed) {
	s := b.spec("a", "exit", "7")
	b.run(t, s)
	state := b.becomes(t, s.Name, phase(runtime.PhaseExited))
	require.Equal(t, 7, state.ExitCode)
	require.False(t, state.Finished.IsZero())
}

func testStopKills(t *testing.T, b *bed) {
	s := b.spec("a", "stubborn")
	b.run(t, s)
	b.exec(t, s.Name, "echo") // it has had time to close its ears
	begin := time.Now()
	require.NoError(t, b.d.Stop(soon(t), s.Name, time.Second))
	require.GreaterOrEqual(t, time.Since(begin), time.Second, "it was given its grace")
	require.Equal(t, 137, b.becomes(t, s.Name, phase(runtime.PhaseExited)).ExitCode)
}

// Many ask for the same container at once: there is one, and nobody gets an error.
func testCreateAtOnce(t *testing.T, b *bed) {
	ctx := soon(t)
	s := b.spec("a", "wait")
	errs := atOnce(6, func() error { return b.d.Create(ctx, s) })
	for _, err := range errs {
		require.NoError(t, err)
	}
	for _, err := range atOnce(3, func() error { return b.d.Start(ctx, s.Name) }) {
		require.NoError(t, err)
	}
	for _, err := range atOnce(4, func() error { return b.d.Remove(ctx, s.Name) }) {
		require.NoError(t, err)
	}
	_, err := b.d.Inspect(ctx, s.Name)
	require.ErrorIs(t, err, runtime.ErrNotFound)
}

func atOnce(n int, do func() error) []error {
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Add(1)
		go func() {
			defer wg.Done()
			errs[i] = do()
		}()
	}
	wg.Wait()
	return errs
}

func testCancelled(t *testing.T, b *bed) {
	s := b.spec("a", "stubborn")
	b.run(t, s)
	b.exec(t, s.Name, "echo")
	over, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, b.d.Create(over, b.spec("b", "wait")), context.Canceled)
	require.ErrorIs(t, b.d.Start(over, s.Name), context.Canceled)
	require.ErrorIs(t, b.d.Remove(over, s.Name), context.Canceled)
	_, err := b.d.Inspect(over, s.Name)
	require.ErrorIs(t, err, context.Canceled)
	_, err = b.d.List(over, nil)
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorIs(t, b.d.CreateVolume(over, b.name("v"), nil), context.Canceled)

	short, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	begin := time.Now()
	require.ErrorIs(t, b.d.Stop(short, s.Name, 20*time.Second), context.DeadlineExceeded)
	require.Less(t, time.Since(begin), 10*time.Second, "it does not wait for the grace to pass")
	require.NoError(t, b.d.Remove(soon(t), s.Name), "what was cut short can be gone over")
}

func testRestartPolicy(t *testing.T, b *bed) {
	volume := b.name("v")
	require.NoError(t, b.d.CreateVolume(soon(t), volume, nil))
	s := b.spec("a", "once", "/v/ran", "3")
	s.Restart, s.Mounts = true, []runtime.Mount{{Kind: runtime.MountVolume, Source: volume, Target: "/v"}}
	events := b.listen(t)
	b.run(t, s)
	require.Equal(t, 3, expect(t, events, runtime.EventDied, s.Name).ExitCode)
	expect(t, events, runtime.EventStarted, s.Name)
	up := b.becomes(t, s.Name, phase(runtime.PhaseRunning))
	b.exec(t, s.Name, "read", "/v/ran")
	b.crash(t, s.Name)
	require.Equal(t, 42, expect(t, events, runtime.EventDied, s.Name).ExitCode)
	b.becomes(t, s.Name, func(s runtime.State) bool { return s.Phase == runtime.PhaseRunning && s.Started.After(up.Started) })

	plain := b.spec("b", "exit", "3")
	b.run(t, plain)
	b.becomes(t, plain.Name, phase(runtime.PhaseExited))
	b.stays(t, plain.Name, runtime.PhaseExited)
}

func testStoppedStays(t *testing.T, b *bed) {
	s := b.spec("a", "wait")
	s.Restart = true
	b.run(t, s)
	require.NoError(t, b.d.Stop(soon(t), s.Name, 5*time.Second))
	b.stays(t, s.Name, runtime.PhaseExited)
	require.NoError(t, b.d.Start(soon(t), s.Name))
	b.becomes(t, s.Name, phase(runtime.PhaseRunning))
}

// stays looks for a while longer than engines wait before a first restart.
func (b *bed) stays(t *testing.T, name string, p runtime.Phase) {
	t.Helper()
	for end := time.Now().Add(500 * time.Millisecond); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		s, err := b.d.Inspect(soon(t), name)
		require.NoError(t, err)
		require.Equal(t, p, s.Phase)
	}
}

func testNotFound(t *testing.T, b *bed) {
	ctx, d, name := soon(t), b.d, b.name("none")
	_, err := d.Inspect(ctx, name)
	require.ErrorIs(t, err, runtime.ErrNotFound)
	require.ErrorIs(t, d.Start(ctx, name), runtime.ErrNotFound)
	require.ErrorIs(t, d.Stop(ctx, name, 0), runtime.ErrNotFound)
	require.NoError(t, d.Remove(ctx, name))
	require.ErrorIs(t, d.UpdateLimits(ctx, name, runtime.Limits{}), runtime.ErrNotFound)
	require.ErrorIs(t, d.Signal(ctx, name, "HUP"), runtime.ErrNotFound)
	require.ErrorIs(t, d.Pause(ctx, name), runtime.ErrNotFound)
	_, err = d.Exec(ctx, name, []string{"/guest", "echo"}, nil)
	require.ErrorIs(t, err, runtime.ErrNotFound)
	_, err = d.Stats(ctx, name)
	require.ErrorIs(t, err, runtime.ErrNotFound)
	_, err = d.CopyFrom(ctx, name, "/guest")
	require.ErrorIs(t, err, runtime.ErrNotFound)
	require.NoError(t, d.RemoveVolume(ctx, name))
	require.NoError(t, d.RemoveNetwork(ctx, name))

	// A name is the whole name, not the beginning of an id.
	require.NoError(t, d.Create(ctx, b.spec("a", "wait")))
	s, err := d.Inspect(ctx, b.name("a"))
	require.NoError(t, err)
	_, err = d.Inspect(ctx, s.Handle[:12])
	require.ErrorIs(t, err, runtime.ErrNotFound)
}
