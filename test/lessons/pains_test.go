package lessons

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/huker/huker/internal/client"
	"github.com/huker/huker/test/chaos/check"
	"github.com/huker/huker/test/chaos/fault"
)

// pains are what users of such systems suffer from.
var pains = []lesson{
	{"4.1_a_lost_acknowledgement_does_not_block_a_switchover", quick, lostAcknowledgement},
	{"4.3_blips_do_not_make_a_healthy_replica_errant", quick, blips},
	{"4.4_a_replica_that_cannot_reach_the_new_primary_does_not_keep_it_shut", slow, cannotBeRepointed},
	{"4.8_an_agent_that_hangs_or_dies_is_no_dead_mysqld", quick, agentIsNotMysqld},
	{"4.9_what_a_replica_lacks_was_purged", slow, purged},
	{"4.12_nothing_can_be_committed_though_connections_stay", slow, diskIsDead},
	{"4.13_a_switchover_that_does_not_come_about_gives_the_writes_back", quick, switchoverGoesBack},
}

// lostAcknowledgement: a commit waits, its acknowledgement was lost with the replicas' connections, and who has a transaction does not acknowledge it again. The
// primary is asked to hand over at that moment.
func lostAcknowledgement(s *scenario) {
	old, replicas := s.roles()
	before := s.clock.Now()
	s.do(old.cutFrom(true, replicas...)) // what the replicas say is lost, what they are told is not
	s.until("a commit waits", soon, func() error {
		if waits := s.sql(old, "SELECT COUNT(*) FROM performance_schema.threads WHERE "+acknowledging); waits[0] == "0" {
			return errors.New("none does")
		}
		return nil
	})
	s.sql(old, killed(dumping(replicas[0]))+killed(dumping(replicas[1])))
	s.heal()
	if _, err := s.plane.API.Switchover(s.Context(), s.id, replicas[0].id, 15*time.Second); err != nil {
		s.note("the switchover is refused: %v", err) // acknowledgements may have been lost for so long that a failover came first
	}
	s.ledBy(20*time.Second, replicas...)
	s.writesGoOn(10 * time.Second)
	s.note("%.2f s after acknowledgements began to be lost", (s.clock.Now() - before).Seconds())
}

// blips: under writes, a replica is cut off, hangs and loses its agent, each for a moment. It is what it was afterwards.
func blips(s *scenario) {
	primary, replicas := s.roles()
	m := replicas[0]
	servers := map[*member]string{}
	for _, of := range s.members {
		servers[of] = s.server(of)
	}
	for _, blip := range []fault.Fault{fault.CutContainer(m.Container), fault.StopProgram(m.Container, mysqld), fault.StopProgram(m.Container, agent), fault.KillProgram(m.Container, agent)} {
		s.do(blip)
		s.pause(700 * time.Millisecond)
		s.heal(blip)
		s.pause(300 * time.Millisecond)
	}
	s.well()
	require.Equal(s, primary.id, s.now().Primary)
	for _, of := range s.members {
		require.Equal(s, servers[of], s.server(of), "%s was replaced", of.name)
	}
}

// cannotBeRepointed: the one replica cannot reach the other, which becomes the primary. It is counted upon to acknowledge, and cannot; the old primary, which is
// back in a moment, could.
func cannotBeRepointed(s *scenario) {
	old, replicas := s.roles()
	s.do(replicas[0].cutFrom(false, replicas[1]), fault.KillContainer(old.Container, false))
	from := s.clock.Now() + time.Second
	s.until("writes go on, though the replicas cannot reach each other", soon, func() error { return atLeast(50, s.acked(from)) })
}

// agentIsNotMysqld: the primary's agent hangs, and is killed. Its mysqld goes on, and nobody takes its place.
func agentIsNotMysqld(s *scenario) {
	primary, _ := s.roles()
	epoch := s.now().Epoch
	hangs := fault.StopProgram(primary.Container, agent)
	began := s.clock.Now()
	s.do(hangs)
	s.pause(4 * time.Second)
	s.heal(hangs)
	s.pause(500 * time.Millisecond)
	s.do(fault.KillProgram(primary.Container, agent))
	s.pause(2 * time.Second)
	s.well()
	now := s.now()
	require.Equal(s, primary.id, now.Primary)
	require.Equal(s, epoch, now.Epoch, "something was decided")
	s.gapBelow(2*time.Second, began)
}

// purged: a replica was away while what it lacks was purged (error 1236). It is not left to try for ever: its data is replaced.
func purged(s *scenario) {
	primary, replicas := s.roles()
	away := replicas[1]
	was := s.server(away)
	cut := fault.CutContainer(away.Container)
	has, _ := s.held(away)
	s.do(cut)
	s.pause(500 * time.Millisecond)
	s.sql(primary, killed(dumping(away))+"FLUSH BINARY LOGS")
	s.until("what it lacks is purged", 8*time.Second, func() error {
		status := s.sql(primary, "SHOW BINARY LOG STATUS")
		s.sql(primary, "PURGE BINARY LOGS TO '"+strings.Fields(status[0])[0]+"'")
		if has.Contains(gtids(s.T, primary.value(s, "SELECT @@GLOBAL.gtid_purged"))) {
			return errNotYet
		}
		return nil
	})
	s.heal(cut)
	s.replaced(away, was)
	s.well()
}

