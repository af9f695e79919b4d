package model

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/huker/huker/internal/durability"
	"github.com/huker/huker/internal/failover"
	"github.com/huker/huker/internal/gtid"
)

// mutant is a rule broken on purpose. The search has to find out.
type mutant struct {
	name   string
	rule   string // of the contract: a number, or "3.N" for row N of its table of losses
	cfg    Config
	rules  Rules
	breaks Invariant // what is found
	slow   bool
}

var (
	pair   = Config{Members: 2, Acks: 1, Policy: durability.Strict, Stale: 1, Trx: 1, Epochs: 5, Crashes: 1, Check: Everything &^ Held}
	triple = Config{Members: 3, Acks: 1, Policy: durability.Strict, Trx: 1, Epochs: 4, Crashes: 1, Check: Everything &^ Held}
)

func with(c Config, change func(*Config)) Config {
	change(&c)
	return c
}

// each changes what the manager sees of instances.
func each(change func(o *failover.Observation, in *failover.Instance)) func(*failover.Observation) {
	return func(o *failover.Observation) {
		for i := range o.Instances {
			change(o, &o.Instances[i])
		}
	}
}

func stopping(o *failover.Observation) bool {
	return o.Record.Intent != nil && o.Record.Intent.Phase == durability.Stopping
}

// swapped replaces the record that a decision writes.
func swapped(next func(was, is durability.Record) (durability.Record, bool)) func(failover.Observation, failover.Decision) failover.Decision {
	return func(o failover.Observation, d failover.Decision) failover.Decision {
		if s := d.Swap(); s != nil {
			if r, ok := next(o.Record, *s.Next); ok {
				s.Next = &r
			}
		}
		return d
	}
}

// never takes steps out of what is decided.
func never(is func(was durability.Record, s failover.Step) bool) func(failover.Observation, failover.Decision) failover.Decision {
	return func(o failover.Observation, d failover.Decision) failover.Decision {
		d.Steps = slices.DeleteFunc(slices.Clone(d.Steps), func(s failover.Step) bool { return is(o.Record, s) })
		return d
	}
}

