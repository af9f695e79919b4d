// Package runtimetest is what every driver of package runtime must pass, and the image that tests run in containers.
//
// It owns the meaning of runtime's contract, as tests. It must not know any engine: what differs is in the Harness.
package runtimetest

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/huker/huker/internal/testenv"
	"github.com/huker/huker/runtime"
)

// Driver is all that a runtime can do.
type Driver interface {
	runtime.Runtime
	runtime.Volumes
	runtime.Networks
	runtime.Images
	runtime.Execer
	runtime.Copier
	runtime.Limiter
	runtime.Signaler
	runtime.StatsReader
}

// Harness is one engine under test. A test whose means are missing is skipped.
type Harness struct {
	// Open gives one more driver on the same engine, as a restarted Huker or another owner would. It is needed.
	Open func(t *testing.T, owner string) Driver
	// Image has the guest program in it, as /guest.
	Image string
	// Kernel says that a kernel runs the containers: what it enforces is tested too.
	Kernel bool
	// OpenCuttable gives a driver whose connection to the engine can be cut and mended.
	OpenCuttable func(t *testing.T, owner string) (d Driver, cut, mend func())
	// Crash ends a container's program from within, with code 42. Without it the guest is told to.
	Crash func(t *testing.T, name string)
	// RestartEngine ends the engine and starts it again.
	RestartEngine func(t *testing.T)
	// NoNetworks is for an engine that has none.
	NoNetworks bool
}

// patience bounds what should happen soon.
const patience = 30 * time.Second

type test struct {
	name string
	run  func(*testing.T, *bed)
}

func all() []test {
	return []test{
		{"Lifecycle", testLifecycle}, {"Repeats", testRepeats}, {"OtherSpec", testOtherSpec}, {"BadSpecs", testBadSpecs},
		{"ExitCode", testExitCode}, {"StopKills", testStopKills}, {"Hardened", testHardened}, {"CreateAtOnce", testCreateAtOnce},
		{"Cancelled", testCancelled},
		{"RestartPolicy", testRestartPolicy}, {"StoppedStaysStopped", testStoppedStays}, {"NotFound", testNotFound},
		{"Foreign", testForeign}, {"ListByLabels", testListByLabels}, {"Recover", testRecover},
		{"EventsOfALife", testEvents}, {"EventsAreTheOwners", testEventsOwner}, {"EventsOfOOM", testEventsOOM},
		{"EventsEnd", testEventsEnd}, {"EventsResync", testEventsResync},
		{"Volumes", testVolumes}, {"VolumeKeepsData", testVolumeKeepsData}, {"VolumeInUse", testVolumeInUse},
		{"Networks", testNetworks}, {"NetworkAddresses", testNetworkAddresses}, {"NetworkAtOnce", testNetworkAtOnce}, {"Images", testImages},
		{"Exec", testExec}, {"ExecEnds", testExecEnds}, {"Copy", testCopy}, {"ReadOnlyRoot", testReadOnlyRoot},
		{"Limits", testLimits}, {"Signals", testSignals}, {"Pause", testPause}, {"Stats", testStats},
		{"EngineRestart", testEngineRestart},
	}
}

// Run tests an engine.
func Run(t *testing.T, open func(t *testing.T) Harness) {
	for _, test := range all() {
		t.Run(test.name, func(t *testing.T) { test.run(t, newBed(t, open(t))) })
	}
}

// RunOne runs one test of the suite, for a harness that is too dear for all of it.
func RunOne(t *testing.T, name string, h Harness) {
	for _, test := range all() {
		if test.name == name {
			test.run(t, newBed(t, h))
			return
		}
	}
	t.Fatalf("there is no test %s", name)
}

// bed is one test's driver, with names that no other test has.
type bed struct {
	Harness
	d      Driver
	owner  string
	suffix string
}

func newBed(t *testing.T, h Harness) *bed {
	t.Helper()
	suffix := testenv.Suffix(t)
	b := &bed{Harness: h, owner: "huker-test-" + suffix, suffix: suffix}
	b.d = h.Open(t, b.owner)
	b.cleanAfter(t, b.d)
	return b
}

// cleanAfter removes what a driver's owner has when the test is over.
func (b *bed) cleanAfter(t *testing.T, d Driver) {
	t.Helper()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
		defer cancel()
		containers, err := d.List(ctx, nil)
		require.NoError(t, err)
		for _, c := range containers {
			require.NoError(t, d.Remove(ctx, c.Name))
		}
		volumes, err := d.ListVolumes(ctx, nil)
		require.NoError(t, err)
		for _, v := range volumes {
			require.NoError(t, d.RemoveVolume(ctx, v.Name))
		}
		networks, err := d.ListNetworks(ctx, nil)
		require.NoError(t, err)
		for _, n := range networks {
			require.NoError(t, d.RemoveNetwork(ctx, n.Name))
		}
	})
}

// another opens a driver of another owner.
func (b *bed) another(t *testing.T) Driver {
	t.Helper()
	d := b.Open(t, b.owner+"-other")
	b.cleanAfter(t, d)
	return d
}

// name is unique to the test.
func (b *bed) name(what string) string { return "hkt-" + b.suffix + "-" + what }

// spec is a container whose program does as args say.
func (b *bed) spec(what string, args ...string) runtime.Spec {
	return runtime.Spec{Name: b.name(what), Image: b.Image, Entrypoint: []string{"/guest"}, Args: args}
}

// run creates and starts a container.
func (b *bed) run(t *testing.T, s runtime.Spec) {
	t.Helper()
	ctx := soon(t)
	require.NoError(t, b.d.Create(ctx, s))
	require.NoError(t, b.d.Start(ctx, s.Name))
}

// exec runs the guest program beside the container's own, which must succeed.
func (b *bed) exec(t *testing.T, name string, args ...string) string {
	t.Helper()
	r, err := b.d.Exec(soon(t), name, append([]string{"/guest"}, args...), nil)
	require.NoError(t, err)
	require.Zero(t, r.ExitCode, "%s: %s", strings.Join(args, " "), r.Stderr)
	return string(r.Stdout)
}

// crash ends a container's program from within: no signal of the engine's is in it.
func (b *bed) crash(t *testing.T, name string) {
	t.Helper()
	if b.Crash != nil {
		b.Crash(t, name)
		return
	}
	_, err := b.d.Exec(soon(t), name, []string{"/guest", "crash"}, nil)
	require.NoError(t, err)
}

// becomes waits until a container's state is as wanted.
func (b *bed) becomes(t *testing.T, name string, want func(runtime.State) bool) runtime.State {
	t.Helper()
	ctx := soon(t)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		s, err := b.d.Inspect(ctx, name)
		require.NoError(t, err)
		if want(s) {
			return s
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			require.FailNow(t, "the container did not get there", "%+v", s)
		}
	}
}

func phase(p runtime.Phase) func(runtime.State) bool {
	return func(s runtime.State) bool { return s.Phase == p }
}

// soon is a context for what should not take long.
func soon(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}
