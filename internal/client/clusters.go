package client

import (
	"context"
	"net/http"
	"strconv"
	"time"
)

// Cluster is several instances that hold the same data.
type Cluster struct {
	ID         string      `json:"id"`
	Name       string      `json:"name"`
	Status     string      `json:"status"`
	Task       Task        `json:"task"`
	Datastore  Datastore   `json:"datastore"`
	Instances  []Member    `json:"instances"` // oldest first
	Locality   string      `json:"locality"`
	Policy     string      `json:"policy"`
	MinAcks    int         `json:"min_acks"`
	MaxLag     float64     `json:"max_lag"` // seconds
	Endpoints  Endpoints   `json:"endpoints"`
	Primary    string      `json:"primary,omitempty"` // instance
	Epoch      int64       `json:"epoch,omitempty"`
	Condition  string      `json:"condition,omitempty"`
	Alarms     []Alarm     `json:"alarms"`
	Switchover *Switchover `json:"switchover,omitempty"`
	Fault      *Fault      `json:"fault,omitempty"`
	Implicit   bool        `json:"implicit,omitempty"` // an instance with replicas
	Project    string      `json:"tenant_id,omitempty"`
	Created    Time        `json:"created"`
	Updated    Time        `json:"updated"`
}

// Ready reports whether it serves, with all members, and nothing is under way.
func (c Cluster) Ready() bool {
	for _, m := range c.Instances {
		if m.Status != "ACTIVE" {
			return false
		}
	}
	return c.Status == "ACTIVE" && c.Task.Name == "NONE"
}

// MemberName is a member's name, or its id when it is gone.
func (c Cluster) MemberName(id string) string {
	for _, m := range c.Instances {
		if m.ID == id {
			return m.Name
		}
	}
	return id
}

// Task is what a cluster is busy with; its name is NONE when that is nothing.
type Task struct {
	Name        string `json:"name"`
	Description string `json:"description"`
}

// Member is an instance of a cluster.
type Member struct {
	ID     string   `json:"id"`
	Name   string   `json:"name"`
	Role   string   `json:"role,omitempty"`
	Status string   `json:"status"`
	Flavor Ref      `json:"flavor"`
	Volume Volume   `json:"volume"`
	IP     []string `json:"ip,omitempty"`
}

// Endpoints are where clients find a cluster; nil: there is none yet.
type Endpoints struct {
	ReadWrite *Endpoint `json:"read_write,omitempty"`
	ReadOnly  *Endpoint `json:"read_only,omitempty"`
}

// Endpoint is an address, and a port of every host that leads to the same (0: none).
type Endpoint struct {
	Address  string `json:"address"`
	Port     int    `json:"port"`
	HostPort int    `json:"host_port,omitempty"`
}

// Alarm is something about a cluster that a person should know.
type Alarm struct {
	Name  string `json:"name"`
	Text  string `json:"text"`
	Since Time   `json:"since"`
}

// Switchover is a change of primary that was asked for.
type Switchover struct {
	From     string  `json:"from"`
	To       string  `json:"to,omitempty"`
	Failover bool    `json:"failover"`
	Asked    string  `json:"asked"`
	Timeout  float64 `json:"timeout"` // seconds
	Finished bool    `json:"finished"`
	Fault    string  `json:"fault,omitempty"`
}

// LiveMember is a member by the word of its own agent.
type LiveMember struct {
	ID        string    `json:"id"`
	Name      string    `json:"name"`
	Role      string    `json:"role,omitempty"`
	Status    string    `json:"status"`
	Host      string    `json:"host,omitempty"`
	Container string    `json:"container,omitempty"`
	Address   string    `json:"address,omitempty"`
	Reachable bool      `json:"reachable"`
	Error     string    `json:"error,omitempty"`
	Epoch     int64     `json:"epoch,omitempty"`
	Mysqld    string    `json:"mysqld,omitempty"`
	Server    string    `json:"server,omitempty"`
	Fault     string    `json:"fault,omitempty"`
	Notice    string    `json:"notice,omitempty"`
	Open      bool      `json:"open,omitempty"`
	Guarded   bool      `json:"guarded,omitempty"`
	Executed  string    `json:"gtid_executed,omitempty"`
	Retrieved string    `json:"gtid_retrieved,omitempty"`
	Lag       *float64  `json:"lag,omitempty"` // seconds
	Receiver  *Receiver `json:"receiver,omitempty"`
	Serving   *Serving  `json:"serving,omitempty"`
	Rebuild   bool      `json:"rebuilding,omitempty"`
	Turning   bool      `json:"turning,omitempty"`
	Applier   string    `json:"applier_fault,omitempty"`
}

