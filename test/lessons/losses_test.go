package lessons

import (
	"context"
	"strings"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/huker/huker/test/chaos/check"
	"github.com/huker/huker/test/chaos/fault"
)

// soon is how long a failover may take at most, with room for a machine that is busy.
const soon = 45 * time.Second

// losses are how acknowledged writes were lost elsewhere.
var losses = []lesson{
	{"3.1+3.5+3.11_acknowledgers_restart_with_what_they_have_not_applied_and_the_primary_dies", slow, acknowledgersRestart},
	{"3.2_a_replica_is_pointed_elsewhere_with_what_it_has_not_applied_and_the_new_primary_dies", slow, pointedElsewhere},
	{"3.3+3.12+4.2+4.11_only_replication_is_cut_sessions_wait_and_some_are_killed", slow, onlyReplicationIsCut},
	{"3.4_a_receiver_that_connects_is_not_stopped", slow, connectingIsNotStopped},
	{"3.6+4.7_a_partitioned_old_primary_comes_back_open_and_agents_restart_from_their_volumes", slow, oldPrimaryComesBack},
	{"3.7_an_agent_wakes_up_to_orders_of_changes_that_are_over", quick, lateOrders},
	{"3.9_an_errant_replica_is_replaced", slow, errantReplica},
}

// acknowledgersRestart: an acknowledgement means "in the relay log". Both replicas hold hundreds of transactions there that they have not applied, and all three
// mysqlds are killed at once. Then the same again with replicas that have applied all, and whose list of what they received begins anew.
func acknowledgersRestart(s *scenario) {
	primary, replicas := s.roles()
	for _, m := range replicas {
		s.sql(m, "STOP REPLICA SQL_THREAD")
	}
	s.behind(200, replicas...)
	for range 2 {
		for _, m := range replicas {
			s.do(fault.KillProgram(m.Container, mysqld))
		}
		s.do(dead(primary)...)
		next := s.ledBy(soon, replicas...)
		s.writesGoOn(soon)
		s.heal()
		s.well()
		primary, replicas = s.roles()
		require.Equal(s, next, primary)
	}
}

// pointedElsewhere: CHANGE REPLICATION SOURCE deletes relay logs whose content was not applied. What a replica had of the first primary is all that is left when
// the second one dies, too.
func pointedElsewhere(s *scenario) {
	first, replicas := s.roles()
	late := replicas[1]
	s.sql(late, "STOP REPLICA SQL_THREAD")
	s.behind(200, late)
	has, _ := s.held(late)
	s.do(dead(first)...)
	second := s.ledBy(soon, replicas[0])
	s.writesGoOn(soon)
	now, left := s.held(late)
	require.True(s, now.Contains(has), "it had %s, and has %s", has, now)
	s.note("%s has %d transactions left to apply", late.name, left)
	s.do(dead(second)...)
	s.heal(dead(first)...) // somebody has to acknowledge
	s.ledBy(soon, late)
	s.writesGoOn(soon)
}

// onlyReplicationIsCut: clients and coordination reach the primary, replicas do not. Its commits wait, and KILL does not end them: it has them committed there, and
// nowhere else. Another one becomes the primary though they wait; none of them is answered OK when the first one is made a replica; and what it has of its
// own is replaced.
func onlyReplicationIsCut(s *scenario) {
	old, replicas := s.roles()
	was := s.server(old)
	cut := old.cutFrom(false, replicas...)
	before := old.executed(s)
	s.do(cut)
	began := s.clock.Now()
	s.until("what killed sessions had waited with is committed here alone", 5*time.Second, func() error {
		rows, err := old.sql(s.Context(), killed(acknowledging)+"SELECT @@GLOBAL.gtid_executed")
		if err != nil {
			return err
		}
		return atLeast(1, int(gtids(s.T, strings.ReplaceAll(strings.Join(rows, ""), `\n`, "")).Subtract(before).Count()))
	})
	s.ledBy(soon, replicas...)
	s.writesGoOn(soon)
	s.note("another one is the primary %.2f s after the cut", (s.clock.Now() - began).Seconds())
	s.until("the old one has ended its role, though sessions waited", 15*time.Second, func() error {
		if m, ok := s.live()[old.id]; !ok || m.Open || m.Serving != nil && m.Serving.Waiting > 0 {
			return errNotYet
		}
		return nil
	})
	require.Contains(s, old.log(s.Context()), "part.restart", "sessions that wait are not answered: mysqld is killed")
	s.heal(cut)
	s.well()
	require.NotEqual(s, was, s.server(old), "what a killed session committed was not replaced")
}

