package api

import (
	"encoding/json"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/huker/huker/internal/durability"
	"github.com/huker/huker/internal/model"
)

// ClustersBody lists clusters.
type ClustersBody struct {
	Clusters      []ClusterView `json:"clusters"`
	Links         []Link        `json:"links,omitempty"`
	ClustersLinks []Link        `json:"clusters_links,omitempty"`
}

// ClusterBody is one cluster.
type ClusterBody struct {
	Cluster ClusterView `json:"cluster"`
}

// ClusterView is a cluster: what Trove shows first, and Huker's own after it.
type ClusterView struct {
	ID        string        `json:"id"`
	Name      string        `json:"name"`
	Task      ClusterTask   `json:"task"`
	Created   Time          `json:"created"`
	Updated   Time          `json:"updated"`
	Links     []Link        `json:"links"`
	Datastore DatastoreName `json:"datastore"`
	Instances []MemberView  `json:"instances" doc:"Oldest first"`
	IP        []string      `json:"ip,omitempty" doc:"The address at which the primary answers, whoever it is, at port 3306"`
	Locality  string        `json:"locality" enum:"affinity,anti-affinity,soft-affinity,soft-anti-affinity"`

	Status     string          `json:"status" enum:"BUILD,ACTIVE,REBOOT,RESIZE,SHUTDOWN,ERROR"`
	Policy     string          `json:"policy" enum:"strict,available,fast"`
	MinAcks    int             `json:"min_acks" doc:"Replicas that hold a commit before it is acknowledged, while so many are there"`
	MaxLag     float64         `json:"max_lag" doc:"Seconds that a replica may be behind and still be read from"`
	Endpoints  Endpoints       `json:"endpoints"`
	Primary    string          `json:"primary,omitempty" doc:"The instance that takes writes"`
	Epoch      int64           `json:"epoch,omitempty" doc:"Raised with every change of who is the primary or who acknowledges"`
	Condition  string          `json:"condition,omitempty" doc:"What is being done about it, or is waited for; absent: all is well"`
	Alarms     []AlarmView     `json:"alarms"`
	Switchover *SwitchoverView `json:"switchover,omitempty" doc:"The newest that was asked for"`
	Fault      *FaultView      `json:"fault,omitempty"`
	Implicit   bool            `json:"implicit,omitempty" doc:"It is an instance with replicas"`
	TenantID   string          `json:"tenant_id,omitempty" doc:"For administrators"`
}

// ClusterTask is what a cluster is busy with.
type ClusterTask struct {
	ID          int    `json:"id"`
	Name        string `json:"name"`
	Description string `json:"description"`
}

// MemberView is a member as its cluster shows it.
type MemberView struct {
	ID     string      `json:"id"`
	Name   string      `json:"name"`
	Type   string      `json:"type" enum:"member"`
	Role   string      `json:"role,omitempty" enum:"primary,replica"`
	Status string      `json:"status"`
	Links  []Link      `json:"links"`
	Flavor InstanceRef `json:"flavor"`
	Volume VolumeView  `json:"volume"`
	IP     []string    `json:"ip,omitempty"`
}

// Endpoints are where clients find a cluster; one without an address is not there yet, or not at all.
type Endpoints struct {
	ReadWrite *Endpoint `json:"read_write,omitempty"`
	ReadOnly  *Endpoint `json:"read_only,omitempty"`
}

// Endpoint is an address of its own, and a port of every host that leads to the same.
type Endpoint struct {
	Address  string `json:"address"`
	Port     int    `json:"port"`
	HostPort int    `json:"host_port,omitempty" doc:"For clients that have no route to the address: this port of any host"`
}

// AlarmView is something about a cluster that a person should know.
type AlarmView struct {
	Name  string `json:"name"`
	Text  string `json:"text"`
	Since Time   `json:"since"`
}

// SwitchoverView is a change of primary that was asked for.
type SwitchoverView struct {
	From     string  `json:"from"`
	To       string  `json:"to,omitempty"`
	Failover bool    `json:"failover" doc:"The primary was given up"`
	Asked    Moment  `json:"asked"`
	Timeout  float64 `json:"timeout" doc:"Seconds"`
	Finished bool    `json:"finished"`
	Fault    string  `json:"fault,omitempty" doc:"Why it did not come about"`
}

// Moment is a Time with milliseconds.
type Moment struct{ time.Time }

const momentLayout = timeLayout + ".000"

// MarshalJSON writes the moment.
func (m Moment) MarshalJSON() ([]byte, error) { return json.Marshal(m.UTC().Format(momentLayout)) }

// Schema describes it.
func (Moment) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeString, Pattern: `^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}$`, Description: "UTC, without a zone",
		Examples: []any{"2019-12-23T20:58:35.417"}}
}

