// Package coordtest is what every engine of package coord must pass.
//
// It owns the meaning of coord's contract, as tests. It must not know any engine: what differs is in the Harness.
package coordtest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/huker/huker/internal/coord"
)

// Harness is one engine under test. Open is needed; a test whose means are missing is skipped.
type Harness struct {
	// Open gives a client with all rights. The suite closes it.
	Open func(t *testing.T) coord.Store
	// OpenCuttable gives a client whose network can be cut (nothing gets through, nothing is refused) and mended.
	OpenCuttable func(t *testing.T) (store coord.Store, cut, mend func())
	// Kill ends the engine as kill -9 does; Revive starts it again with what it had stored.
	Kill, Revive func(t *testing.T)
	// Gatekeeper and OpenAs test rights.
	Gatekeeper func(t *testing.T) coord.Gatekeeper
	OpenAs     func(t *testing.T, principal string) coord.Store
}

// patience bounds what should happen soon.
const patience = 20 * time.Second

// Run tests an engine. With -short, what waits for sessions to run out or for the engine to come back is skipped.
func Run(t *testing.T, h Harness) {
	tests := []struct {
		name string
		run  func(*testing.T, Harness)
	}{
		{"Values", testValues}, {"Conditions", testConditions}, {"BadRequests", testBadRequests}, {"BigValues", testBigValues},
		{"Lists", testLists}, {"Atomicity", testAtomicity}, {"Increments", testIncrements},
		{"EphemeralClose", testEphemeralClose}, {"EphemeralStoreClose", testEphemeralStoreClose}, {"EphemeralKinds", testEphemeralKinds},
		{"SessionCut", testSessionCut}, {"SessionOutlivesShortCut", testSessionShortCut},
		{"WatchOrder", testWatchOrder}, {"WatchScope", testWatchScope}, {"WatchMany", testWatchMany}, {"WatchEnds", testWatchEnds},
		{"WatchAcrossRestart", testWatchAcrossRestart}, {"RestartKeeps", testRestartKeeps}, {"OutageUnavailable", testOutage},
		{"SessionLostInOutage", testSessionOutage},
		{"Rights", testRights}, {"Expel", testExpel},
		{"Readers", testReaders}, {"RightsReplaced", testRightsReplaced}, {"RightsShared", testRightsShared}, {"RightsAtOnce", testRightsAtOnce},
		{"Election", testElection}, {"ElectionMutualExclusion", testElectionExclusion}, {"ElectionFencing", testElectionFencing},
		{"ElectionSessionLost", testElectionSessionLost}, {"ElectionResign", testElectionResign}, {"ElectionCancel", testElectionCancel},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) { test.run(t, h) })
	}
}

// takesTime skips the test, or what is left of it, in a short run.
func takesTime(t *testing.T, why string) {
	t.Helper()
	if testing.Short() {
		t.Skip("not in a short run: " + why)
	}
}

func needKill(t *testing.T, h Harness) {
	t.Helper()
	if h.Kill == nil {
		t.Skip("the engine cannot be killed here")
	}
	takesTime(t, "the engine is killed and started again")
}

func needCut(t *testing.T, h Harness) {
	t.Helper()
	if h.OpenCuttable == nil {
		t.Skip("the engine's network cannot be cut here")
	}
	takesTime(t, "a session lasts until it is lost for want of a network")
}

func open(t *testing.T, h Harness) coord.Store {
	t.Helper()
	s := h.Open(t)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func session(t *testing.T, s coord.Store, ttl time.Duration) coord.Session {
	t.Helper()
	sess, err := s.NewSession(soon(t), ttl)
	require.NoError(t, err)
	t.Cleanup(func() { _ = sess.Close(context.WithoutCancel(t.Context())) })
	return sess
}

// soon is a context for what should not take long.
func soon(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// root is a prefix that no other test, and no earlier run, uses.
func root() string { return "/coordtest-" + strings.ToLower(rand.Text()) }

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	require.Eventually(t, ok, patience, 10*time.Millisecond, what)
}

// gone tells whether key is absent for s; an engine that is away counts as no.
func gone(ctx context.Context, s coord.Store, key string) bool {
	_, err := s.Get(ctx, key)
	return errors.Is(err, coord.ErrNotFound)
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

func isClosed(ch <-chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}

func within(t *testing.T, ch <-chan struct{}, d time.Duration, what string) {
	t.Helper()
	select {
	case <-ch:
	case <-time.After(d):
		require.Fail(t, fmt.Sprintf("%s: not within %s", what, d))
	}
}
