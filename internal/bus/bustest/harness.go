// Package bustest is what every engine of package bus must pass.
//
// It owns the meaning of bus's contract, as tests. It must not know any engine: what differs is in the Harness.
package bustest

import (
	"context"
	"crypto/rand"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/huker/huker/internal/bus"
)

// Harness is one engine under test. Open is needed; a test whose means are missing is skipped.
type Harness struct {
	// Open gives a client with all rights. The suite closes it.
	Open func(t *testing.T) bus.Bus
	// OpenKillable gives a client that dies without a word when it is killed: its handlers go on, but nothing gets out any more.
	OpenKillable func(t *testing.T) (b bus.Bus, kill func())
	// RedeliveredWithin is how long a dead server's messages may take to come to another.
	RedeliveredWithin time.Duration
	// Kill ends the engine as kill -9 does; Revive starts it again with what it had stored.
	Kill, Revive func(t *testing.T)
	// Gatekeeper and OpenAs test rights.
	Gatekeeper func(t *testing.T) bus.Gatekeeper
	OpenAs     func(t *testing.T, principal string) bus.Bus
}

// patience bounds what should happen soon. All retries of a poison message fit into it.
const patience = 60 * time.Second

// Run tests an engine. With -short, what waits for sessions to run out or for the engine to come back is skipped.
func Run(t *testing.T, h Harness) {
	tests := []struct {
		name string
		run  func(*testing.T, Harness)
	}{
		{"PublishServe", testPublishServe}, {"KeptUntilServed", testKept}, {"Order", testOrder}, {"Concurrency", testConcurrency},
		{"ManyServersShare", testShare}, {"Retry", testRetry}, {"Poison", testPoison}, {"Rejected", testRejected}, {"Panic", testPanic},
		{"Duplicates", testDuplicates}, {"Deadline", testDeadline}, {"SlowConsumer", testSlowConsumer}, {"Limits", testLimits}, {"Drop", testDrop},
		{"Call", testCall}, {"CallErrors", testCallErrors}, {"CallTimeout", testCallTimeout}, {"CallsAtOnce", testCallsAtOnce}, {"CallLatency", testCallLatency},
		{"CallBig", testCallBig}, {"ServeStops", testServeStops}, {"ServerClosed", testServerClosed}, {"ServerDies", testServerDies},
		{"CallServerDies", testCallServerDies}, {"ManyQueues", testManyQueues}, {"CloseEnds", testCloseEnds},
		{"EngineRestart", testEngineRestart}, {"EngineOutage", testEngineOutage}, {"ServeAcrossRestarts", testServeAcrossRestarts},
		{"Rights", testRights}, {"Expel", testExpel},
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

func needKillable(t *testing.T, h Harness) {
	t.Helper()
	if h.OpenKillable == nil {
		t.Skip("clients cannot be killed here")
	}
	takesTime(t, "a dead server's messages come to another only when its session has run out")
}

func open(t *testing.T, h Harness) bus.Bus {
	t.Helper()
	b := h.Open(t)
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	return b
}

// queue is a name that no other test, and no earlier run, uses.
func queue(t *testing.T, b bus.Bus) string {
	t.Helper()
	q := "bustest." + strings.ToLower(rand.Text())
	t.Cleanup(func() { _ = b.Drop(context.WithoutCancel(t.Context()), q) })
	return q
}

func soon(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// serve runs a server until stop, or the test's end; stop waits for it.
func serve(t *testing.T, b bus.Bus, q string, concurrency int, h bus.Handler) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- b.Serve(ctx, q, concurrency, h) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			select {
			case err := <-done:
				require.NoError(t, err)
			case <-time.After(patience):
				require.Fail(t, "Serve does not end")
			}
		})
	}
	t.Cleanup(stop)
	return stop
}

func publish(t *testing.T, b bus.Bus, q, body string) {
	t.Helper()
	require.NoError(t, b.Publish(soon(t), q, bus.Message{Kind: "test", Body: []byte(body)}))
}

// log collects what handlers saw.
type log struct {
	mu       sync.Mutex
	messages []bus.Message
}

func (l *log) add(m bus.Message) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.messages = append(l.messages, m)
	return len(l.messages)
}

func (l *log) all() []bus.Message {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]bus.Message(nil), l.messages...)
}

func (l *log) bodies() []string {
	var b []string
	for _, m := range l.all() {
		b = append(b, string(m.Body))
	}
	return b
}

func (l *log) handler() bus.Handler {
	return func(_ context.Context, m bus.Message) ([]byte, error) {
		l.add(m)
		return nil, nil
	}
}

func (l *log) await(t *testing.T, n int) {
	t.Helper()
	eventually(t, "messages handled", func() bool { return len(l.all()) >= n })
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	require.Eventually(t, ok, patience, 5*time.Millisecond, what)
}

// empty checks that a queue holds nothing, by serving it for a moment.
func empty(t *testing.T, b bus.Bus, q string) {
	t.Helper()
	var rest log
	stop := serve(t, b, q, 8, rest.handler())
	time.Sleep(300 * time.Millisecond)
	stop()
	require.Empty(t, rest.bodies(), "the queue should be empty")
}
