package protocol

import (
	"github.com/huker/huker/internal/durability"
	"github.com/huker/huker/internal/model"
)

// Keys of clusters. A cluster's members read its record and its roster; nodekeeper alone writes them. Every sysmgr reads all endpoints.
const (
	ClustersKey  = "/clusters"
	EndpointsKey = "/endpoints"
)

// ClusterPrefix is all of a cluster's keys but its endpoint.
func ClusterPrefix(cluster string) string { return ClustersKey + "/" + cluster }

// RecordKey holds the cluster's durability.Record (a lone instance is its own cluster, and may have none: then its GuestConfig's is in effect).
func RecordKey(cluster string) string { return ClusterPrefix(cluster) + "/record" }

// RosterKey holds the cluster's Roster.
func RosterKey(cluster string) string { return ClusterPrefix(cluster) + "/roster" }

// EndpointKey holds the cluster's Endpoint.
func EndpointKey(cluster string) string { return EndpointsKey + "/" + cluster }

// Roster says where a cluster's members are. Whoever is not on it, is none.
type Roster struct {
	Members map[string]Member `json:"members"` // by instance
}

// Member is how to reach a member, at port 3306.
type Member struct {
	Address string `json:"address"`
}

// Endpoint is where a cluster's clients find it, and who answers them there. An empty address is not offered.
type Endpoint struct {
	Cluster string `json:"cluster"`
	// Epoch is of the record that Primary is of; a smaller one than was carried out is refused.
	Epoch     int64    `json:"epoch"`
	ReadWrite Front    `json:"read_write"`
	ReadOnly  Front    `json:"read_only"`
	Primary   string   `json:"primary,omitempty"` // address; empty: nobody takes writes now, and connections are refused
	Readers   []string `json:"readers,omitempty"` // addresses of members that lag by no more than is allowed. Sorted.
	// Access says, by each member's address, who may reach it: a host that leads clients to another one's member is the only one that sees who they are.
	Access map[string]model.Access `json:"access,omitempty"`
}

// Front is one address of an endpoint, and the port that leads to it on every host, 127.0.0.1 included.
type Front struct {
	Address string `json:"address"`        // IPv4, at port 3306, on no interface
	Port    int    `json:"port,omitempty"` // 0: none
}

// Kinds of call to a guest in a cluster, besides those of every guest.
const (
	// KindLook is LookRequest -> GuestStatus, read after the call came in. The agent goes by the record first, if it is newer than its own.
	KindLook = "guest.look"
	// KindRebuild is RebuildRequest -> nothing, when the rebuild is under way: Part.Rebuilding tells when it is over.
	KindRebuild = "guest.rebuild"
)

// LookRequest carries the newest record that nodekeeper knows.
type LookRequest struct {
	Record durability.Record `json:"record"`
}

// RebuildRequest has a server's data be replaced by a clone of another's. It is refused by an agent that goes by another epoch, by another server under the
// same name, and by one that has a part in the cluster.
type RebuildRequest struct {
	Epoch  int64  `json:"epoch"`
	Server string `json:"server"` // failover.Status.Server of the one that is to be replaced
	Donor  string `json:"donor"`  // instance, on the roster
}

// KindFence has a host keep clients and replicas from an instance, or let them in again: FenceRequest -> nothing.
const KindFence = "instance.fence"

// FenceRequest is about one instance of the host. A fence outlives a restart of sysmgr and of the host.
type FenceRequest struct {
	Term     int64  `json:"term"`
	Instance string `json:"instance"`
	Fenced   bool   `json:"fenced"`
}
