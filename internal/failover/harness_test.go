package failover

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/huker/huker/internal/durability"
	"github.com/huker/huker/internal/gtid"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// trx are transactions of the cluster, by their numbers.
func trx(first, last int64) gtid.Set { return gtid.Of(gtid.UUID{15: 1}, first, last) }

// errant are transactions that some server has written on its own.
func errant(first, last int64) gtid.Set { return gtid.Of(gtid.UUID{15: 2}, first, last) }

// record is of a cluster in which a is the primary; b and c are members, of whom acks have to acknowledge.
func record(acks int) durability.Record {
	return durability.Record{
		Cluster: "m", Epoch: 7, Primary: "a", Members: []string{"b", "c"}, MinAcks: acks, SetAcks: acks, Policy: durability.Strict,
		Servers: map[string]string{"a": "sa", "b": "sb", "c": "sc"},
	}
}

func leading(r durability.Record) Status {
	d := Assign(r.Primary, "s"+r.Primary, r)
	return Status{
		Epoch: r.Epoch, Server: "s" + r.Primary, Mysqld: MysqldUp, MysqldFor: time.Hour, Writes: WritesOn, Executed: trx(1, 100),
		Receiver: Receiver{State: ReceiverStopped},
		Serving: Serving{
			SemiSync: d.Acks > 0, Acks: d.Acks, Admitted: d.Admit, Attached: d.Ackers, Enforced: r.Epoch, Seal: Seal{r.Epoch, d.Acks, d.Ackers}, Proven: true,
			ProbeAgo: 100 * time.Millisecond,
		},
	}
}

func following(r durability.Record, id string) Status {
	return Status{
		Epoch: r.Epoch, Server: "s" + id, Mysqld: MysqldUp, MysqldFor: time.Hour, Writes: WritesOff, Executed: trx(1, 100), Retrieved: trx(90, 100),
		Receiver: Receiver{State: ReceiverRunning, Source: r.Primary, Acknowledges: slices.Contains(r.Ackers(), id), HeardAgo: 100 * time.Millisecond},
	}
}

// well is a cluster of three that wants for nothing: a leads, b and c acknowledge. The primary was asked after the others had answered.
func well() Observation { return wellWith(record(1)) }

func wellWith(r durability.Record) Observation {
	o := Observation{
		Record: r, Now: now, Since: now.Add(-time.Hour), Timing: DefaultTiming(), Want: Want{Replicas: 2, Acks: r.MinAcks},
	}
	o.Timing.Near = 3
	for _, id := range []string{"a", "b", "c"} {
		in := Instance{ID: id, Seen: now.Add(-100 * time.Millisecond), Asked: now.Add(-120 * time.Millisecond), Host: Host{Alive: true}}
		if in.Status = following(r, id); id == "a" {
			in.Status, in.Seen, in.Asked = leading(r), now.Add(-10*time.Millisecond), now.Add(-50*time.Millisecond)
		}
		o.Instances = append(o.Instances, in)
	}
	return o
}

func (o *Observation) status(id string) *Status { return &o.instance(id).Status }

// lose has nothing be heard of somebody for a while.
func (o *Observation) lose(ids ...string) {
	for _, id := range ids {
		in := o.instance(id)
		in.Lost, in.Seen, in.Host.Alive = true, now.Add(-time.Minute), false
	}
}

// deafen has the others not hear of the primary.
func (o *Observation) deafen(ids ...string) {
	for _, id := range ids {
		o.status(id).Receiver.State, o.status(id).Receiver.HeardAgo = ReceiverConnecting, time.Minute
	}
}

// stop has members confirm that they stand.
func (o *Observation) stop(ids ...string) {
	for _, id := range ids {
		s := o.status(id)
		s.Epoch, s.Receiver.State = o.Record.Epoch, ReceiverStopped
	}
}

// stand has the old primary confirm that it stands.
func (o *Observation) stand(id string) {
	s := o.status(id)
	s.Epoch, s.Writes, s.Offline = o.Record.Epoch, WritesOff, true
}

// failing is a failover of a that was begun a second ago, of which nobody has heard yet.
func failing(acks int) Observation {
	o := wellWith(record(acks))
	o.Record = o.Record.Begin(durability.Failover, "", "a is lost", now.Add(-time.Second), time.Time{})
	return o
}

// handing is a switchover from a to b that was begun a second ago.
func handing() Observation {
	o := well()
	o.Record = o.Record.Begin(durability.Switchover, "b", "asked for", now.Add(-time.Second), now.Add(time.Minute))
	return o
}

// opening is a failover from a to b, to which c shall acknowledge; everybody goes by it, and b has not sealed.
func opening() Observation {
	o := failing(1)
	o.Record = o.Record.Promote("b", []string{"c"}, 1)
	o.lose("a")
	s := leading(o.Record)
	s.Offline, s.Serving.Seal, s.Serving.Proven = true, Seal{}, false
	o.instance("b").Status = s
	o.instance("c").Status = following(o.Record, "c")
	return o
}

// joining is a cluster of a and b, and c, which is no part of it and waits to be one.
func joining() Observation {
	r := record(1)
	r.Members = []string{"b"}
	delete(r.Servers, "c")
	o := wellWith(r)
	s := o.status("c")
	s.Offline, s.Receiver = true, Receiver{State: ReceiverStopped}
	return o
}

// kinds are the steps of a decision: "stop b c".
func kinds(d Decision) string {
	var out []string
	for _, s := range d.Steps {
		out = append(out, strings.Join(append([]string{string(s.Kind)}, s.Members...), " "))
	}
	return strings.Join(out, ", ")
}

// brief is a record in a line: who leads, who acknowledges.
func brief(r durability.Record) string {
	text := fmt.Sprintf("%s, %d of %v", r.Primary, r.MinAcks, r.Members)
	if r.SetAcks != r.MinAcks {
		text += fmt.Sprintf(", waits for %d", r.SetAcks)
	}
	if len(r.Leaving) > 0 {
		text += fmt.Sprintf(", leaving %v", r.Leaving)
	}
	if len(r.Learners) > 0 {
		text += fmt.Sprintf(", learning %v", r.Learners)
	}
	if i := r.Intent; i != nil {
		text += fmt.Sprintf("; %s of %s, %s", i.Kind, i.From, i.Phase)
		if i.To != "" {
			text += " " + i.To
		}
		if i.Phase == durability.Opening {
			text += fmt.Sprintf(" with %d of %v", i.MinAcks, i.Members)
		}
	}
	return text
}

// next is the record that a decision writes, in a line; empty: none.
func next(d Decision) string {
	if s := d.Swap(); s != nil {
		return brief(*s.Next)
	}
	return ""
}
