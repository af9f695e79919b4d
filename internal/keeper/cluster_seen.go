package keeper

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/huker/huker/internal/durability"
	"github.com/huker/huker/internal/failover"
	"github.com/huker/huker/internal/fault"
	"github.com/huker/huker/internal/metastore"
	"github.com/huker/huker/internal/model"
)

// turn is a change of primary that is under way.
type turn struct {
	model.Turn
	noticed time.Time
	phase   string
	since   time.Time
	over    bool // the record says so; the new primary has still to open
}

// follow keeps what was decided for the row, and notices when a new primary has opened.
func (k *Keeper) follow(c *cluster, generation int64, o failover.Observation, d failover.Decision) {
	if i := o.Record.Intent; i != nil && c.turn == nil { // another nodekeeper began it
		c.turn = &turn{
			Turn:    model.Turn{ClusterID: c.id, Kind: string(i.Kind), From: i.From, To: i.To, Reason: i.Reason, Began: i.Began},
			noticed: i.Began, phase: string(i.Phase), since: k.now(),
		}
	}
	var turns []model.Turn
	if t := c.turn; t != nil && t.over && o.Record.Intent == nil {
		for i := range o.Instances {
			if in := &o.Instances[i]; in.ID == o.Record.Primary && in.Status.Open() && in.Status.Epoch >= o.Record.Epoch {
				t.next("", k.now(), "")
				t.Gap = k.now().Sub(t.noticed)
				turns = append(turns, t.Turn)
				c.turn = nil
			}
		}
	}
	seen := map[string]failover.Status{}
	for i := range o.Instances {
		if in := &o.Instances[i]; !in.Seen.IsZero() {
			seen[in.ID] = in.Status
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.shown = shown{decision: d, generation: generation, record: o.Record, seen: seen, turns: append(c.shown.turns, turns...)}
}

// next ends a phase and begins another.
func (t *turn) next(phase string, now time.Time, note string) {
	if t.phase != "" {
		t.Phases = append(t.Phases, model.Phase{Name: t.phase, Took: now.Sub(t.since), Note: note})
	}
	t.phase, t.since = phase, now
}

// mark notes a step of a change of primary.
func (k *Keeper) mark(c *cluster, o failover.Observation, s failover.Step) {
	now := k.now()
	switch s.Kind {
	case failover.StepBegin:
		i := s.Next.Intent
		if c.turn == nil || c.turn.over {
			c.turn = &turn{noticed: o.Now, Turn: model.Turn{ClusterID: c.id, Kind: string(i.Kind), From: i.From, Reason: i.Reason, Seen: describe(o), Began: i.Began}}
		}
		c.turn.Kind = string(i.Kind) // a switchover may have become a failover
		c.turn.next(string(i.Phase), now, "")
	case failover.StepChoose, failover.StepPromote, failover.StepExpect:
		if c.turn != nil {
			c.turn.To = s.Next.Intent.To
			c.turn.next(map[failover.StepKind]string{failover.StepChoose: "applying"}[s.Kind], now, s.Reason)
			if c.turn.phase == "" {
				c.turn.phase = string(durability.Opening)
			}
		}
	case failover.StepEstablish, failover.StepBack:
		if c.turn != nil {
			c.turn.next("endpoint", now, s.Reason)
			c.turn.Epoch, c.turn.over = s.Next.Epoch, true
			if s.Kind == failover.StepBack {
				c.turn.Kind, c.turn.To = "back", s.Next.Primary
			}
		}
	default: // no change of primary
	}
}

// describe puts what is known of each member into words.
func describe(o failover.Observation) []string {
	var words []string
	for i := range o.Instances {
		in := &o.Instances[i]
		s := in.Status
		w := []string{in.ID + ":"}
		switch {
		case in.Seen.IsZero():
			w = append(w, "never heard of")
		case in.Lost:
			w = append(w, "agent gone")
		default:
			heard := in.Seen
			if in.Heard.After(heard) {
				heard = in.Heard
			}
			w = append(w, fmt.Sprintf("heard of %d ms ago,", o.Now.Sub(heard).Milliseconds()), "mysqld "+string(s.Mysqld)+",", fmt.Sprintf("epoch %d", s.Epoch))
		}
		if in.ID != o.Record.Primary && !in.Seen.IsZero() {
			w = append(w, fmt.Sprintf("receiver %s, heard of its source %d ms ago", s.Receiver.State, s.Receiver.HeardAgo.Milliseconds()))
		}
		if s.Room.Low {
			w = append(w, "disk nearly full")
		}
		if in.Host.Down {
			w = append(w, "container down")
		}
		if !in.Host.Alive {
			w = append(w, "host silent")
		}
		words = append(words, strings.Join(w, " "))
	}
	return words
}

// workSettle writes down what is seen of clusters. It has a queue of its own, because no failover waits for metadata.
func (k *Keeper) workSettle(ctx context.Context) error {
	for {
		id, ok := k.settleQueue.take(ctx)
		if !ok {
			return nil
		}
		err := k.settleCluster(ctx, id)
		if over(err) {
			k.settleQueue.done(id)
			return err
		}
		if err != nil && ctx.Err() == nil {
			after := k.settleQueue.failed(id)
			k.log.Warn("writing down a cluster; trying again", "op", "cluster.settle", "cluster", id, "after", after, "error", err)
			continue
		}
		k.settleQueue.done(id)
	}
}

func (k *Keeper) settleCluster(ctx context.Context, id string) error {
	c := k.clusters.get(id)
	row, members, _ := c.rows()
	c.mu.Lock()
	s := c.shown
	c.mu.Unlock()
	if row.ID == "" {
		return nil
	}
	want := k.settled(row, members, s)
	roles := roleChanges(s.record, members)
	if len(s.turns) == 0 && len(roles) == 0 && sameSeen(row, want) {
		return nil
	}
	err := k.update(ctx, func(tx metastore.Tx) error {
		now, err := tx.Clusters().Get(ctx, id)
		if errors.Is(err, metastore.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		was := now.Status
		next := k.settled(now, members, s)
		next.Updated = k.now().UTC()
		if err := tx.Clusters().Update(ctx, &next); err != nil {
			return err
		}
		event := func(kind, text string) error {
			return tx.Events().Append(ctx, &model.Event{ProjectID: now.ProjectID, InstanceID: id, Time: next.Updated, Kind: kind, Message: text})
		}
		if was != next.Status && next.Status == model.StatusActive {
			if err := event("cluster.active", "the cluster is whole; it takes writes at "+next.ReadWrite+":3306"); err != nil {
				return err
			}
		}
		for i := range s.turns {
			t := &s.turns[i]
			if err := tx.Clusters().AppendTurn(ctx, t); err != nil {
				return err
			}
			if err := event("cluster."+t.Kind, tell(t)); err != nil {
				return err
			}
		}
		for instance, role := range roles {
			i, err := tx.Instances().Get(ctx, instance)
			if errors.Is(err, metastore.ErrNotFound) {
				continue
			}
			if err != nil {
				return err
			}
			i.Role, i.Updated = role, next.Updated
			if err := tx.Instances().Update(ctx, &i); err != nil {
				return err
			}
		}
		return nil
	})
	c.outdated()
	if err != nil {
		return err
	}
	k.log.Debug("a cluster is written down", "op", "cluster.settle", "cluster", id, "status", want.Status, "condition", want.Condition, "epoch", want.Epoch,
		"alarms", len(want.Alarms), "turns", len(s.turns), "roles", len(roles))
	c.mu.Lock()
	c.shown.turns = c.shown.turns[min(len(s.turns), len(c.shown.turns)):]
	c.mu.Unlock()
	fault.Pass(ctx, PointClusterSeen)
	return nil
}

// tell puts a change of primary into a sentence.
func tell(t *model.Turn) string {
	var phases []string
	for _, p := range t.Phases {
		phases = append(phases, fmt.Sprintf("%s %d ms", p.Name, p.Took.Milliseconds()))
	}
	return fmt.Sprintf("epoch %d: from %s to %s in %d ms (%s): %s", t.Epoch, t.From, t.To, t.Gap.Milliseconds(), strings.Join(phases, ", "), t.Reason)
}

// roleChanges are the members whose rows have another role than the record.
func roleChanges(r durability.Record, members []model.Instance) map[string]model.MemberRole {
	changes := map[string]model.MemberRole{}
	if r.Cluster == "" || r.Intent != nil {
		return changes
	}
	for i := range members {
		role := model.RoleReplica
		if members[i].ID == r.Primary {
			role = model.RolePrimary
		}
		if members[i].Role != role {
			changes[members[i].ID] = role
		}
	}
	return changes
}

// settled is the row as it should be by what is seen.
func (k *Keeper) settled(row model.Cluster, members []model.Instance, s shown) model.Cluster {
	if s.fault != "" {
		row.Condition = s.fault
		row.Status, row.Fault = model.StatusError, &model.Fault{Message: s.fault, Created: k.now().UTC()}
		return row
	}
	if s.record.Cluster == "" {
		return row
	}
	row.Epoch, row.PrimaryID = s.record.Epoch, s.record.Primary
	switch {
	case s.decision.Looks(): // whether what was the matter before still is will be known in a moment
	case s.decision.Problem == "":
		row.Condition = ""
	default:
		row.Condition = s.decision.Problem
		if len(s.decision.Steps) > 0 && s.decision.Steps[0].Reason != "" {
			row.Condition += ": " + s.decision.Steps[0].Reason
		}
	}
	row.Alarms = k.alarms(row.Alarms, s.decision.Alarms)
	whole := row.Condition == "" && !slices.ContainsFunc(members, func(m model.Instance) bool {
		return m.Status != model.StatusActive && m.Desired != model.DesiredDeleted
	})
	primary := s.seen[s.record.Primary]
	switch {
	case row.Status == model.StatusActive && row.ObservedGeneration == row.Generation:
	case row.Generation != s.generation: // asked for since
	case whole && primary.Open() && !slices.ContainsFunc(members, func(m model.Instance) bool { return m.Desired == model.DesiredDeleted }):
		row.Status, row.Fault, row.ObservedGeneration = model.StatusActive, nil, row.Generation
	}
	row.Switchover = k.switchoverSeen(row.Switchover, s)
	if row.Switchover != nil && row.Switchover.Finished {
		row.ObservedSwitchover = row.Switchover.Serial
	}
	return row
}

// alarms keeps since when each is up.
func (k *Keeper) alarms(had []model.Alarm, now []failover.Alarm) []model.Alarm {
	var all []model.Alarm
	for _, a := range now {
		since := k.now().UTC().Truncate(time.Millisecond)
		if i := slices.IndexFunc(had, func(h model.Alarm) bool { return h.Name == a.Name }); i >= 0 {
			since = had[i].Since
		}
		all = append(all, model.Alarm{Name: a.Name, Text: a.Text, Since: since})
	}
	return all
}

// switchoverSeen says what came of a change of primary that was asked for.
func (k *Keeper) switchoverSeen(s *model.Switchover, now shown) *model.Switchover {
	if s == nil || s.Finished || now.record.Intent != nil {
		return s
	}
	next := *s
	switch {
	case now.record.Primary != s.From:
		next.Finished = true
		if s.To != "" && now.record.Primary != s.To {
			next.Fault = now.record.Primary + " has become the primary meanwhile"
		}
	case k.now().After(s.Asked.Add(s.Timeout)):
		next.Finished, next.Fault = true, "it did not come about in time"
		if i := slices.IndexFunc(now.decision.Alarms, func(a failover.Alarm) bool { return a.Name == "switchover-refused" }); i >= 0 {
			next.Fault += ": " + now.decision.Alarms[i].Text
		}
	}
	return &next
}

// sameSeen says whether a row says what it should. The numbers in an alarm change with every look, and are not worth a write.
func sameSeen(a, b model.Cluster) bool {
	said := func(as []model.Alarm) []string {
		var all []string
		for _, a := range as {
			all = append(all, a.Name+": "+strings.Map(func(r rune) rune {
				if unicode.IsDigit(r) {
					return -1
				}
				return r
			}, a.Text))
		}
		return all
	}
	return a.Epoch == b.Epoch && a.PrimaryID == b.PrimaryID && a.Status == b.Status && a.ObservedGeneration == b.ObservedGeneration &&
		problem(a.Condition) == problem(b.Condition) && slices.Equal(said(a.Alarms), said(b.Alarms)) && reflect.DeepEqual(a.Switchover, b.Switchover) &&
		(a.Fault == nil) == (b.Fault == nil)
}

func problem(condition string) string {
	name, _, _ := strings.Cut(condition, ":")
	return name
}
