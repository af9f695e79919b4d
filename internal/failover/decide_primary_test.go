package failover

import (
	"time"

	"github.com/huker/huker/internal/durability"
)

// primaryScenarios are of a cluster whose primary may be lost.
func primaryScenarios() []scenario {
	begun := "a, 1 of [b c]; failover of a, stopping"
	lost := func(name string, change func(o *Observation)) scenario {
		return scenario{name: name, from: well(), problem: "primary lost", steps: "begin", next: begun, change: change}
	}
	doubt := func(name, text string, change func(o *Observation)) scenario {
		return scenario{name: name, from: well(), problem: "primary in doubt", steps: "suspect a b c", text: text, change: change}
	}
	return []scenario{
		{name: "all is well", from: well(), change: func(*Observation) {}},
		{
			name: "an operator is at work", from: well(), problem: "frozen", steps: "wait", text: "maintenance",
			change: func(o *Observation) { o.Want.Frozen = "maintenance"; o.lose("a"); o.deafen("b", "c") },
		},
		{
			name: "which server is the primary is written down", from: well(), problem: "primary's server not known", steps: "name", next: "a, 1 of [b c]",
			change: func(o *Observation) { delete(o.Record.Servers, "a") },
		},
		lost("mysqld does not run", func(o *Observation) { o.status("a").Mysqld = MysqldDown }),
		lost("mysqld starts again", func(o *Observation) { o.status("a").Mysqld = MysqldStarting }),
		lost("its container does not run", func(o *Observation) { o.lose("a"); o.instance("a").Host = Host{Alive: true, Down: true} }),
		lost("silent, and no replica hears of it", func(o *Observation) { o.lose("a"); o.deafen("b", "c") }),
		lost("silent without a lost session, and no replica hears of it", func(o *Observation) {
			o.instance("a").Seen = now.Add(-2 * time.Second)
			o.deafen("b", "c")
		}),
		lost("its data is gone", func(o *Observation) { o.status("a").Server = "sx" }),
		lost("its data is being replaced", func(o *Observation) { o.status("a").Rebuilding = true }),
		lost("4.11: only replication is cut, clients still reach it", func(o *Observation) {
			o.deafen("b", "c")
			o.status("a").Serving.Attached, o.status("a").Serving.ProbeAgo = nil, 3*time.Second
		}),
		lost("4.12: the disk is dead, sockets are not", func(o *Observation) { o.status("a").Serving.ProbeAgo = 3 * time.Second }),
		{
			name: "more than enough members: one may be away", from: well(), problem: "primary lost", steps: "begin", next: "a, 2 of [b c d]; failover of a, stopping",
			change: func(o *Observation) {
				o.Record.Members, o.Record.Servers["d"] = []string{"b", "c", "d"}, "sd"
				o.Record.MinAcks, o.Record.SetAcks, o.Want.Acks, o.Want.Replicas = 2, 2, 1, 3
				o.lose("a")
				o.deafen("b", "c")
			},
		},
		{
			name: "a successor would have nobody to acknowledge: a moment for the primary to come back", from: wellWith(record(2)),
			problem: "primary lost, and its successor could not open", steps: "wait", text: "a successor would have nobody to acknowledge",
			change: func(o *Observation) {
				o.lose("c")
				o.status("a").Mysqld, o.status("a").MysqldFor = MysqldDown, time.Second
			},
		},
		{
			name: "its writes have been stuck for a moment, however long its mysqld has run", from: joining(),
			problem: "primary lost, and its successor could not open", steps: "wait", text: "a successor would have nobody to acknowledge",
			change: func(o *Observation) { o.lose("c"); o.status("a").Serving.ProbeAgo = 3 * time.Second },
		},
		{
			name: "and no longer than a moment: stuck", from: joining(), problem: "primary lost", steps: "begin",
			next:   "a, 1 of [b]; failover of a, stopping",
			change: func(o *Observation) { o.lose("c"); o.status("a").Serving.ProbeAgo = 30 * time.Second },
		},
		{
			name: "and no longer than a moment", from: wellWith(record(2)), problem: "primary lost", steps: "begin", next: "a, 2 of [b c]; failover of a, stopping",
			change: func(o *Observation) { o.lose("a", "c"); o.deafen("b") },
		},
		{
			name: "rule 1: too few members answer", from: well(), problem: "primary lost, and nobody may take its place", steps: "wait",
			text: "2 of the members b, c have to answer, 1 do; c does not", change: func(o *Observation) { o.lose("a", "c"); o.deafen("b") },
		},
		{
			name: "4.15: everything crashed, and it is said for whom it waits", from: well(), problem: "primary lost, and nobody may take its place", steps: "wait",
			text: "2 of the members b, c have to answer, 0 do; b, c do not", change: func(o *Observation) { o.lose("a", "b", "c") },
		},
		{
			name: "rule 4: nothing is promised", from: well(), problem: "primary lost, and nobody may take its place", steps: "wait",
			text:   "nobody is promised to hold what it acknowledged",
			change: func(o *Observation) { o.Record.MinAcks = 0; o.lose("a"); o.deafen("b", "c") },
		},
		{
			name: "rule 4: alone, and silent", from: well(), problem: "primary lost, and nobody may take its place", steps: "wait", text: "it is silent",
			change: func(o *Observation) { o.Record.Members, o.Record.MinAcks = nil, 0; o.lose("a", "b", "c") },
		},
		doubt("4.8: agent dead is not mysqld dead", "its agent is silent, though replicas hear of it", func(o *Observation) { o.lose("a") }),
		doubt("one replica hears of it", "its agent is silent, though replicas hear of it", func(o *Observation) { o.lose("a"); o.deafen("b") }),
		doubt("its writes take long", "its writes take long", func(o *Observation) { o.status("a").Serving.ProbeAgo = 1500 * time.Millisecond }),
		{
			name: "it waits for acknowledgements, and nobody could do better", from: well(), problem: "members to follow", steps: "wait",
			change: func(o *Observation) {
				o.Timing.Stall = time.Minute
				o.instance("c").Seen = now.Add(-5 * time.Second)
				o.deafen("b")
				o.status("a").Serving.Attached, o.status("a").Serving.ProbeAgo = nil, 5*time.Second
			},
		},
		{
			name: "4.5: the only replica fell silent when the writes did, and said a moment before that all was well", from: joining(),
			change: func(o *Observation) {
				o.Record.Policy = durability.Available
				b := o.instance("b")
				b.Seen, b.Asked, b.Heard = now.Add(-2500*time.Millisecond), time.Time{}, now.Add(-time.Second)
				o.status("a").Serving.ProbeAgo = 2200 * time.Millisecond
				o.Instances = o.Instances[:2]
				o.Want.Replicas = 1
			},
		},
		{
			name: "replicas are back, and have still to acknowledge what waited for them", from: well(),
			change: func(o *Observation) {
				o.status("b").Receiver.Fresh, o.status("c").Receiver.Fresh = true, true
				o.status("a").Serving.ProbeAgo = 17 * time.Second
			},
		},
		{
			name: "nothing was heard of it for a moment", from: well(), problem: "primary not heard of", steps: "wait",
			change: func(o *Observation) {
				o.instance("a").Seen, o.Since = time.Time{}, now.Add(-time.Second)
				o.status("a").Mysqld = ""
			},
		},
		{
			name: "a manager that has begun just now has heard of nobody", from: well(), problem: "primary not heard of", steps: "wait",
			change: func(o *Observation) {
				o.Since = now.Add(-time.Second)
				for i := range o.Instances {
					o.Instances[i].Status, o.Instances[i].Seen, o.Instances[i].Asked = Status{}, time.Time{}, time.Time{}
				}
			},
		},
		{
			name: "a cluster that has no primary yet", from: well(), change: func(o *Observation) {
				o.Record = durability.Record{Cluster: "m", Epoch: 7}
				o.Instances = nil
				o.Want = Want{}
			},
		},
		{
			name: "a switchover", from: well(), problem: "switchover asked for", steps: "begin", next: "a, 1 of [b c]; switchover of a, quiescing c",
			change: func(o *Observation) { o.Want.Switchover = &Switchover{"c", now.Add(time.Minute)} },
		},
		{
			name: "rule 12: a failover comes before a switchover", from: well(), problem: "primary lost", steps: "begin", next: begun,
			change: func(o *Observation) {
				o.Want.Switchover = &Switchover{"c", now.Add(time.Minute)}
				o.status("a").Mysqld = MysqldDown
			},
		},
	}
}
