package metastoretest

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/huker/huker/internal/metastore"
	"github.com/huker/huker/internal/model"
)

// BeforeClusters fills tables of version 2, those before there were clusters. The statements are good for every engine.
const BeforeClusters = `INSERT INTO instances (id, project_id, name, desired, generation, datastore_version_id, flavor_id, volume_gb, volume_type, is_public,
	allowed_cidrs, restart_serial, bootstrap, force_delete, host_id, address, status, operating_status, observed_generation, observed_restart, fault_message,
	fault_details, fault_created, volume_used_bytes, root_enabled, root_enabled_at, root_enabled_by, created, updated, service_status_updated, version)
	VALUES ('old', 'p', 'db', 'present', 2, 'v', '1', 5, 'ssd', 1, '["10.0.0.0/8"]', 3, NULL, 0, 'h', '10.0.0.1', 'ACTIVE', 'HEALTHY', 2, 3, NULL, NULL, NULL,
	9, 1, 1772323199123457, 'acc', 1772323199123457, 1772323199123457, 1772323199123457, 7)`

// AfterClusters checks what became of the row, and that it can be used.
func AfterClusters(t *testing.T, s metastore.Store) {
	t.Helper()
	want := model.Instance{
		ID: "old", ProjectID: "p", Name: "db", Desired: model.DesiredPresent, Generation: 2, DatastoreVersionID: "v", FlavorID: "1", VolumeGB: 5, VolumeType: "ssd",
		Access: model.Access{IsPublic: true, AllowedCIDRs: []string{"10.0.0.0/8"}}, RestartSerial: 3, HostID: "h", Address: "10.0.0.1",
		Status: model.StatusActive, OperatingStatus: model.OperatingHealthy, ObservedGeneration: 2, ObservedRestart: 3, VolumeUsedBytes: 9,
		RootEnabled: true, RootEnabledAt: epoch, RootEnabledBy: "acc", Created: epoch, Updated: epoch, ServiceStatusUpdated: epoch, Version: 7,
	}
	require.Equal(t, want, get(t, s, "old"))
	require.Equal(t, []string{"old"}, list(t, s, metastore.InstanceFilter{Unclustered: true}), "it is alone")
	want.ClusterID = cluster(1).ID
	createClusters(t, s, cluster(1))
	update(t, s, func(tx metastore.Tx) error { return tx.Instances().Update(t.Context(), &want) })
	require.Equal(t, []string{"old"}, list(t, s, metastore.InstanceFilter{ClusterID: cluster(1).ID}))
}
