package failover

import (
	"time"

	"github.com/huker/huker/internal/durability"
)

// change is of the phases of a change of primary.
func changeScenarios() []scenario {
	return []scenario{
		{
			name: "rule 1: never guess", from: failing(1), problem: "histories differ", steps: "freeze",
			change: func(o *Observation) {
				o.lose("a")
				o.stop("b", "c")
				o.status("b").Executed = o.status("b").Executed.Union(errant(1, 1))
				o.status("c").Executed = trx(1, 101)
			},
		},
		{
			name: "a moment for the others to stop, who would acknowledge", from: failing(2), problem: "successor ready, acknowledgers about to stop",
			steps: "wait, stop c",
			change: func(o *Observation) {
				o.Record.Intent.Began = now.Add(-100 * time.Millisecond)
				o.lose("a")
				o.stop("b")
			},
		},
		{
			name: "but no more than a moment", from: failing(2), problem: "successor ready", steps: "promote, stop c",
			next:   "b, 2 of [b c]; failover of a, opening b with 0 of []",
			change: func(o *Observation) { o.lose("a"); o.stop("b") },
		},
		{
			name: "rule 1: R + W > N, and everything is applied", from: failing(1), problem: "successor ready", steps: "promote",
			next:   "b, 1 of [b c]; failover of a, opening b with 1 of [c]",
			change: func(o *Observation) { o.lose("a"); o.stop("b", "c") },
		},
		{
			name: "the one that has more", from: failing(1), problem: "successor ready", steps: "promote", next: "c, 1 of [b c]; failover of a, opening c with 1 of [b]",
			change: func(o *Observation) { o.lose("a"); o.stop("b", "c"); o.status("c").Executed = trx(1, 101) },
		},
		{
			name: "priority decides between equals", from: failing(1), problem: "successor ready", steps: "promote",
			next:   "c, 1 of [b c]; failover of a, opening c with 1 of [b]",
			change: func(o *Observation) { o.lose("a"); o.stop("b", "c"); o.instance("c").Priority = 1 },
		},
		{
			name: "a broken applier decides before priority", from: failing(1), problem: "successor ready", steps: "promote",
			next: "b, 1 of [b c]; failover of a, opening b with 1 of [c]",
			change: func(o *Observation) {
				o.lose("a")
				o.stop("b", "c")
				o.instance("c").Priority, o.status("c").Applier = 1, "1062"
			},
		},
		{
			name: "one that leaves only when there is nobody else", from: failing(1), problem: "successor ready", steps: "promote",
			next: "c, 1 of [b c], leaving [b]; failover of a, opening c with 0 of []",
			change: func(o *Observation) {
				o.Record.Leaving = []string{"b"}
				o.lose("a")
				o.stop("b", "c")
			},
		},
		{
			name: "who was chosen stays chosen", from: failing(1), problem: "successor ready", steps: "promote",
			next:   "c, 1 of [b c]; failover of a, opening c with 1 of [b]",
			change: func(o *Observation) { o.lose("a"); o.Record.Intent.To = "c"; o.stop("b", "c") },
		},
		{
			name: "a confirmation holds when its member has fallen silent", from: failing(1), problem: "successor ready", steps: "promote",
			next: "c, 1 of [b c]; failover of a, opening c with 0 of []",
			change: func(o *Observation) {
				o.lose("a")
				o.stop("b", "c")
				o.lose("b")
			},
		},
		{
			name: "3.5: not before everything received is applied", from: failing(1), problem: "successor applies", steps: "choose",
			next: "a, 1 of [b c]; failover of a, stopping b",
			change: func(o *Observation) {
				o.lose("a")
				o.stop("b", "c")
				o.status("b").Retrieved, o.status("c").Retrieved = trx(1, 110), trx(1, 110)
			},
		},
		{
			name: "3.5: and then it waits", from: failing(1), problem: "successor applies", steps: "wait", text: "b applies 10 transactions: 1205",
			change: func(o *Observation) {
				o.lose("a", "c")
				o.Record.Intent.To = "b"
				o.stop("b", "c")
				o.status("b").Retrieved, o.status("b").Applier = trx(1, 110), "1205"
			},
		},
		{
			name: "3.5: and waits", from: failing(1), problem: "successor applies", steps: "wait", text: "b applies 10 transactions",
			change: func(o *Observation) {
				o.lose("a", "c")
				o.Record.Intent.To = "b"
				o.stop("b", "c")
				o.status("b").Retrieved = trx(1, 110)
			},
		},
		{
			name: "the other lawful way", from: failing(1), problem: "old primary stands still", steps: "promote",
			next: "b, 1 of [b c]; failover of a, opening b with 0 of []",
			change: func(o *Observation) {
				o.lose("c")
				o.stop("b")
				o.stand("a")
			},
		},
		{
			name: "a primary that comes back goes on, when nobody can take its place", from: failing(1), problem: "old primary is back",
			steps: "back, quiesce a, stop b",
			next:  "a, 1 of [b c]",
			change: func(o *Observation) {
				o.lose("c")
				o.Record.Intent.Began = now.Add(-time.Minute)
			},
		},
		{
			name: "rule 1: too few, and it is said who is missing", from: failing(1), problem: "too few stopped", steps: "wait, stop b",
			text:   "it waits for b or c, or for a to come back",
			change: func(o *Observation) { o.lose("a", "c") },
		},
		{
			name: "3.4: connecting is not stopped", from: failing(1), problem: "too few stopped", steps: "wait", text: "1 of 2 members are known to be stopped",
			change: func(o *Observation) {
				o.lose("a")
				o.stop("b", "c")
				o.status("c").Receiver.State = ReceiverConnecting
			},
		},
		{
			name: "nobody of those who could answers any more", from: failing(1), problem: "too few stopped", steps: "wait",
			text:   "b, c would be the successor, and nobody of them answers",
			change: func(o *Observation) { o.stop("b", "c"); o.lose("a", "b", "c") },
		},

		{
			name: "rule 12: a failover takes the place of a switchover", from: handing(), problem: "primary lost while it was handing over", steps: "begin, follow b c",
			next: "a, 1 of [b c]; failover of a, stopping", change: func(o *Observation) { o.lose("a"); o.deafen("b", "c") },
		},
		{
			name: "rule 1, the other lawful way", from: handing(), problem: "handed over", steps: "promote",
			next:   "b, 1 of [b c]; switchover of a, opening b with 1 of [a c]",
			change: func(o *Observation) { o.stand("a"); o.status("b").Epoch, o.status("c").Epoch = 8, 8 },
		},
		{
			name: "4.13: the deadline of a switchover", from: handing(), problem: "switchover takes too long", steps: "back, quiesce a, follow b c",
			next:   "a, 1 of [b c]",
			change: func(o *Observation) { o.Record.Intent.Deadline = now.Add(-time.Second) },
		},
		{
			name: "4.13: the successor is gone", from: handing(), problem: "switchover takes too long", steps: "back, quiesce a, follow c", next: "a, 1 of [b c]",
			change: func(o *Observation) { o.lose("b") },
		},
		{
			name: "4.13: the successor's mysqld does not run", from: handing(), problem: "switchover takes too long", steps: "back, quiesce a, follow b c",
			next:   "a, 1 of [b c]",
			change: func(o *Observation) { o.status("b").Mysqld = MysqldDown },
		},
		{
			name: "the old primary does not know of it", from: handing(), problem: "handing over", steps: "wait, quiesce a, follow b c",
			text:   "a does not know of it yet",
			change: func(*Observation) {},
		},
		{
			name: "4.1: a commit waits", from: handing(), problem: "handing over", steps: "wait", text: "1 commits on a wait for acknowledgements",
			change: func(o *Observation) {
				o.status("a").Serving.Waiting = 1
				o.status("a").Epoch, o.status("b").Epoch, o.status("c").Epoch = 8, 8, 8
			},
		},
		{
			name: "super_read_only reads 1 while its statement still waits", from: handing(), problem: "handing over", steps: "wait", text: "a stops writes",
			change: func(o *Observation) {
				o.stand("a")
				o.status("a").Writes = WritesStopping
				o.status("b").Epoch, o.status("c").Epoch = 8, 8
			},
		},
		{
			name: "a commit that waits though super_read_only is on", from: handing(), problem: "handing over", steps: "wait", text: "a stops writes",
			change: func(o *Observation) {
				o.stand("a")
				o.status("a").Owned = trx(101, 101)
				o.status("b").Epoch, o.status("c").Epoch = 8, 8
			},
		},
		{
			name: "the successor lags", from: handing(), problem: "handing over", steps: "wait", text: "3 transactions are still to be applied",
			change: func(o *Observation) {
				o.stand("a")
				o.status("a").Executed = trx(1, 103)
				o.status("b").Epoch, o.status("c").Epoch = 8, 8
			},
		},

		{
			name: "the new primary falls out, and the old one is there", from: opening(), problem: "successor lost, old primary there", steps: "back, demote a",
			next: "a, 1 of [b c]",
			change: func(o *Observation) {
				o.lose("b")
				o.deafen("c")
				a := o.instance("a")
				a.Lost, a.Seen = false, now
			},
		},
		{
			name: "until it opens, the new primary is but one of the old one's members", from: opening(), problem: "successor lost", steps: "begin",
			next: "a, 1 of [b c]; failover of a, stopping", change: func(o *Observation) { o.lose("b"); o.deafen("c") },
		},
		{
			name: "rule 8: it opens when its members hold what it has", from: opening(), problem: "successor holds on its own terms", steps: "establish",
			next:   "b, 1 of [c]",
			change: func(o *Observation) { o.status("b").Serving.Seal.Epoch = 9 },
		},
		{
			name: "a seal of an older epoch is none", from: opening(), problem: "opening", steps: "wait",
			change: func(o *Observation) { o.status("b").Serving.Seal.Epoch = 8 },
		},
		{
			name: "rule 4: nothing is promised with nobody", from: opening(), problem: "successor holds on its own terms", steps: "establish",
			next:   "b, 0 of [], waits for 1",
			change: func(o *Observation) { i := o.Record.Intent; i.Members, i.MinAcks = nil, 0 },
		},
		{
			name: "4.13: a switchover that does not come to its end", from: opening(), problem: "switchover takes too long to open", steps: "back",
			next: "a, 1 of [b c]",
			change: func(o *Observation) {
				o.Record.Intent.Kind, o.Record.Intent.Deadline = durability.Switchover, now.Add(-time.Second)
				a := o.instance("a")
				a.Lost, a.Seen = false, now
				o.stand("a")
			},
		},
		{
			name: "4.4: replicas that are away are not waited for", from: opening(), problem: "too few to acknowledge to the successor", steps: "expect",
			next: "b, 1 of [b c]; failover of a, opening b with 0 of []",
			change: func(o *Observation) {
				o.Record.Intent.Began = now.Add(-time.Minute)
				o.lose("c")
			},
		},
		{
			name: "4.4: nor are those that answer and do not reach it", from: opening(), problem: "too few to acknowledge to the successor", steps: "expect",
			next: "b, 1 of [b c]; failover of a, opening b with 0 of []",
			change: func(o *Observation) {
				o.Record.Intent.Began = now.Add(-time.Minute)
				o.deafen("c")
			},
		},
		{
			name: "4.4: nor those that lack what it has purged", from: opening(), problem: "too few to acknowledge to the successor", steps: "expect",
			next: "b, 1 of [b c]; failover of a, opening b with 0 of []",
			change: func(o *Observation) {
				o.Record.Intent.Began = now.Add(-time.Minute)
				o.status("c").Receiver = Receiver{State: ReceiverStopped, Source: "b", Broken: "1236"}
			},
		},
		{
			name: "4.4: but those are that have still to apply what they received", from: opening(), problem: "opening", steps: "wait",
			change: func(o *Observation) {
				o.Record.Intent.Began = now.Add(-time.Minute)
				o.status("c").Retrieved, o.status("c").Receiver = trx(1, 200), Receiver{State: ReceiverStopped, Source: "a"}
			},
		},
		{
			name: "4.4: it may take a while to reach it", from: opening(), problem: "opening", steps: "wait",
			change: func(o *Observation) {
				o.Record.Intent.Began = now.Add(-5 * time.Second)
				o.deafen("c")
			},
		},
		{
			name: "4.4: but for a moment they are", from: opening(), problem: "opening", steps: "wait", text: "b waits for 1 of c to hold what it has",
			change: func(o *Observation) { o.lose("c") },
		},
	}
}