func mutants() []mutant {
	return []mutant{
		{
			name: "R + W > N off by one", rule: "1", cfg: triple, breaks: Kept,
			rules: Rules{Observe: func(o *failover.Observation) {
				for i := range o.Instances {
					in := &o.Instances[i]
					if stopping(o) && slices.Contains(o.Record.Members, in.ID) && (in.Seen.IsZero() || in.Status.Receiver.State != failover.ReceiverStopped) {
						in.Seen, in.Lost = o.Now, true
						in.Status = failover.Status{
							Epoch: o.Record.Epoch, Server: o.Record.Servers[in.ID], Mysqld: failover.MysqldUp, Receiver: failover.Receiver{State: failover.ReceiverStopped},
						}
						return // one too many
					}
				}
			}},
		},
		{
			name: "connecting counts as stopped", rule: "3.4", cfg: with(triple, func(c *Config) { c.Crashes, c.Cuts = 0, 1 }), breaks: Kept,
			rules: Rules{Observe: each(func(o *failover.Observation, in *failover.Instance) {
				if stopping(o) && in.Status.Receiver.State == failover.ReceiverConnecting {
					in.Status.Receiver.State = failover.ReceiverStopped
				}
			})},
		},
		{
			name: "running counts as stopped", rule: "1", cfg: with(triple, func(c *Config) { c.Crashes = 0 }), breaks: Kept,
			rules: Rules{Observe: each(func(o *failover.Observation, in *failover.Instance) {
				if stopping(o) {
					in.Status.Receiver.State = failover.ReceiverStopped
				}
			})},
		},
		{
			name: "stopped for an older epoch counts", rule: "1", cfg: with(triple, func(c *Config) { c.Crashes, c.Epochs = 0, 5 }), breaks: Kept,
			rules: Rules{Observe: each(func(o *failover.Observation, in *failover.Instance) { in.Status.Epoch = o.Record.Epoch })},
		},
		{
			name: "candidate by Retrieved alone", rule: "3.11", cfg: triple, breaks: Kept,
			rules: Rules{Observe: each(func(o *failover.Observation, in *failover.Instance) {
				if stopping(o) { // of what was applied, relay logs may be gone
					in.Status.Retrieved, in.Status.Executed = in.Status.Retrieved.Subtract(in.Status.Executed), gtid.Set{}
				}
			})},
		},
		{
			name: "candidate without Retrieved", rule: "1", cfg: triple, breaks: Kept,
			rules: Rules{Observe: each(func(o *failover.Observation, in *failover.Instance) {
				if stopping(o) {
					in.Status.Retrieved = gtid.Set{}
				}
			})},
		},
		{
			name: "opened before everything received was applied", slow: true, rule: "3.5", cfg: with(pair, func(c *Config) { c.Policy = durability.Available }),
			breaks: Kept,
			rules: Rules{
				Observe: each(func(o *failover.Observation, in *failover.Instance) {
					if stopping(o) {
						in.Status.Executed = in.Status.Has()
					}
				}),
				Conduct: func(id string, r durability.Record, s failover.Status, _ failover.Act) failover.Act {
					s.Retrieved = gtid.Set{}
					return failover.Conduct(id, r, s)
				},
			},
		},
		{
			name: "enabled before it is published", rule: "2", cfg: with(triple, func(c *Config) { c.Published, c.Acks, c.Crashes = 1, 2, 0 }), breaks: Terms,
			rules: Rules{Conduct: func(id string, r durability.Record, s failover.Status, a failover.Act) failover.Act {
				if a.Kind == failover.ActStart {
					a.Acknowledge = true
				}
				if slices.Contains(r.Learners, id) && a.Kind == failover.ActStop && s.Receiver.Source == r.Primary {
					a.Kind = failover.ActNone
				}
				return a
			}},
		},
		{
			name: "unpublished before it is disabled", rule: "2", cfg: with(triple, func(c *Config) { c.Crashes, c.Doubts = 0, 1 }), breaks: Terms,
			rules: Rules{Decide: swapped(func(was, is durability.Record) (durability.Record, bool) {
				if len(is.Leaving) == 0 {
					return is, false
				}
				return was.Unpublish(is.Leaving[0]), true
			})},
		},
		{
			name: "unpublished while only it holds something", slow: true, rule: "2", cfg: with(triple, func(c *Config) { c.Crashes, c.Doubts, c.Epochs = 1, 1, 6 }),
			breaks: Kept,
			rules: Rules{Observe: each(func(o *failover.Observation, in *failover.Instance) {
				in.Status.Serving.Seal.Epoch = in.Status.Serving.Enforced
			})},
		},
		{
			name: "more is published before it is in effect", rule: "2", cfg: with(triple, func(c *Config) { c.Published, c.Acks, c.Crashes, c.Epochs = 1, 2, 0, 5 }),
			breaks: Terms,
			rules: Rules{Decide: swapped(func(was, is durability.Record) (durability.Record, bool) {
				return was.Promise(is.SetAcks), is.SetAcks > is.MinAcks && is.Intent == nil
			})},
		},
		{
			name: "more is published before it is held", slow: true, rule: "2", cfg: with(triple, func(c *Config) { c.Promised, c.Acks, c.Epochs = 1, 2, 5 }),
			breaks: Kept,
			rules: Rules{Observe: each(func(o *failover.Observation, in *failover.Instance) {
				in.Status.Serving.Seal.Epoch = in.Status.Serving.Enforced
			})},
		},
		{
			name: "fewer are waited for than are published", rule: "2", cfg: with(triple, func(c *Config) { c.Acks = 2 }), breaks: Terms,
			rules: Rules{Conduct: func(id string, r durability.Record, s failover.Status, _ failover.Act) failover.Act {
				r.SetAcks = min(r.SetAcks, 1)
				return failover.Conduct(id, r, s)
			}},
		},
		{
			name: "membership is not enforced at the primary", rule: "3", cfg: with(triple, func(c *Config) { c.Crashes, c.Doubts, c.Epochs = 0, 1, 5 }), breaks: Terms,
			rules: Rules{NoAdmission: true},
		},
		{
			name: "failover though nothing is promised", slow: true, rule: "4", cfg: with(pair, func(c *Config) {
				c.Policy, c.Epochs, c.Crashes, c.Doubts,
					c.Cuts = durability.Available, 4, 0, 1, 1
			}), breaks: Kept,
			rules: Rules{Observe: func(o *failover.Observation) {
				p := &o.Instances[0]
				if r := &o.Record; len(r.Members) > 0 && (r.Intent != nil || p.Lost || p.Seen.IsZero()) {
					r.MinAcks, r.SetAcks = max(1, r.MinAcks), max(1, r.SetAcks)
				}
			}},
		},
		{name: "an older epoch is obeyed", rule: "3.7", breaks: Kept, cfg: with(triple, func(c *Config) { c.Crashes = 0 }), rules: Rules{ObeyOld: true}},
		{name: "an agent forgets the epoch", slow: true, rule: "3.6", breaks: Kept, cfg: with(triple, func(c *Config) { c.Epochs = 3 }),
			rules: Rules{ForgetEpoch: true}},
		{name: "the record is written without comparing", slow: true, rule: "3.8", breaks: Single, cfg: with(pair, func(c *Config) {
			c.Policy,
				c.Crashes = durability.Available, 0
		}), rules: Rules{BlindWrite: true}},
		{
			name: "opened before the record is set", rule: "5", cfg: pair, breaks: Kept,
			rules: Rules{Conduct: func(id string, r durability.Record, s failover.Status, a failover.Act) failover.Act {
				if i := r.Intent; i != nil && i.Phase == durability.Stopping && i.From != id {
					r.Intent, r.Primary, r.Members, r.MinAcks, r.SetAcks = nil, id, nil, 0, 0
					return failover.Conduct(id, r, s)
				}
				return a
			}},
		},
		{
			name: "opened before its members hold what it has", slow: true, rule: "8", breaks: Kept, cfg: with(pair,
				func(c *Config) { c.Policy = durability.Available }),
			rules: Rules{Conduct: func(id string, r durability.Record, s failover.Status, a failover.Act) failover.Act {
				if i := r.Intent; i != nil && i.Phase == durability.Opening && i.To == id {
					r.Members, r.MinAcks, r.SetAcks, r.Intent = i.Members, i.MinAcks, i.SetAcks, nil
					return failover.Conduct(id, r, s)
				}
				return a
			}},
		},
		{name: "sealed without acknowledgements", slow: true, rule: "8", cfg: triple, breaks: Kept, rules: Rules{SealUnacked: true}},
		{
			name: "what was sealed stays sealed", slow: true, rule: "2", cfg: with(triple, func(c *Config) { c.Crashes, c.Doubts, c.Epochs = 1, 1, 6 }), breaks: Kept,
			rules: Rules{Conduct: func(_ string, _ durability.Record, _ failover.Status, a failover.Act) failover.Act {
				if a.Kind == failover.ActDropSeal {
					a.Kind = failover.ActKeepSeal
				}
				return a
			}},
		},
		{
			name: "semi-sync is off before writes are", rule: "3.3", cfg: with(pair, func(c *Config) { c.Crashes = 0 }), breaks: Kept,
			rules: Rules{Conduct: func(id string, r durability.Record, s failover.Status, a failover.Act) failover.Act {
				d := failover.Assign(id, s.Server, r)
				if d.Role != failover.RolePrimary && d.Role != failover.RoleQuiesced && s.Serving.SemiSync {
					return failover.Act{Kind: failover.ActAsynchronous}
				}
				return a
			}},
		},
		{name: "relay logs are thrown away at a restart", slow: true, rule: "3.1", cfg: with(triple, func(c *Config) { c.Crashes = 2 }), breaks: Kept,
			rules: Rules{RelayLost: true}},
		{name: "an agent points the receiver again when it starts it", slow: true, rule: "3.2", cfg: with(triple, func(c *Config) { c.Crashes = 2 }),
			breaks: Kept, rules: Rules{StartPurges: true}},
		{name: "commits go on after a while", rule: "3.10", breaks: Kept, cfg: with(pair, func(c *Config) { c.Crashes = 0 }), rules: Rules{AckTimeout: true}},
		{
			name: "another history is published", slow: true, rule: "3.9", cfg: with(pair, func(c *Config) { c.Epochs = 8 }), breaks: Lineage,
			rules: Rules{Observe: func(o *failover.Observation) {
				p := slices.IndexFunc(o.Instances, func(in failover.Instance) bool { return in.ID == o.Record.Primary })
				each(func(o *failover.Observation, in *failover.Instance) {
					if o.Record.Intent == nil {
						in.Status.Executed = in.Status.Executed.Intersect(o.Instances[p].Status.Executed)
					}
				})(o)
			}},
		},
		{
			name: "a killed session's transaction is published", slow: true, rule: "3.12", cfg: with(pair, func(c *Config) {
				c.Epochs, c.Crashes, c.Kills = 8, 0,
					1
			}), breaks: Lineage,
			rules: Rules{Observe: func(o *failover.Observation) {
				p := slices.IndexFunc(o.Instances, func(in failover.Instance) bool { return in.ID == o.Record.Primary })
				each(func(o *failover.Observation, in *failover.Instance) {
					if o.Record.Intent == nil {
						in.Status.Executed = in.Status.Executed.Intersect(o.Instances[p].Status.Executed)
					}
				})(o)
			}},
		},
		{
			name: "what waits is not looked at when histories are compared", rule: "3.9", cfg: with(pair, func(c *Config) { c.Crashes, c.Epochs = 0, 8 }),
			breaks: Lineage,
			rules: Rules{Observe: each(func(o *failover.Observation, in *failover.Instance) {
				if o.Record.Intent == nil && in.ID != o.Record.Primary {
					in.Status.Owned, in.Status.Writes = gtid.Set{}, failover.WritesOff
				}
			})},
		},
		{
			name: "super_read_only reads ON while it waits", rule: "1", cfg: with(triple, func(c *Config) { c.Switchover, c.Crashes = true, 0 }), breaks: Kept,
			rules: Rules{Observe: each(func(o *failover.Observation, in *failover.Instance) {
				if o.Record.Intent != nil && in.Status.Offline {
					in.Status.Writes, in.Status.Serving.Waiting, in.Status.Owned = failover.WritesOff, 0, gtid.Set{}
				}
			})},
		},
		{
			name: "handed over to one that lags", slow: true, rule: "1", cfg: with(triple, func(c *Config) { c.Switchover, c.Crashes = true, 0 }), breaks: Kept,
			rules: Rules{Observe: func(o *failover.Observation) {
				if i := o.Record.Intent; i != nil && i.Phase == durability.Quiescing {
					for k := range o.Instances {
						if in := &o.Instances[k]; in.ID == i.To {
							in.Status.Executed = in.Status.Executed.Union(o.Instances[0].Status.Executed)
						}
					}
				}
			}},
		},
		{
			name: "a replica whose machine lost power counts under policy fast", slow: true, rule: "9", breaks: Kept,
			cfg:   with(triple, func(c *Config) { c.Policy, c.Power, c.Doubts = durability.Fast, true, 1 }),
			rules: Rules{Nameless: true},
		},
		{
			name: "a rebuild is done whenever its order arrives", rule: "3.7", breaks: Held,
			cfg: with(triple, func(c *Config) {
				c.Published, c.Ahead, c.Trx, c.Epochs, c.Crashes, c.Wipes, c.Spare = 1, true, 2, 3, 0, 1, true
			}),
			rules: Rules{RebuildStale: true},
		},
		{
			name: "a primary that restarts opens at once", slow: true, rule: "8", breaks: Kept, cfg: with(pair, func(c *Config) { c.Crashes = 2 }),
			rules: Rules{Conduct: func(id string, r durability.Record, s failover.Status, _ failover.Act) failover.Act {
				s.Serving.Proven = true
				return failover.Conduct(id, r, s)
			}},
		},
		{
			name: "semi-sync is not on again after a restart", rule: "8", breaks: Terms, cfg: pair,
			rules: Rules{Conduct: func(id string, r durability.Record, s failover.Status, a failover.Act) failover.Act {
				if a.Kind == failover.ActAcks && !s.Serving.SemiSync {
					s.Serving.SemiSync, s.Serving.Acks = true, a.Acks
					return failover.Conduct(id, r, s)
				}
				return a
			}},
		},
		{
			name: "replicas that are away count as acknowledgers of a successor", rule: "4.4", breaks: Progress, cfg: with(triple, func(c *Config) {
				c.Crashes,
					c.Settle = 0, 10
			}),
			rules: Rules{Decide: never(func(_ durability.Record, s failover.Step) bool { return s.Kind == failover.StepExpect })},
		},
		{
			name: "the only replica dies and nothing acts", rule: "4.5", breaks: Progress, cfg: with(pair, func(c *Config) {
				c.Policy,
					c.Settle = durability.Available, 10
			}),
			rules: Rules{Decide: never(func(was durability.Record, s failover.Step) bool {
				return s.Kind == failover.StepMember && s.Next.MinAcks < was.MinAcks
			})},
		},
		{
			name: "a demotion waits for sessions that wait", rule: "4.2", breaks: Progress, cfg: with(triple, func(c *Config) {
				c.Acks, c.Crashes, c.Settle = 2, 0,
					10
			}),
			rules: Rules{Conduct: func(_ string, _ durability.Record, _ failover.Status, a failover.Act) failover.Act {
				if a.Kind == failover.ActRestart {
					a.Kind = failover.ActWait
				}
				return a
			}},
		},
		{
			name: "a switchover has no way back", rule: "4.13", breaks: Progress, cfg: with(triple, func(c *Config) { c.Switchover, c.Crashes, c.Settle = true, 0, 10 }),
			rules: Rules{Decide: never(func(_ durability.Record, s failover.Step) bool { return s.Kind == failover.StepBack })},
		},
		{
			name: "a member without room counts as an acknowledger", rule: "4.16", breaks: Progress, cfg: with(triple, func(c *Config) {
				c.Acks, c.Crashes, c.Fills, c.Settle = 2, 0, 1, 10
			}),
			rules: Rules{Observe: each(func(_ *failover.Observation, in *failover.Instance) { in.Status.Room.Low = false })},
		},
		{
			name: "a full primary hands over to whom only it would acknowledge", rule: "4.16", breaks: Progress, cfg: with(pair, func(c *Config) {
				c.Crashes, c.Stale, c.Switchover, c.Fills, c.Settle = 0, 0, true, 1, 10
			}),
			rules: Rules{Observe: func(o *failover.Observation) {
				if o.Record.Intent == nil {
					o.Instances[0].Status.Room.Low = false
				}
			}},
		},
		{
			name: "a guarded primary stays so", rule: "4.16", breaks: Progress, cfg: with(pair, func(c *Config) { c.Crashes, c.Fills, c.Settle = 0, 1, 10 }),
			rules: Rules{Conduct: func(_ string, _ durability.Record, s failover.Status, a failover.Act) failover.Act {
				if a.Kind == failover.ActWritable && s.Guarded {
					a.Kind = failover.ActNone
				}
				return a
			}},
		},
		{
			name: "a server that lost its data counts under its name", slow: true, rule: "1", cfg: with(triple, func(c *Config) { c.Crashes, c.Wipes = 1, 1 }),
			breaks: Kept,
			rules:  Rules{Nameless: true},
		},
	}
}

// quickly is how many states a mutant may take to be found in a short test.
const quickly = 15_000

// TestMutants: whatever rule is broken, the search finds a shortest way to lose by it, and can tell it.
func TestMutants(t *testing.T) {
	for _, m := range mutants() {
		t.Run(strings.ReplaceAll(m.rule+" "+m.name, " ", "_"), func(t *testing.T) {
			if m.slow && short() {
				t.Skip("takes a while")
			}
			t.Parallel()
			m.cfg.Rules, m.cfg.MaxStates, m.cfg.Check = m.rules, 1_000_000, m.breaks
			start := time.Now()
			r, err := Explore(m.cfg)
			var found *Counterexample
			if !errors.As(err, &found) {
				t.Fatalf("rule %s: %s: not found in %s (%v)", m.rule, m.name, r, err)
			}
			if v := (*violation)(nil); !errors.As(err, &v) || v.of != m.breaks || len(found.Trace) == 0 {
				t.Errorf("found %v", found)
			}
			if r.States > quickly && !m.slow {
				t.Errorf("it is slow: it took %d states", r.States)
			}
			t.Logf("rule %s: %s: found in %d states, %s\n%v", m.rule, m.name, r.States, time.Since(start).Round(time.Millisecond), found)
		})
	}
}