// The tasks, by Trove's numbers and names as far as it has them. Source: trove/cluster/tasks.py.
var (
	taskNone       = ClusterTask{1, "NONE", "No tasks for the cluster."}
	taskBuilding   = ClusterTask{2, "BUILDING", "Building the initial cluster."}
	taskDeleting   = ClusterTask{3, "DELETING", "Deleting the cluster."}
	taskGrowing    = ClusterTask{5, "GROWING_CLUSTER", "Increasing the size of the cluster."}
	taskShrinking  = ClusterTask{6, "SHRINKING_CLUSTER", "Decreasing the size of the cluster."}
	taskRestarting = ClusterTask{8, "RESTARTING_CLUSTER", "Restarting the cluster."}
	taskChanging   = ClusterTask{102, "CHANGING_PROMISE", "Changing what the cluster promises."}
	taskTurning    = ClusterTask{101, "CHANGING_PRIMARY", "Changing the primary of the cluster."}
)

func (k *kin) task() ClusterTask {
	c := &k.cluster
	switch {
	case c.Desired == model.DesiredDeleted:
		return taskDeleting
	case c.Status == model.StatusError:
		return taskNone
	case c.Status == model.StatusBuild && c.ObservedGeneration == 0:
		return taskBuilding
	case k.turning() != nil:
		return taskTurning
	case c.RestartSerial > c.ObservedRestart:
		return taskRestarting
	}
	for i := range k.members {
		if k.members[i].Desired == model.DesiredDeleted {
			return taskShrinking
		}
	}
	for i := range k.members {
		if k.members[i].Status == model.StatusBuild {
			return taskGrowing
		}
	}
	if c.Status == model.StatusResize {
		return taskGrowing // or shrinking, of which only the last step is left: nobody is asked to tell them apart then
	}
	if c.ObservedGeneration < c.Generation {
		return taskChanging
	}
	return taskNone
}

// acks is how many acknowledgements a commit waits for when all members are there.
func (k *kin) acks() int {
	replicas := max(len(k.staying())-1, 0)
	return durability.Policy(k.cluster.Policy).Published(k.cluster.Acks, replicas, replicas)
}

// databasePort is where every address of Huker's answers: Trove's API knows no other.
const databasePort = 3306

func (s *server) clusterView(r *request, c catalogue, k *kin) ClusterView {
	row := &k.cluster
	datastore, version := c.names(row.DatastoreVersionID)
	v := ClusterView{
		ID: row.ID, Name: row.Name, Task: k.task(), Created: Time{row.Created}, Updated: Time{row.Updated}, Links: r.links("clusters", row.ID),
		Datastore: DatastoreName{Type: datastore, Version: version}, Instances: make([]MemberView, 0, len(k.members)), Locality: row.Spread,
		Status: string(k.status()), Policy: row.Policy, MinAcks: k.acks(), MaxLag: row.MaxLag.Seconds(), Primary: row.PrimaryID, Epoch: row.Epoch,
		Condition: row.Condition, Alarms: make([]AlarmView, 0, len(row.Alarms)), Implicit: row.Implicit,
	}
	for i := range k.members {
		v.Instances = append(v.Instances, r.memberView(k, &k.members[i]))
	}
	if row.ReadWrite != "" {
		v.IP = []string{row.ReadWrite}
		v.Endpoints.ReadWrite = &Endpoint{Address: row.ReadWrite, Port: databasePort, HostPort: row.ReadWritePort}
	}
	if row.ReadOnly != "" {
		v.Endpoints.ReadOnly = &Endpoint{Address: row.ReadOnly, Port: databasePort, HostPort: row.ReadOnlyPort}
	}
	for _, a := range row.Alarms {
		v.Alarms = append(v.Alarms, AlarmView{Name: a.Name, Text: a.Text, Since: Time{a.Since}})
	}
	if w := row.Switchover; w != nil {
		v.Switchover = &SwitchoverView{From: w.From, To: w.To, Failover: w.Dead, Asked: Moment{w.Asked}, Timeout: w.Timeout.Seconds(), Finished: w.Finished, Fault: w.Fault}
	}
	if f := row.Fault; f != nil {
		v.Fault = &FaultView{Message: f.Message, Details: f.Details, Created: Time{f.Created}}
	}
	if r.admin() {
		v.TenantID = row.ProjectID
	}
	return v
}

// status is the row's, but that a restart is not over when the members are well for a moment.
func (k *kin) status() model.Status {
	if k.cluster.Status == model.StatusActive && k.task() == taskRestarting {
		return model.StatusReboot
	}
	return k.cluster.Status
}

func (r *request) memberView(k *kin, m *model.Instance) MemberView {
	status, _ := k.shown(m)
	v := MemberView{
		ID: m.ID, Name: m.Name, Type: "member", Role: string(m.Role), Status: string(status), Links: r.links("instances", m.ID),
		Flavor: InstanceRef{ID: m.FlavorID, Links: r.links("flavors", m.FlavorID)}, Volume: VolumeView{Size: m.VolumeGB},
	}
	if m.Address != "" {
		v.IP = []string{m.Address}
	}
	return v
}