// Receiver is how a member replicates.
type Receiver struct {
	State        string  `json:"state"`
	Source       string  `json:"source,omitempty"`
	Acknowledges bool    `json:"acknowledges"`
	HeardAgoMS   float64 `json:"heard_ago_ms"`
	Broken       string  `json:"broken,omitempty"`
}

// Serving is the primary's side of replication.
type Serving struct {
	MinAcks  int      `json:"min_acks"`
	Attached []string `json:"attached"`
	Waiting  int      `json:"waiting"`
}

// Turn is a change of primary that is over.
type Turn struct {
	Epoch    int64    `json:"epoch"`
	Kind     string   `json:"kind"` // "failover", "switchover", or "back": it did not come about
	From     string   `json:"from"`
	FromName string   `json:"from_name"`
	To       string   `json:"to"`
	ToName   string   `json:"to_name"`
	Reason   string   `json:"reason"`
	Seen     []string `json:"seen"`
	Began    string   `json:"began"` // UTC, to the millisecond
	Phases   []Phase  `json:"phases"`
	GapMS    float64  `json:"gap_ms"`
}

// Phase is a part of it.
type Phase struct {
	Name   string  `json:"name"`
	TookMS float64 `json:"took_ms"`
	Note   string  `json:"note,omitempty"`
}

// NewCluster asks for one.
type NewCluster struct {
	Name       string            `json:"name"`
	Datastore  map[string]string `json:"datastore,omitempty"` // "type", "version"
	Instances  []NewMember       `json:"instances"`
	Locality   string            `json:"locality,omitempty"`
	Properties ClusterProperties `json:"extended_properties,omitzero"`
}

// NewMember is one more instance for a cluster. Flavor and volume are the cluster's where it has any.
type NewMember struct {
	Name   string  `json:"name,omitempty"`
	Flavor string  `json:"flavorRef,omitempty"`
	Volume *Volume `json:"volume,omitempty"`
}

// ClusterProperties are Huker's own.
type ClusterProperties struct {
	Policy    string     `json:"policy,omitempty"`
	MinAcks   *int       `json:"min_acks,omitempty"`
	MaxLag    int        `json:"max_lag,omitempty"` // seconds
	Databases []Database `json:"databases,omitempty"`
	Users     []NewUser  `json:"users,omitempty"`
}

// ClusterUpdate holds what is to be different.
type ClusterUpdate struct {
	Name    string `json:"name,omitempty"`
	Policy  string `json:"policy,omitempty"`
	MinAcks *int   `json:"min_acks,omitempty"`
	MaxLag  int    `json:"max_lag,omitempty"` // seconds
}

// NewReplicas asks for replicas of an instance. What they have is its.
type NewReplicas struct {
	Name   string  `json:"name"`
	Of     string  `json:"replica_of"`
	Count  int     `json:"replica_count"`
	Access *Access `json:"access,omitempty"`
}

// Clusters lists them, newest first.
func (c *Client) Clusters(ctx context.Context) ([]Cluster, error) {
	return pages(ctx, c, "clusters", "clusters", func(k Cluster) string { return k.ID })
}

// Cluster gives one by id.
func (c *Client) Cluster(ctx context.Context, id string) (Cluster, error) {
	return c.clusterCall(ctx, http.MethodGet, path("clusters", id), nil)
}

func (c *Client) clusterCall(ctx context.Context, method, where string, in any) (Cluster, error) {
	var body struct{ Cluster Cluster }
	err := c.call(ctx, method, where, in, &body)
	return body.Cluster, err
}

// CreateCluster asks for one; it is not ready when this returns.
func (c *Client) CreateCluster(ctx context.Context, n NewCluster) (Cluster, error) {
	return c.clusterCall(ctx, http.MethodPost, "clusters", object{"cluster": n})
}

// DeleteCluster asks for its deletion, with all members.
func (c *Client) DeleteCluster(ctx context.Context, id string) error {
	return c.call(ctx, http.MethodDelete, path("clusters", id), nil, nil)
}

