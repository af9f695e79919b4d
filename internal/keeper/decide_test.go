package keeper

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/huker/huker/internal/model"
	"github.com/huker/huker/internal/protocol"
)

// healthy is an instance with which everything is as it should be; cases change one thing.
func healthy() Observation {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	return Observation{
		Now: now, HostAlive: true, Flavor: model.Flavor{ID: "1", RAMMB: 512}, Version: model.DatastoreVersion{Name: "9.7.4"},
		Instance: model.Instance{
			ID: "i", Desired: model.DesiredPresent, Generation: 3, ObservedGeneration: 3, HostID: "h", Address: "10.88.0.10",
			Status: model.StatusActive, OperatingStatus: model.OperatingHealthy, VolumeUsedBytes: 1000, RestartSerial: 1, ObservedRestart: 1,
		},
		Container: &protocol.ContainerStatus{Instance: "i", Phase: "running", Generation: 3, Started: now.Add(-time.Hour)},
		Guest: &protocol.GuestStatus{
			Instance: "i", ConfigMemMB: 512, RestartsDone: 1, VolumeUsed: 1000, Mysqld: protocol.MysqldStatus{State: protocol.MysqldServing},
		},
	}
}

func TestDecide(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		change func(o *Observation)
		want   StepKind
	}{
		{"all is well", func(*Observation) {}, StepNone},
		{"deleted before it was placed", func(o *Observation) { o.Instance.Desired, o.Instance.HostID = model.DesiredDeleted, "" }, StepForget},
		{"deleted", func(o *Observation) { o.Instance.Desired = model.DesiredDeleted }, StepRemove},
		{"deleted while nothing of it works", func(o *Observation) {
			o.Instance.Desired, o.Container, o.Guest = model.DesiredDeleted, nil, nil
		}, StepRemove},
		{"deleted while its host is away", func(o *Observation) { o.Instance.Desired, o.HostAlive = model.DesiredDeleted, false }, StepWait},
		{"deleted, and its host is gone for good", func(o *Observation) {
			o.Instance.Desired, o.HostAlive, o.HostGone = model.DesiredDeleted, false, true
		}, StepGiveUp},
		{"its host is gone for good, and nobody has deleted it", func(o *Observation) { o.HostAlive, o.HostGone = false, true }, StepUnwell},
		{"its cluster needs it, though its host is gone for good", func(o *Observation) {
			o.Instance.Desired, o.HostAlive, o.HostGone, o.Held = model.DesiredDeleted, false, true, "it is the primary of its cluster"
		}, StepWait},
		{"new", func(o *Observation) { o.Instance.HostID, o.Container, o.Guest = "", nil, nil }, StepPlace},
		{"host away", func(o *Observation) { o.HostAlive = false }, StepUnwell},
		{"host still away", func(o *Observation) { o.HostAlive, o.Instance.OperatingStatus = false, model.OperatingShutdown }, StepWait},
		{"placed, never made", func(o *Observation) { o.Container, o.Guest = nil, nil }, StepEnsure},
		{"grown", func(o *Observation) { o.Flavor.RAMMB, o.Instance.Generation = 1024, 4 }, StepEnsure},
		{"grown, limit in effect", func(o *Observation) {
			o.Flavor.RAMMB, o.Instance.Generation, o.Container.Generation = 1024, 4, 4
		}, StepConfigure},
		{"shrunk: mysqld first", func(o *Observation) { o.Flavor.RAMMB, o.Instance.Generation = 256, 4 }, StepConfigure},
		{"shrunk, mysqld done", func(o *Observation) {
			o.Flavor.RAMMB, o.Instance.Generation, o.Guest.ConfigMemMB = 256, 4, 256
		}, StepEnsure},
		{"shrunk while mysqld is down", func(o *Observation) {
			o.Flavor.RAMMB, o.Instance.Generation, o.Guest.Mysqld.State = 256, 4, protocol.MysqldStarting
		}, StepEnsure},
		{"its agent goes by its cluster", func(o *Observation) { o.Instance.ClusterID, o.Guest.Cluster = "c", "c" }, StepNone},
		{"left its cluster, not heard of that", func(o *Observation) {
			o.Guest.Cluster, o.Instance.Status, o.Instance.OperatingStatus = "c", model.StatusDetach, model.OperatingBusy
		}, StepWait},
		{"left its cluster", func(o *Observation) {
			o.Guest.Cluster, o.Instance.Status, o.Instance.OperatingStatus = "i", model.StatusDetach, model.OperatingBusy
		}, StepSettle},
		{"no image", func(o *Observation) {
			o.Container.Phase, o.Container.Error, o.Guest = protocol.PhaseAbsent, "no image", nil
		}, StepFault},
		{"no image, told already", func(o *Observation) {
			o.Container.Phase, o.Container.Error, o.Guest = protocol.PhaseAbsent, "no image", nil
			o.Instance.Status, o.Instance.Fault = model.StatusError, &model.Fault{Message: "no image"}
			o.Instance.OperatingStatus = model.OperatingError
		}, StepWait},
		{"container died", func(o *Observation) { o.Container.Phase = "exited" }, StepUnwell},
		{"agent silent while starting", func(o *Observation) {
			o.Guest, o.Container.Started, o.Instance.OperatingStatus = nil, o.Now.Add(-time.Second), model.OperatingBusy
		}, StepWait},
		{"agent silent for long", func(o *Observation) { o.Guest = nil }, StepFault},
		{"mysqld failed", func(o *Observation) { o.Guest.Mysqld.State, o.Guest.Fault = protocol.MysqldFailed, "disk full" }, StepFault},
		{"restart asked for", func(o *Observation) { o.Instance.RestartSerial = 2 }, StepRestart},
		{"restart asked for while mysqld hangs", func(o *Observation) {
			o.Instance.RestartSerial, o.Guest.Mysqld.State = 2, protocol.MysqldStarting
		}, StepRestart},
		{"mysqld crashed", func(o *Observation) { o.Guest.Mysqld.State = protocol.MysqldStarting }, StepUnwell},
		{"first contents missing", func(o *Observation) { o.Instance.Bootstrap = &model.Bootstrap{} }, StepPrepare},
		{"done, not written down", func(o *Observation) { o.Instance.Status = model.StatusBuild }, StepSettle},
		{"well again after a fault", func(o *Observation) {
			o.Instance.Status, o.Instance.Fault = model.StatusError, &model.Fault{Message: "disk full"}
		}, StepSettle},
		{"its disk is nearly full", func(o *Observation) { o.Guest.Notice = "full" }, StepSettle},
		{"its disk is nearly full, told already", func(o *Observation) { o.Guest.Notice, o.Instance.Fault = "full", &model.Fault{Message: "full"} }, StepNone},
		{"other words for it", func(o *Observation) { o.Guest.Notice, o.Instance.Fault = "fuller", &model.Fault{Message: "full"} }, StepSettle},
		{"there is room again", func(o *Observation) { o.Instance.Fault = &model.Fault{Message: "full"} }, StepSettle},
		{"volume grew", func(o *Observation) { o.Guest.VolumeUsed = 1011 }, StepSettle},
		{"volume grew a little", func(o *Observation) { o.Guest.VolumeUsed = 1009 }, StepNone},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			o := healthy()
			c.change(&o)
			require.Equal(t, c.want, decide(o).Kind)
		})
	}
}

