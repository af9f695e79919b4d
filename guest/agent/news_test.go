package agent

import (
	"testing"
	"time"

	"github.com/huker/huker/internal/failover"
	"github.com/huker/huker/internal/gtid"
	"github.com/huker/huker/internal/protocol"
)

func saying(change func(*protocol.GuestStatus)) protocol.GuestStatus {
	s := protocol.GuestStatus{Part: &failover.Status{
		Mysqld: failover.MysqldUp, Writes: failover.WritesOff, Receiver: failover.Receiver{State: failover.ReceiverRunning}, Serving: failover.Serving{ProbeAgo: -1},
	}}
	change(&s)
	return s
}

// TestNews: what changes by itself is not told, and what somebody decides by is.
func TestNews(t *testing.T) {
	some, err := gtid.Parse("3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5")
	if err != nil {
		t.Fatal(err)
	}
	primary := func(change func(*protocol.GuestStatus)) func(*protocol.GuestStatus) {
		return func(s *protocol.GuestStatus) {
			s.Part.Writes, s.Part.Receiver.State, s.Part.Serving.ProbeAgo = failover.WritesOn, failover.ReceiverStopped, 0
			change(s)
		}
	}
	same := func(*protocol.GuestStatus) {}
	for _, c := range []struct {
		name string
		a, b func(*protocol.GuestStatus)
		want bool
	}{
		{"nothing", same, same, false},
		{"time passes", same, func(s *protocol.GuestStatus) { s.Serial, s.Part.MysqldFor = 9, time.Hour }, false},
		{"a replica executes", same, func(s *protocol.GuestStatus) { s.Part.Executed = some }, false},
		{"a replica executes while the primary changes", func(s *protocol.GuestStatus) { s.Turning = true },
			func(s *protocol.GuestStatus) { s.Turning, s.Part.Executed = true, some }, true},
		{"a replica lags", same, func(s *protocol.GuestStatus) { s.Lag = 20 * time.Millisecond }, false},
		{"a replica lags much", same, func(s *protocol.GuestStatus) { s.Lag = 5 * time.Second }, true},
		{"a replica hears nothing", same, func(s *protocol.GuestStatus) { s.Part.Receiver.HeardAgo = time.Second }, true},
		{"a primary commits", primary(same), primary(func(s *protocol.GuestStatus) { s.Part.Executed, s.Part.Serving.Waiting = some, 3 }), false},
		{"a primary receives nothing", primary(same), primary(func(s *protocol.GuestStatus) { s.Part.Receiver.HeardAgo = time.Second }), false},
		{"a primary's writes take long", primary(same), primary(func(s *protocol.GuestStatus) { s.Part.Serving.ProbeAgo = time.Second }), true},
		{"a replica has left", primary(same), primary(func(s *protocol.GuestStatus) { s.Part.Serving.Attached = []string{"b"} }), true},
	} {
		if got := news(saying(c.a), saying(c.b)); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}
