// Package protocol is what Huker's parts say to each other: kinds of message with their bodies, and the keys and
// queues they use.
//
// It owns names and shapes only; it must not know who sends or how.
package protocol

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"time"

	"github.com/huker/huker/internal/model"
)

// Queues and keys.
const (
	KeeperQueue = "keeper" // Kick
	HostsKey    = "/hosts" // HostsKey/<host>/alive: HostStatus (ephemeral)
	GuestsKey   = "/guests"
)

// HostQueue is where a host's sysmgr is told what to do.
func HostQueue(host string) string { return "host." + host }

// GuestQueue is where a guest's agent is told what to do.
func GuestQueue(instance string) string { return "guest." + instance }

// HostPrincipal is the name that a host's sysmgr proves by its certificate.
func HostPrincipal(host string) string { return "host." + host }

// HostPrefix is all of a host's keys.
func HostPrefix(host string) string { return HostsKey + "/" + host }

// HostAliveKey holds HostStatus for as long as the host's sysmgr lives.
func HostAliveKey(host string) string { return HostPrefix(host) + "/alive" }

// HostContainerKey holds ContainerStatus, durable, kept by the host's sysmgr.
func HostContainerKey(host, instance string) string {
	return HostPrefix(host) + "/containers/" + instance
}

// GuestPrefix is all of a guest's keys.
func GuestPrefix(instance string) string { return GuestsKey + "/" + instance }

// GuestStatusKey holds GuestStatus for as long as the agent's session lives.
func GuestStatusKey(instance string) string { return GuestPrefix(instance) + "/status" }

// KindKick is the kind of message to nodekeeper: Kick.
const KindKick = "kick"

// Kick asks nodekeeper to look at an instance or a cluster now; it would do so anyway, later.
type Kick struct {
	Instance string `json:"instance,omitempty"`
	Cluster  string `json:"cluster,omitempty"`
	Origin   string `json:"origin"` // for the log: "api.create"
}

// Kinds of message to a sysmgr.
const (
	KindEnsure    = "instance.ensure" // EnsureRequest -> EnsureReply
	KindRemove    = "instance.remove" // RemoveRequest -> nothing
	KindStop      = "instance.stop"   // InstanceRequest -> nothing
	KindInventory = "host.inventory"  // nothing -> Inventory
	KindAccess    = "instance.access" // AccessRequest -> nothing
	KindHost      = "host.configure"  // HostRequest -> nothing
	KindPrograms  = "host.programs"   // ProgramsRequest -> nothing
)

// EnsureRequest has an instance's container, volume, files and limits be as told, and running. Repeating it changes nothing.
type EnsureRequest struct {
	Term       int64             `json:"term"` // of the nodekeeper that asks: one whose term is over is refused
	Instance   string            `json:"instance"`
	Generation int64             `json:"generation"` // of the instance's desired state; an older one than was carried out is refused
	Image      string            `json:"image"`
	Address    string            `json:"address"`
	CPUs       float64           `json:"cpus"`
	MemoryMB   int               `json:"memory_mb"`
	Access     model.Access      `json:"access"`
	Guest      GuestConfig       `json:"guest"`
	Files      map[string][]byte `json:"files"`             // private files of the guest by name: ca.pem, server-cert.pem, server-key.pem, agent-cert.pem, agent-key.pem, coord-ca.pem
	Sources    []string          `json:"sources,omitempty"` // other hosts that have the image: "https://10.0.0.2:8782"
}

// EnsureReply says what is there now.
type EnsureReply struct {
	Container ContainerStatus `json:"container"`
}

// RemoveRequest removes what an instance has on the host: container, files, rules, and the volume with its data if Purge.
type RemoveRequest struct {
	Term     int64         `json:"term"`
	Instance string        `json:"instance"`
	Purge    bool          `json:"purge"`
	Grace    time.Duration `json:"grace"` // for a clean shutdown; 0: kill
}

// InstanceRequest names an instance.
type InstanceRequest struct {
	Instance string        `json:"instance"`
	Grace    time.Duration `json:"grace"`
}

// AccessRequest changes who may reach the instance.
type AccessRequest struct {
	Instance string       `json:"instance"`
	Address  string       `json:"address"`
	Access   model.Access `json:"access"`
}

