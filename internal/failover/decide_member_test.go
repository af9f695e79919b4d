package failover

import (
	"time"

	"github.com/huker/huker/internal/durability"
	"github.com/huker/huker/internal/gtid"
)

// memberScenarios are of a cluster that is led, and of who acknowledges.
func memberScenarios() []scenario {
	leaving := func(o *Observation) {
		o.Record = o.Record.Leave("c")
		for _, id := range []string{"a", "b", "c"} {
			o.status(id).Epoch = 8
		}
		o.instance("a").Status = leading(o.Record)
		o.status("c").Receiver = Receiver{State: ReceiverStopped}
	}
	learning := func(o *Observation) {
		o.Record = o.Record.Admit("c", "sc")
		o.instance("a").Status = leading(o.Record)
		o.instance("b").Status, o.instance("c").Status = following(o.Record, "b"), following(o.Record, "c")
	}
	leave := "a, 1 of [b c], leaving [c]"
	unfit := func(name, text string, change func(o *Observation)) scenario {
		return scenario{name: name, from: well(), problem: "member unfit", steps: "member", next: leave, text: text, change: change}
	}
	return []scenario{
		{
			name: "a member that leaves is all that is left", from: well(), problem: "member that leaves is needed", steps: "member", next: "a, 1 of [b c]",
			text: "without it only nobody can acknowledge", change: func(o *Observation) { leaving(o); o.lose("b") },
		},
		{
			name: "4.10: neither kept nor given up before it is known whether it fits", from: well(), problem: "member that leaves to be compared", steps: "suspect a",
			change: func(o *Observation) {
				leaving(o)
				o.lose("b")
				o.status("c").Executed = errant(1, 2)
				o.instance("c").Seen = now
			},
		},
		{
			name: "a member whose data is gone leaves, and nobody is left to seal it", from: well(), problem: "nobody left to seal a removal", steps: "member",
			next: "a, 0 of [b c], waits for 1, leaving [c]",
			change: func(o *Observation) {
				leaving(o)
				o.lose("b")
				o.status("c").Server = "sx"
			},
		},
		{
			name: "4.5: the only replica is gone; available goes on alone", from: joining(), problem: "too few acknowledge", steps: "member", next: "a, 0 of [b]",
			change: func(o *Observation) { o.Record.Policy = durability.Available; o.lose("b") },
		},
		{
			name: "4.5: its writes are stuck, as replicas that answer do not acknowledge", from: wellWith(record(2)), problem: "too few acknowledge", steps: "member",
			next: "a, 1 of [b c]",
			change: func(o *Observation) {
				o.deafen("c")
				o.status("a").Serving.Attached, o.status("a").Serving.ProbeAgo = []string{"b"}, 5*time.Second
			},
		},
		{
			name: "4.5: it does not come to open, as replicas that answer do not acknowledge", from: wellWith(record(2)), problem: "too few acknowledge",
			steps: "member",
			next:  "a, 1 of [b c]",
			change: func(o *Observation) {
				o.deafen("c")
				a := o.status("a")
				a.Offline, a.MysqldFor, a.Serving.Proven = true, time.Minute, false
			},
		},
		{
			name: "1+2, both acknowledge: one is gone", from: wellWith(record(2)), problem: "too few acknowledge", steps: "member", next: "a, 1 of [b c]",
			change: func(o *Observation) { o.lose("c") },
		},
		{
			name: "1+2, both acknowledge: one is away for a moment", from: wellWith(record(2)), problem: "", steps: "",
			change: func(o *Observation) { o.instance("c").Seen = now.Add(-2 * time.Second) },
		},
		{
			name: "4.5: the only replica is gone without a word, and its connection stays", from: joining(), problem: "too few acknowledge", steps: "member",
			next: "a, 0 of [b]", change: func(o *Observation) {
				o.Record.Policy = durability.Available
				o.lose("b", "c")
				o.status("a").Serving.Attached, o.status("a").Serving.ProbeAgo = []string{"b"}, 5*time.Second
			},
		},
		{
			name: "3.9: an errant replica that is the only one is not counted upon again on its way out", from: joining(), problem: "member unfit", steps: "member",
			next: "a, 0 of [b], waits for 1, leaving [b]", change: func(o *Observation) {
				o.Record.MinAcks = 0
				o.status("b").Executed = o.status("b").Executed.Union(errant(1, 1))
				o.lose("c")
			},
		},
		{
			name: "4.5: strict waits", from: joining(), problem: "", steps: "", change: func(o *Observation) { o.lose("b", "c") },
		},
		{
			name: "the owner wants less", from: wellWith(record(2)), problem: "less is wanted", steps: "member", next: "a, 1 of [b c]",
			change: func(o *Observation) { o.Want.Acks = 1 },
		},
		{
			name: "rule 2: set, and have it sealed, then publish", from: well(), problem: "acknowledgements being raised", steps: "member", next: "a, 2 of [b c]",
			change: func(o *Observation) {
				o.Want.Acks, o.Record = 2, o.Record.Require(2)
				o.instance("a").Status = leading(o.Record)
				o.instance("b").Status, o.instance("c").Status = following(o.Record, "b"), following(o.Record, "c")
			},
		},
		{
			name: "rule 2: not published before it is sealed", from: well(), problem: "acknowledgements being raised", steps: "wait", text: "2 members hold everything",
			change: func(o *Observation) {
				o.Want.Acks, o.Record = 2, o.Record.Require(2)
				o.instance("a").Status = leading(o.Record)
				o.status("a").Serving.Seal = Seal{}
				o.instance("b").Status, o.instance("c").Status = following(o.Record, "b"), following(o.Record, "c")
			},
		},
		{
			name: "4.5: nobody is left, and the owner would rather write", from: well(), problem: "another policy is wanted", steps: "member", next: "a, 1 of [b c]",
			text: "the policy is available from now on",
			change: func(o *Observation) {
				o.Want.Policy = durability.Available
				o.lose("b", "c")
			},
		},
		{
			name: "4.5: then it goes on alone", from: well(), problem: "too few acknowledge", steps: "member", next: "a, 0 of [b c]",
			change: func(o *Observation) {
				o.Want.Policy = durability.Available
				o.Record = o.Record.Govern(durability.Available)
				o.lose("b", "c")
				o.instance("a").Status = leading(o.Record)
			},
		},
		{
			name: "a policy of another kind is nothing that can be changed to", from: well(), change: func(o *Observation) { o.Want.Policy = durability.Fast },
		},
		{
			name: "the owner wants more", from: well(), problem: "more may be promised", steps: "member", next: "a, 1 of [b c], waits for 2",
			change: func(o *Observation) { o.Want.Acks = 2 },
		},
		{
			name: "4.10: no more is promised for one that may be unfit", from: well(), problem: "primary to be asked again", steps: "suspect a",
			change: func(o *Observation) {
				o.Want.Acks = 2
				o.status("c").Executed = errant(1, 2)
				o.instance("c").Seen = now
			},
		},
		{
			name: "more are waited for when they acknowledge, not before", from: well(), problem: "members to follow", steps: "wait",
			change: func(o *Observation) { o.Want.Acks = 2; o.deafen("c") },
		},

		{
			name: "rule 3: no member any more, once it is shut out and sealed", from: well(), problem: "member leaves", steps: "member", next: "a, 1 of [b]",
			change: leaving,
		},
		{
			name: "rule 3: not before the primary says so", from: well(), problem: "member leaves", steps: "lead a, follow b",
			text: "the primary a does not go by epoch 8 yet",
			change: func(o *Observation) {
				leaving(o)
				o.instance("a").Status = leading(record(1))
				o.status("b").Epoch = 7
			},
		},
		unfit("its deletion was asked for", "its deletion was asked for", func(o *Observation) { o.instance("c").Unwanted = true }),
		unfit("its data is gone", "another server answers by its name", func(o *Observation) { o.status("c").Server = "sx" }),
		unfit("it is being rebuilt", "its data is being replaced", func(o *Observation) { o.status("c").Rebuilding = true }),
		unfit("3.9: an errant replica", "it has 1 transactions that the primary does not have", func(o *Observation) {
			o.status("c").Executed = trx(1, 100).Union(errant(1, 1))
		}),
		unfit("3.9: what waits on it counts as well", "it has 2 transactions", func(o *Observation) { o.status("c").Owned = errant(1, 2) }),
		unfit("4.9: its binlogs were purged", "the primary has purged transactions that it lacks", func(o *Observation) {
			o.status("c").Executed, o.status("c").Retrieved = trx(1, 10), gtid.Set{}
			o.status("a").Purged = trx(1, 50)
		}),
		unfit("4.9: error 1236", "it cannot replicate: 1236", func(o *Observation) { o.status("c").Receiver.Broken = "1236" }),
		{
			name: "4.3: a healthy replica, of which was read after the primary, is no errant one", from: well(), problem: "primary to be asked again",
			steps: "suspect a",
			change: func(o *Observation) {
				o.status("c").Executed = trx(1, 103)
				o.instance("c").Seen = now
			},
		},
		{
			name: "it is silent for long, and another one is left", from: well(), problem: "member silent", steps: "member", next: leave,
			change: func(o *Observation) { o.lose("c") },
		},
		{
			name: "a learner whose deletion was asked for", from: joining(), problem: "learner unfit", steps: "member", next: "a, 1 of [b]",
			change: func(o *Observation) { learning(o); o.instance("c").Unwanted = true },
		},
		{
			name: "a learner that is silent for long", from: joining(), problem: "learner unfit", steps: "member", next: "a, 1 of [b]",
			change: func(o *Observation) { learning(o); o.lose("c") },
		},
		{
			name: "rule 2: publish, then enable", from: joining(), problem: "learner caught up", steps: "member", next: "a, 1 of [b c]", change: learning,
		},
		{
			name: "a learner that lags", from: joining(), problem: "members to follow", steps: "wait", text: "c is not there yet",
			change: func(o *Observation) {
				learning(o)
				o.status("c").Executed, o.status("c").Retrieved = trx(1, 10), gtid.Set{}
			},
		},

		{
			name: "a learner that lags by no more than it always will", from: joining(), problem: "learner caught up", steps: "member", next: "a, 1 of [b c]",
			change: func(o *Observation) {
				learning(o)
				o.status("c").Executed, o.status("c").Retrieved = trx(1, 97), gtid.Set{}
			},
		},
		{
			name: "a session is a sign of life, and no reason to compare", from: joining(), problem: "primary to be asked again", steps: "suspect a",
			change: func(o *Observation) {
				c := o.instance("c")
				c.Seen, c.Heard = now.Add(-10*time.Second), now
				o.instance("a").Asked = now.Add(-11 * time.Second)
			},
		},
		{
			name: "the primary has to be asked after who wants to join", from: joining(), problem: "primary to be asked again", steps: "suspect a",
			change: func(o *Observation) { o.instance("c").Seen = now },
		},
		{
			name: "it fits, and is let in", from: joining(), problem: "outsider fits", steps: "member", next: "a, 1 of [b], learning [c]", change: func(*Observation) {},
		},
		{
			name: "3.12: what a killed session committed", from: joining(), problem: "outsider does not fit", steps: "rebuild c",
			text:   "it has 1 transactions that the primary does not have",
			change: func(o *Observation) { o.status("c").Executed = trx(1, 100).Union(errant(1, 1)) },
		},
		{
			name: "4.9: what it lacks was purged", from: joining(), problem: "outsider does not fit", steps: "rebuild c", text: "the primary has purged",
			change: func(o *Observation) {
				o.status("c").Executed, o.status("c").Retrieved = trx(1, 10), gtid.Set{}
				o.status("a").Purged = trx(1, 50)
			},
		},
		{
			name: "nobody is rebuilt whose primary could open without it", from: joining(), problem: "primary does not open", steps: "wait",
			text: "nobody do not replicate",
			change: func(o *Observation) {
				o.status("c").Executed = errant(1, 1)
				o.status("a").Offline = true
			},
		},
		{
			name: "4.15: it says for whom it waits", from: well(), problem: "primary does not open", steps: "wait",
			text:   "a waits for 1 members to hold what it has; b, c do not replicate from it now",
			change: func(o *Observation) { o.status("a").Offline = true; o.deafen("b", "c") },
		},
		{
			name: "somebody is not there yet", from: well(), problem: "members to follow", steps: "wait", text: "c is not there yet",
			change: func(o *Observation) { o.deafen("c") },
		},
		{
			name: "who is to go is not waited for", from: joining(), problem: "", steps: "", change: func(o *Observation) { o.instance("c").Unwanted = true },
		},
	}
}