// diskIsDead: the primary answers, its connections and the replicas' stay, and nothing is committed any more.
func diskIsDead(s *scenario) {
	old, replicas := s.roles()
	s.do(s.locked(old))
	s.ledBy(soon, replicas...)
	s.writesGoOn(soon)
}

// switchoverGoesBack: the successor does not come to apply what it has received. At the deadline the primary takes writes again.
func switchoverGoesBack(s *scenario) {
	primary, replicas := s.roles()
	const deadline = 4 * time.Second
	s.do(s.locked(replicas[0]))
	s.behind(10, replicas[0])
	began := s.clock.Now()
	_, err := s.plane.API.Switchover(s.Context(), s.id, replicas[0].id, deadline)
	require.NoError(s, err)
	s.until("it has ended", soon, func() error {
		if w := s.now().Switchover; w != nil && !w.Finished {
			return errNotYet
		}
		return nil
	})
	s.writesGoOn(5 * time.Second)
	require.Equal(s, primary.id, s.now().Primary)
	gap := s.gapBelow(deadline+4*time.Second, began)
	require.Greater(s, gap, deadline/2, "it was not under way")
}

// gapBelow says that there was never longer than that without an acknowledgement, and how long there was.
func (s *scenario) gapBelow(most, from time.Duration) time.Duration {
	s.Helper()
	now := s.clock.Now()
	gap := check.LongestGap(check.Acknowledged(s.set.Writes()), check.Span{From: from, To: now}, now).Length()
	require.Less(s, gap, most)
	return gap
}

// outages are of the control plane.
var outages = []lesson{
	{"4.14_coordination_is_away_and_nobody_is_cut_off", slow, coordinationIsAway},
	{"3.8_whoever_decides_hangs_in_a_failover", slow, managerHangs},
	{"3.5_the_successor_crashes_before_it_has_applied_what_it_received", slow, successorsCrash},
	{"4.15_everything_crashes_and_it_is_said_for_whom_the_cluster_waits", slow, everythingCrashes},
	{"4.17_the_host_reboots", slow, hostReboots},
}

func coordinationIsAway(s *scenario) {
	primary, replicas := s.roles()
	began := s.clock.Now()
	s.do(s.planeKilled())
	s.pause(2 * time.Second)
	// Those that begin meanwhile go by what is on their volumes.
	s.do(fault.KillProgram(primary.Container, agent), fault.KillProgram(replicas[0].Container, mysqld))
	s.pause(3 * time.Second)
	s.gapBelow(2*time.Second, began)
	s.heal()
	s.well()
	require.Equal(s, primary.id, s.now().Primary)
	s.gapBelow(2*time.Second, began)
}

// planeKilled is the death of the control plane, with coordination in it.
func (s *scenario) planeKilled() fault.Fault {
	return fault.Step{
		What:   "the control plane is killed",
		Strike: func(context.Context) error { s.plane.Kill(); return nil },
		Undo:   func(context.Context) error { s.plane.Launch(); return nil },
	}
}

// managerHangs: a failover takes long, as its successor does not come to apply what it received; and whoever decides hangs meanwhile, for longer than its leases.
func managerHangs(s *scenario) {
	old, replicas := s.roles()
	p := s.plane.Process()
	hangs := fault.Step{
		What:   "the control plane hangs",
		Strike: func(context.Context) error { return p.Signal(syscall.SIGSTOP) },
		Undo:   func(context.Context) error { return p.Signal(syscall.SIGCONT) },
	}
	stuck := s.stuckSuccessors(old, replicas)
	s.do(hangs)
	s.pause(4 * time.Second)
	s.heal(hangs)
	s.heal(stuck...)
	s.ledBy(soon, replicas...)
	s.writesGoOn(soon)
}

// successorsCrash: the primary is gone, and before its successor has applied what it received, all who could be crash. Where MySQL is started anew nobody applies anything.
func successorsCrash(s *scenario) {
	old, replicas := s.roles()
	s.stuckSuccessors(old, replicas)
	for _, m := range replicas {
		s.do(fault.KillProgram(m.Container, mysqld))
	}
	s.ledBy(soon, replicas...)
	s.writesGoOn(soon)
}

// stuckSuccessors has the primary die while its replicas do not come to apply what they received.
func (s *scenario) stuckSuccessors(old *member, replicas []*member) (stuck []fault.Fault) {
	s.Helper()
	for _, m := range replicas {
		stuck = append(stuck, s.locked(m))
	}
	s.do(stuck...)
	s.behind(10, replicas...)
	s.do(dead(old)...)
	s.until("the successor has still to apply what it received", soon, func() error {
		if c := s.now().Condition; !strings.Contains(c, "applies") {
			return fmt.Errorf("it says %q", c)
		}
		return nil
	})
	return stuck
}

