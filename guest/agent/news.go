package agent

import (
	"math/bits"
	"reflect"
	"time"

	"github.com/huker/huker/internal/failover"
	"github.com/huker/huker/internal/gtid"
	"github.com/huker/huker/internal/protocol"
)

// late is from when on silence is told, and then every other late again.
const late = 750 * time.Millisecond

// news says whether b tells others something that a did not: everything does but what changes all the time by itself.
func news(a, b protocol.GuestStatus) bool {
	return !reflect.DeepEqual(gist(a), gist(b))
}

// gist leaves out what changes all the time, or has it change seldom.
func gist(s protocol.GuestStatus) protocol.GuestStatus {
	s.Serial = 0
	s.Lag = rough(s.Lag)
	if s.Part == nil {
		return s
	}
	p := *s.Part
	drained := p.Executed.Contains(p.Retrieved)
	p.MysqldFor, p.Receiver.Refused, p.Receiver.StoppingFor = 0, false, 0
	p.Receiver.HeardAgo, p.Serving.ProbeAgo = steps(p.Receiver.HeardAgo), steps(p.Serving.ProbeAgo)
	if p.Receiver.State == failover.ReceiverStopped { // it is not expected to hear anything
		p.Receiver.HeardAgo = 0
	}
	p.Room.Size, p.Room.Free = 0, int64(bits.Len64(uint64(max(p.Room.Free, 0)))) // #nosec G115 -- not negative
	if !p.Room.Low {
		p.Room.Free = 0
	}
	p.Serving.Waiting = min(p.Serving.Waiting, 1)
	if p.Writes == failover.WritesOn { // a primary commits all the time, and always has something that waits
		p.Serving.Waiting = 0
	}
	if !s.Turning && (p.Writes == failover.WritesOn || p.Receiver.State != failover.ReceiverStopped) {
		p.Executed, p.Retrieved, p.Owned, p.Purged = gtid.Set{}, gtid.Set{}, gtid.Set{}, gtid.Set{}
		if drained && p.Receiver.State == failover.ReceiverStopped {
			p.Applier += " drained"
		}
	}
	s.Part = &p
	return s
}

// steps is nothing while something is in time, and counts from then on.
func steps(d time.Duration) time.Duration {
	switch {
	case d < 0:
		return -1
	case d < late:
		return 0
	case d > 10*time.Second: // it has been told often enough
		return 10 * time.Second
	}
	return d.Truncate(late / 3)
}

// rough has a lag change when it has doubled or halved, from a second up.
func rough(d time.Duration) time.Duration {
	switch {
	case d < 0:
		return -1
	case d < time.Second:
		return 0
	}
	return time.Duration(bits.Len64(uint64(d / time.Second)))
}