// connectingIsNotStopped: one replica has all that was acknowledged of late, and its agent hangs; the other one lacks it, and answers. The primary is gone, so both
// receivers try to connect. That of the first is not known to be stopped: nobody is promoted until it is, and then it is that one.
func connectingIsNotStopped(s *scenario) {
	old, replicas := s.roles()
	full, poor := replicas[0], replicas[1]
	apart, hangs := old.cutFrom(false, poor), fault.StopProgram(full.Container, agent)
	s.do(apart)
	since := s.clock.Now() + 300*time.Millisecond
	s.until("rows are acknowledged by one replica alone", 10*time.Second, func() error { return atLeast(200, s.acked(since)) })
	s.do(hangs)
	gone := fault.CutContainer(old.Container)
	s.do(gone)
	s.silent(4 * time.Second)
	var state string
	require.NoError(s, s.query(full, []any{&state}, "SELECT IF(@@GLOBAL.rpl_semi_sync_replica_enabled, 'acknowledges', 'does not')"))
	require.Equal(s, "acknowledges", state, "its receiver was stopped, and not only cut off")
	require.Equal(s, old.id, s.now().Primary, "somebody was promoted")
	s.heal(hangs)
	s.ledBy(soon, full)
	s.writesGoOn(soon)
}

// oldPrimaryComesBack: the primary's agent hangs and it is cut off; another one takes its place, while the agents of others die and come back with what is on
// their volumes. Then the old one is there again, open, as nobody has told it; whoever writes to it gets no acknowledgement.
func oldPrimaryComesBack(s *scenario) {
	old, replicas := s.roles()
	hangs, cut := fault.StopProgram(old.Container, agent), fault.CutContainer(old.Container)
	s.do(hangs, cut, fault.KillProgram(replicas[0].Container, agent))
	s.ledBy(soon, replicas...)
	s.writesGoOn(soon)
	for _, m := range replicas {
		s.do(fault.KillProgram(m.Container, agent))
	}
	s.heal(cut)
	var shut bool
	s.until("the old primary is there again", 10*time.Second, func() error {
		return s.query(old, []any{&shut}, "SELECT @@GLOBAL.super_read_only OR @@GLOBAL.offline_mode")
	})
	require.False(s, shut, "it has been shut already: this proves nothing")
	w := s.send(old.address, "INSERT INTO chaos_set (number) VALUES (-1)") // which the judge would find
	s.pause(3 * time.Second)
	require.False(s, w.over(), "the old primary has answered: %v %v", w.outcome, w.err)
	s.writesGoOn(5 * time.Second)
	s.heal(hangs)
	<-w.done
	require.NotEqual(s, check.OK, w.outcome)
}

// lateOrders: an agent hangs while the primary changes and changes back, and wakes up to what it was told then.
func lateOrders(s *scenario) {
	first, replicas := s.roles()
	second, sleeper := replicas[0], replicas[1]
	hangs := fault.StopProgram(sleeper.Container, agent)
	s.do(hangs)
	epoch := s.live()[first.id].Epoch
	for _, to := range []*member{second, first} {
		_, err := s.plane.API.Switchover(s.Context(), s.id, to.id, 20*time.Second)
		require.NoError(s, err)
		s.ledBy(soon, to)
		s.writesGoOn(10 * time.Second)
	}
	s.heal(hangs)
	s.well()
	require.Equal(s, first.id, s.now().Primary)
	is := s.live()[sleeper.id]
	require.Greater(s, is.Epoch, epoch+2)
	require.NotNil(s, is.Receiver)
	require.Equal(s, first.id, is.Receiver.Source)
}

// errantReplica: a replica has a transaction of its own. It is not left to acknowledge, nor to become the primary: its data is replaced.
func errantReplica(s *scenario) {
	_, replicas := s.roles()
	errant := replicas[1]
	was := s.server(errant)
	s.do(ownTransaction(errant))
	s.replaced(errant, was)
	s.well()
	for _, m := range s.members {
		require.Equal(s, []string{"0"}, s.sql(m, "SELECT COUNT(*) FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = 'errant'"), m.name)
	}
}

func ownTransaction(m *member) fault.Fault {
	return fault.Step{What: m.name + " gets a transaction of its own", Strike: func(ctx context.Context) error {
		_, err := m.sql(ctx, "SET GLOBAL super_read_only = OFF; CREATE DATABASE errant; SET GLOBAL super_read_only = ON")
		return err
	}}
}

// replaced waits until a member's data is another server's than it was.
func (s *scenario) replaced(m *member, was string) {
	s.Helper()
	s.until("its data is replaced", healthLimit, func() error {
		if is, ok := s.live()[m.id]; !ok || is.Server == was || is.Server == "" || is.Rebuild {
			return errNotYet
		}
		return nil
	})
}