// everythingCrashes: all mysqlds at once, and the replicas' agents hang: the primary opens only when somebody holds all that it brought back. It says for whom it waits.
func everythingCrashes(s *scenario) {
	_, replicas := s.roles()
	var hang []fault.Fault
	for _, m := range replicas {
		hang = append(hang, fault.StopProgram(m.Container, agent))
	}
	s.do(hang...)
	for _, m := range s.members {
		s.do(fault.KillProgram(m.Container, mysqld))
	}
	s.until("it says for whom it waits", 20*time.Second, func() error {
		if c := s.now().Condition; !strings.Contains(c, "wait") && !strings.Contains(c, "has to come back") {
			return fmt.Errorf("it says %q", c)
		}
		return nil
	})
	s.note("%s", s.now().Condition)
	s.silent(time.Second)
	s.heal(hang...)
	s.writesGoOn(soon)
}

// hostReboots: nothing is left running, and all of it is started again.
func hostReboots(s *scenario) {
	s.do(s.planeKilled())
	for _, m := range s.members {
		s.do(fault.KillContainer(m.Container, false))
	}
	s.heal()
	s.writesGoOn(healthLimit)
}

// pairs are of a cluster of two.
var pairs = []lesson{
	{"4.6_a_primary_restarts_in_place_and_waits_for_acknowledgements_again", quick, restartsInPlace},
	{"3.10_a_commit_waits_as_long_as_it_takes", slow, waitsForEver},
	{"4.10_the_only_replica_is_cloned_slowly_from_a_primary_whose_commits_wait", slow, slowClone},
	{"4.5_the_only_replica_is_gone", slow, onlyReplicaIsGone},
}

// restartsInPlace: under strict, with one replica, a primary whose mysqld dies is back sooner than another one would be whole.
func restartsInPlace(s *scenario) {
	primary, _ := s.roles()
	s.do(fault.KillProgram(primary.Container, mysqld))
	s.pause(200 * time.Millisecond)
	s.writesGoOn(soon)
	require.Equal(s, primary.id, s.now().Primary)
	s.sound()
}

// waitsForEver: the timeout after which MySQL goes on without acknowledgements, 10 s by default, is none here.
func waitsForEver(s *scenario) {
	primary, replicas := s.roles()
	cut := fault.CutContainer(replicas[0].Container)
	s.do(cut)
	s.pause(200 * time.Millisecond)
	w := s.send(primary.address, "INSERT INTO chaos_watch (member, n) VALUES ('who waits', 1) ON DUPLICATE KEY UPDATE n = n + 1")
	s.until("it is said that writes wait", 10*time.Second, func() error {
		for _, a := range s.now().Alarms {
			if a.Name == "writes-wait" {
				return nil
			}
		}
		return errors.Join(errNotYet, troubles(s.now()))
	})
	s.silent(13 * time.Second)
	require.False(s, w.over(), "it was answered: %v %v", w.outcome, w.err)
	s.heal(cut)
	<-w.done
	require.NoError(s, w.err)
}

// onlyReplicaIsGone: under available, writes go on alone, and it is said that nobody would take the primary's place.
func onlyReplicaIsGone(s *scenario) {
	_, err := s.plane.API.UpdateCluster(s.Context(), s.id, client.ClusterUpdate{Policy: "available"})
	require.NoError(s, err)
	s.well()
	primary, replicas := s.roles()
	cut := fault.CutContainer(replicas[0].Container)
	began := s.clock.Now()
	s.do(cut)
	s.writesGoOn(15 * time.Second)
	s.gapBelow(10*time.Second, began)
	s.until("it is said that there is no failover", 10*time.Second, func() error {
		for _, a := range s.now().Alarms {
			if a.Name == "no-automatic-failover" {
				return nil
			}
		}
		return errNotYet
	})
	s.heal(cut)
	s.well()
	require.Equal(s, primary.id, s.now().Primary)
}

// slowClone: the only replica's data has to be replaced by that of the primary, whose commits wait meanwhile, as there is nobody else to acknowledge them. A clone waits
// for commits that wait. And it takes longer than anything else that an agent does at a time.
func slowClone(s *scenario) {
	primary, replicas := s.roles()
	errant := replicas[0]
	was := s.server(errant)
	s.do(primary.slow("24mbit"), ownTransaction(errant))
	s.until("its data is being replaced", healthLimit, func() error {
		if !s.live()[errant.id].Rebuild {
			return errNotYet
		}
		return nil
	})
	began := s.clock.Now()
	s.replaced(errant, was)
	require.Greater(s, s.clock.Now()-began, 8*time.Second, "it was not slow")
	s.well()
	require.Equal(s, primary.id, s.now().Primary)
}
