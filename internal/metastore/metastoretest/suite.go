// Package metastoretest is what every engine of the metadata store must pass.
//
// It owns the tests of the contract in package metastore. It must not know an engine: whatever only one can do is tested
// beside that one.
package metastoretest

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/huker/huker/internal/metastore"
	"github.com/huker/huker/internal/model"
)

// Open gives an empty store that nobody else uses, and closes it (and removes what it left) when the test is done. It may be
// called several times in one test.
type Open func(tb testing.TB) metastore.Store

// Run runs the whole suite.
func Run(t *testing.T, open Open) {
	t.Helper()
	for name, test := range map[string]func(*testing.T, metastore.Store){
		"instance/round trip":         instanceRoundTrip,
		"instance/errors":             instanceErrors,
		"instance/addresses":          instanceAddresses,
		"instance/delete":             instanceDelete,
		"instance/usage":              instanceUsage,
		"instance/filters":            instanceFilters,
		"instance/pages":              instancePages,
		"instance/rolled back value":  instanceRolledBackValue,
		"cluster/round trip":          clusterRoundTrip,
		"cluster/errors":              clusterErrors,
		"cluster/lists":               clusterLists,
		"cluster/members":             clusterMembers,
		"cluster/addresses":           clusterAddresses,
		"cluster/one id, two rows":    clusterOneID,
		"cluster/history":             clusterHistory,
		"cluster/texts and times":     clusterValues,
		"events":                      eventLog,
		"catalogue":                   catalogue,
		"quotas":                      quotas,
		"hosts":                       hosts,
		"usage of hosts":              hostUsage,
		"terms":                       terms,
		"secrets":                     secrets,
		"identity/projects":           projects,
		"identity/accounts":           accounts,
		"identity/roles":              roles,
		"identity/assignments":        assignments,
		"identity/delete cascades":    identityCascades,
		"identity/tokens":             tokens,
		"values/times":                times,
		"values/texts":                texts,
		"values/names differ by byte": namesDiffer,
		"values/not UTF-8":            notUTF8,
		"values/no secrets in errors": noSecretsInErrors,
		"tx/rollback":                 rollback,
		"tx/rollback on panic":        rollbackOnPanic,
		"tx/goes on after an error":   goesOn,
		"tx/view is read-only":        viewReadOnly,
		"tx/view is one snapshot":     viewSnapshot,
		"tx/sees its own writes":      ownWrites,
		"tx/no dirty reads":           noDirtyReads,
		"tx/lost updates":             lostUpdates,
		"tx/counters run again":       countersRunAgain,
		"tx/quota is never exceeded":  quotaHolds,
		"tx/one address, one owner":   addressRace,
		"tx/context":                  contexts,
		"tx/good only inside":         goodOnlyInside,
		"store/ping":                  ping,
		"store/close":                 closing,
		"store/close waits":           closeWaits,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, open(t))
		})
	}
}

// epoch is where the suite's clock starts: with microseconds that are not whole milliseconds.
var epoch = time.Date(2026, 2, 28, 23, 59, 59, 123457000, time.UTC) // a constant, were there constants of this type

func at(seconds int) time.Time { return epoch.Add(time.Duration(seconds) * time.Second) }