// Whatever is observed, what is to be deleted is never made, and nothing is done to a guest while its host is away.
func TestDecideHoldsWhateverIsSeen(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // a test that can be repeated
	pick := func(n int) bool { return r.IntN(n) == 0 }
	states := []string{
		protocol.MysqldPreparing, protocol.MysqldStarting, protocol.MysqldServing, protocol.MysqldLocked, protocol.MysqldStopping,
		protocol.MysqldStopped, protocol.MysqldFailed,
	}
	for range 20000 {
		o := healthy()
		if pick(2) {
			o.Instance.Desired = model.DesiredDeleted
		}
		if pick(4) {
			o.Instance.HostID = ""
		}
		o.HostAlive = pick(2)
		o.Instance.Generation += int64(r.IntN(2))
		o.Flavor.RAMMB = 256 << r.IntN(3)
		o.Container.Phase = []string{"running", "exited", "created", "paused", protocol.PhaseAbsent}[r.IntN(5)]
		o.Guest.Mysqld.State = states[r.IntN(len(states))]
		if pick(4) {
			o.Container = nil
		}
		if pick(4) {
			o.Guest = nil
		}
		s := decide(o)
		require.NotEmpty(t, s.Kind)
		switch {
		case o.Instance.Desired == model.DesiredDeleted:
			require.Contains(t, []StepKind{StepRemove, StepForget, StepWait}, s.Kind, "%+v", o)
		case o.Instance.HostID != "" && !o.HostAlive:
			require.Contains(t, []StepKind{StepWait, StepUnwell}, s.Kind, "%+v", o)
		}
		if s.Kind == StepForget {
			require.Empty(t, o.Instance.HostID, "a row goes last")
		}
		if s.Kind == StepEnsure && o.Guest != nil && o.Guest.Mysqld.State == protocol.MysqldServing {
			require.LessOrEqual(t, o.Guest.ConfigMemMB, o.Flavor.RAMMB, "the kernel would kill mysqld")
		}
	}
}