// ForceDeleteCluster gives up what is under way, and deletes.
func (c *Client) ForceDeleteCluster(ctx context.Context, id string) error {
	if _, err := c.clusterCall(ctx, http.MethodPost, path("clusters", id), object{"reset-status": object{}}); err != nil {
		return err
	}
	return c.DeleteCluster(ctx, id)
}

// GrowCluster asks for more members.
func (c *Client) GrowCluster(ctx context.Context, id string, more []NewMember) (Cluster, error) {
	return c.clusterCall(ctx, http.MethodPost, path("clusters", id), object{"grow": more})
}

// ShrinkCluster removes members, by id.
func (c *Client) ShrinkCluster(ctx context.Context, id string, members []string) (Cluster, error) {
	refs := make([]Ref, len(members))
	for n, m := range members {
		refs[n].ID = m
	}
	return c.clusterCall(ctx, http.MethodPost, path("clusters", id), object{"shrink": refs})
}

// RestartCluster asks for a restart of one member after the other.
func (c *Client) RestartCluster(ctx context.Context, id string) (Cluster, error) {
	return c.clusterCall(ctx, http.MethodPost, path("clusters", id), object{"restart": object{}})
}

// UpdateCluster changes what it promises, or its name.
func (c *Client) UpdateCluster(ctx context.Context, id string, u ClusterUpdate) (Cluster, error) {
	return c.clusterCall(ctx, http.MethodPatch, path("clusters", id), object{"cluster": u})
}

// Switchover asks for another primary: to, by id or name, or whoever fits best. The old one opens again when it takes longer than timeout (0: the default).
func (c *Client) Switchover(ctx context.Context, id, to string, timeout time.Duration) (Cluster, error) {
	in := object{}
	if to != "" {
		in["to"] = to
	}
	if timeout > 0 {
		in["timeout"] = int((timeout + time.Second - 1) / time.Second)
	}
	return c.clusterCall(ctx, http.MethodPost, path("clusters", id, "action"), object{"switchover": in})
}

// Failover gives the primary up.
func (c *Client) Failover(ctx context.Context, id, to string) (Cluster, error) {
	in := object{}
	if to != "" {
		in["to"] = to
	}
	return c.clusterCall(ctx, http.MethodPost, path("clusters", id, "action"), object{"failover": in})
}

// ClusterHistory gives its changes of primary, newest first; limit 0 is as many as the server gives.
func (c *Client) ClusterHistory(ctx context.Context, id string, limit int) ([]Turn, error) {
	var body struct{ History []Turn }
	err := c.call(ctx, http.MethodGet, path("clusters", id, "history")+limited(limit), nil, &body)
	return body.History, err
}

// ClusterEvents gives what became of it, oldest first; limit 0 is as many as the server gives.
func (c *Client) ClusterEvents(ctx context.Context, id string, limit int) ([]Event, error) {
	var body struct{ Events []Event }
	err := c.call(ctx, http.MethodGet, path("clusters", id, "events")+limited(limit), nil, &body)
	return body.Events, err
}

func limited(limit int) string {
	if limit <= 0 {
		return ""
	}
	return "?limit=" + strconv.Itoa(limit)
}

// ClusterMembers asks each member how it does, at this moment.
func (c *Client) ClusterMembers(ctx context.Context, id string) ([]LiveMember, error) {
	var body struct{ Members []LiveMember }
	err := c.call(ctx, http.MethodGet, path("clusters", id, "members"), nil, &body)
	return body.Members, err
}

// CreateReplicas asks for replicas of an instance, and gives the first of them.
func (c *Client) CreateReplicas(ctx context.Context, n NewReplicas) (Instance, error) {
	var body struct{ Instance Instance }
	err := c.call(ctx, http.MethodPost, "instances", object{"instance": n}, &body)
	return body.Instance, err
}

// Promote asks that a replica becomes the primary.
func (c *Client) Promote(ctx context.Context, id string) error {
	return c.act(ctx, id, object{"promote_to_replica_source": object{}})
}

// Eject gives up a primary that does not answer.
func (c *Client) Eject(ctx context.Context, id string) error {
	return c.act(ctx, id, object{"eject_replica_source": object{}})
}

// Detach asks that a replica leaves its source, with its data.
func (c *Client) Detach(ctx context.Context, id string) error {
	return c.call(ctx, http.MethodPut, path("instances", id), object{"instance": object{"replica_of": ""}}, nil)
}