// instance has a value that is not the zero value in every field.
func instance(n int) model.Instance {
	return model.Instance{
		ID: fmt.Sprintf("11111111-2222-4333-8444-%012d", n), ProjectID: "p1", Name: fmt.Sprintf("db %d", n),
		Desired: model.DesiredPresent, Generation: 3, DatastoreVersionID: "v1", FlavorID: "2", VolumeGB: 5, VolumeType: "ssd",
		Access:        model.Access{IsPublic: true, AllowedCIDRs: []string{"10.0.0.0/8", "::1/128"}},
		RestartSerial: 4,
		Bootstrap: &model.Bootstrap{
			Databases: []model.Database{{Name: "a", CharacterSet: "utf8mb4", Collate: "utf8mb4_bin"}, {Name: "b"}},
			Users:     []model.User{{Name: "u", Host: "10.%", Password: `p"w\`, Databases: []string{"a", "b"}}},
		},
		ForceDelete: true, HostID: "h1", Address: fmt.Sprintf("172.16.%d.%d", n/250, 1+n%250),
		Status: model.StatusResize, OperatingStatus: model.OperatingHealthy, ObservedGeneration: 2, ObservedRestart: 1,
		Fault:           &model.Fault{Message: "m", Details: "line\nline", Created: at(7)},
		VolumeUsedBytes: 1 << 40, RootEnabledAt: at(5), RootEnabledBy: "acc", RootEnabled: true,
		ClusterID: "c1", Priority: -3, Detaching: true, Role: model.RoleReplica,
		Created: at(n), Updated: at(n + 1), ServiceStatusUpdated: at(n + 2), Version: 1,
	}
}

// cluster has a value that is not the zero value in every field.
func cluster(n int) model.Cluster {
	return model.Cluster{
		ID: fmt.Sprintf("99999999-2222-4333-8444-%012d", n), ProjectID: "p1", Name: fmt.Sprintf("cluster %d", n), Implicit: true,
		Desired: model.DesiredPresent, Generation: 3, DatastoreVersionID: "v1", Policy: "available", Acks: 2, MaxLag: 1500 * time.Millisecond,
		Switchover: &model.Switchover{
			Serial: 4, To: "b", From: "a", Timeout: time.Minute, Dead: true, Asked: at(3), Fault: "it\nfailed", Finished: true,
		},
		RestartSerial: 5, Spread: "anti-affinity",
		ReadWrite: fmt.Sprintf("172.17.%d.%d", n/120, 1+n%120*2), ReadOnly: fmt.Sprintf("172.17.%d.%d", n/120, 2+n%120*2), ReadWritePort: 13306, ReadOnlyPort: 13307,
		Status: model.StatusActive, Founded: true, PrimaryID: "a", Epoch: 1 << 40, Condition: "waits for b",
		Alarms:             []model.Alarm{{Name: "no-spare", Text: "one \"member\" left", Since: at(8)}, {Name: "lag"}},
		ObservedGeneration: 2, ObservedSwitchover: 3, ObservedRestart: 1,
		Fault: &model.Fault{Message: "m", Details: "line\nline", Created: at(7)}, Created: at(n), Updated: at(n + 1), Version: 1,
	}
}

func update(t testing.TB, s metastore.Store, fn func(metastore.Tx) error) {
	t.Helper()
	require.NoError(t, s.Update(t.Context(), fn))
}

func view(t testing.TB, s metastore.Store, fn func(metastore.Tx) error) {
	t.Helper()
	require.NoError(t, s.View(t.Context(), fn))
}

// gives runs fn in an Update and wants its error to be target.
func gives(t testing.TB, s metastore.Store, target error, fn func(metastore.Tx) error) {
	t.Helper()
	require.ErrorIs(t, s.Update(t.Context(), fn), target)
}

func create(t testing.TB, s metastore.Store, is ...model.Instance) {
	t.Helper()
	update(t, s, func(tx metastore.Tx) error {
		for _, i := range is {
			if err := tx.Instances().Create(t.Context(), &i); err != nil {
				return err
			}
		}
		return nil
	})
}

// read runs one reading call in a View.
func read[T any](t testing.TB, s metastore.Store, call func(context.Context, metastore.Tx) (T, error)) T {
	t.Helper()
	var v T
	view(t, s, func(tx metastore.Tx) (err error) {
		v, err = call(t.Context(), tx)
		return err
	})
	return v
}

func get(t testing.TB, s metastore.Store, id string) model.Instance {
	t.Helper()
	return read(t, s, func(ctx context.Context, tx metastore.Tx) (model.Instance, error) { return tx.Instances().Get(ctx, id) })
}

func list(t testing.TB, s metastore.Store, f metastore.InstanceFilter) []string {
	t.Helper()
	is := read(t, s, func(ctx context.Context, tx metastore.Tx) ([]model.Instance, error) {
		return tx.Instances().List(ctx, f)
	})
	return ids(is)
}

func ids(is []model.Instance) []string {
	out := make([]string, len(is))
	for n, i := range is {
		out[n] = i.ID
	}
	return out
}