// HostRequest is what a host must know of the deployment. Repeating it changes nothing.
type HostRequest struct {
	Term int64 `json:"term"`
	HostConfig
}

// ProgramsRequest has a host fetch the programs that it lacks. Repeating it changes nothing.
type ProgramsRequest struct {
	Term    int64    `json:"term"`
	Sources []string `json:"sources"` // other hosts that have some of them: "https://10.0.0.2:8782"
}

// Program is one of the programs that guests run.
type Program struct {
	Name string `json:"name"` // "huker-guestagent"
	Sum  string `json:"sha256"`
}

// HostConfig is a host's place among the others.
type HostConfig struct {
	Subnet string   `json:"subnet"`           // of its databases
	Range  string   `json:"range"`            // all hosts' subnets lie in it
	Peers  []Peer   `json:"peers,omitempty"`  // the other hosts, by subnet
	Egress []string `json:"egress,omitempty"` // HOST:PORT of what databases' agents connect to, off their host
}

// Peer is another host, as far as databases go.
type Peer struct {
	Subnet  string `json:"subnet"`
	Address string `json:"address"`
}

// Hash names the configuration, so that a host can say which one is in effect.
func (c HostConfig) Hash() string {
	data, err := json.Marshal(c)
	if err != nil {
		return ""
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:8])
}

// Inventory is all that a host has of this deployment.
type Inventory struct {
	Containers []ContainerStatus `json:"containers"`
	Volumes    []VolumeStatus    `json:"volumes"`
}

// PhaseAbsent is ContainerStatus.Phase where there is no container.
const PhaseAbsent = "absent"

// Codes of errors that a sysmgr answers with (bus.CallError.Code), besides the guest's.
const (
	CodeNoImage     = "no_image"
	CodeNoSpace     = "no_space"
	CodeRemoved     = "removed"     // the instance was removed from this host: it is not made again
	CodeStale       = "stale"       // a newer generation was carried out already
	CodeUnavailable = "unavailable" // the container runtime does not answer
	CodeTermOver    = "term_over"   // another nodekeeper has taken over
	CodeFetching    = "fetching"    // the image, or what guests run, is on its way to the host: ask again
)

// ContainerStatus is an instance's container as its sysmgr sees it.
type ContainerStatus struct {
	Instance   string    `json:"instance"`
	Phase      string    `json:"phase"`      // runtime.Phase, or "absent"
	Generation int64     `json:"generation"` // of the EnsureRequest that is in effect
	ExitCode   int       `json:"exit_code"`
	OOM        bool      `json:"oom"`
	Error      string    `json:"error,omitempty"` // why the last attempt to bring it about failed
	Created    time.Time `json:"created"`
	Started    time.Time `json:"started"`
	Fenced     bool      `json:"fenced,omitempty"` // clients and replicas are kept from it
}

// VolumeStatus is an instance's volume.
type VolumeStatus struct {
	Instance string    `json:"instance"`
	Created  time.Time `json:"created"`
}

// HostStatus is what a living sysmgr says of its host.
type HostStatus struct {
	Host    string    `json:"host"`
	Version string    `json:"version"`
	CPUs    float64   `json:"cpus"`
	RAMMB   int       `json:"ram_mb"`
	DiskGB  int       `json:"disk_gb"`
	Engine  string    `json:"engine"` // "docker 20.10.24"; empty while it does not answer
	Since   time.Time `json:"since"`

	Labels  map[string]string `json:"labels,omitempty"`
	Address string            `json:"address,omitempty"` // where the other hosts reach it
	Depot   string            `json:"depot,omitempty"`   // where they get images from it: "https://10.0.0.2:8782"
	Images  []HostImage       `json:"images,omitempty"`
	// Programs are those of guests that the host has, and Lacks those that its sysmgr goes with and are not there yet: guests that are new wait for them.
	Programs []Program `json:"programs,omitempty"`
	Lacks    []Program `json:"lacks,omitempty"`
	Subnet   string    `json:"subnet,omitempty"`  // of its databases; empty until it was told
	Config   string    `json:"config,omitempty"`  // the hash of the HostConfig that is in effect
	Trouble  string    `json:"trouble,omitempty"` // why the last one is not, in words for the operator
}

// HostImage is a datastore version's image that a host has.
type HostImage struct {
	Engine  string `json:"engine"`
	Version string `json:"version"`
	Ref     string `json:"ref"`
}
