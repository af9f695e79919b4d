package client

import (
	"encoding/json"
	"time"
)

// Time is a moment as the API writes it: UTC, without a zone.
type Time struct{ time.Time }

const timeForm = "2006-01-02T15:04:05"

// UnmarshalJSON reads the API's form.
func (t *Time) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return err
	}
	if s == "" {
		return nil
	}
	v, err := time.Parse(timeForm, s)
	t.Time = v
	return err
}

// MarshalJSON writes RFC 3339, which says that it is UTC.
func (t Time) MarshalJSON() ([]byte, error) { return json.Marshal(t.UTC().Format(time.RFC3339)) }

// Instance is a database server.
type Instance struct {
	ID              string    `json:"id"`
	Name            string    `json:"name"`
	Status          string    `json:"status"`
	OperatingStatus string    `json:"operating_status"`
	Datastore       Datastore `json:"datastore"`
	Flavor          Ref       `json:"flavor"`
	Volume          Volume    `json:"volume"`
	Region          string    `json:"region"`
	Access          Access    `json:"access"`
	Addresses       []Address `json:"addresses"`
	IP              []string  `json:"ip"`
	Created         Time      `json:"created,omitzero"` // listings leave it out
	Updated         Time      `json:"updated,omitzero"`
	Fault           *Fault    `json:"fault,omitempty"`
	Project         string    `json:"tenant_id,omitempty"`
	Cluster         string    `json:"cluster_id,omitempty"` // id
	Role            string    `json:"role,omitempty"`       // "primary" or "replica"; empty: it is alone
	ReplicaOf       *Ref      `json:"replica_of,omitempty"`
	Replicas        []Ref     `json:"replicas,omitempty"`
}

// Address gives where the database answers, at port 3306: the public address if there is one. Empty while it has none.
func (i Instance) Address() string {
	for _, kind := range []string{"public", "private"} {
		for _, a := range i.Addresses {
			if a.Type == kind {
				return a.Address
			}
		}
	}
	if len(i.IP) > 0 {
		return i.IP[0]
	}
	return ""
}

// Ready reports whether the database serves and nothing is under way.
func (i Instance) Ready() bool { return i.Status == "ACTIVE" && i.OperatingStatus == "HEALTHY" }

// Failed reports whether what was asked for has been given up.
func (i Instance) Failed() bool { return i.Status == "ERROR" || i.Status == "FAILED" }

// Datastore is a product and a version of it.
type Datastore struct {
	Type    string `json:"type"`
	Version string `json:"version"`
}

// Ref names another resource.
type Ref struct {
	ID string `json:"id"`
}

// Volume sizes are in GB.
type Volume struct {
	Size int     `json:"size"`
	Used float64 `json:"used,omitempty"`
}

// Access says who may reach an instance.
type Access struct {
	IsPublic     bool     `json:"is_public"`
	AllowedCIDRs []string `json:"allowed_cidrs"`
}

// Address of an instance.
type Address struct {
	Address string `json:"address"`
	Type    string `json:"type"`
	Network string `json:"network,omitempty"`
}

// Fault is why an instance is in ERROR.
type Fault struct {
	Message string `json:"message"`
	Details string `json:"details,omitempty"`
	Created Time   `json:"created"`
}

// NewInstance asks for one.
type NewInstance struct {
	Name      string            `json:"name"`
	Flavor    string            `json:"flavorRef"`
	Volume    Volume            `json:"volume"`
	Datastore map[string]string `json:"datastore,omitempty"` // "type", "version"
	Databases []Database        `json:"databases,omitempty"`
	Users     []NewUser         `json:"users,omitempty"`
	Access    *Access           `json:"access,omitempty"`
}

// Event is a line of an instance's history.
type Event struct {
	ID        int64  `json:"id"`
	Time      Time   `json:"time"`
	Kind      string `json:"kind"`
	Message   string `json:"message"`
	RequestID string `json:"request_id,omitempty"`
}

// Database is a schema.
type Database struct {
	Name         string `json:"name"`
	CharacterSet string `json:"character_set,omitempty"`
	Collate      string `json:"collate,omitempty"`
}

// NewUser is one to make.
type NewUser struct {
	Name      string     `json:"name"`
	Host      string     `json:"host,omitempty"`
	Password  string     `json:"password"`
	Databases []Database `json:"databases,omitempty"`
}

// User is an account of an instance, with the databases that it has all rights on.
type User struct {
	Name      string     `json:"name"`
	Host      string     `json:"host"`
	Databases []Database `json:"databases"`
}

// String gives name@host.
func (u User) String() string { return u.Name + "@" + u.Host }

// Flavor is a size of instance; RAM in MiB.
type Flavor struct {
	ID    string  `json:"str_id"`
	Name  string  `json:"name"`
	RAM   int     `json:"ram"`
	VCPUs float64 `json:"vcpus"`
}

// QuotaUsage is one resource; a limit of -1 is none.
type QuotaUsage struct {
	Resource string `json:"resource"`
	InUse    int    `json:"in_use"`
	Limit    int    `json:"limit"`
}

// Log of an instance; size in bytes.
type Log struct {
	Name   string `json:"name"`
	Type   string `json:"type"`
	Status string `json:"status"`
	Size   int64  `json:"pending"`
}

// LogPart is a piece of a log.
type LogPart struct {
	Content []byte `json:"content"`
	Offset  int64  `json:"offset"`
	Size    int64  `json:"size"`
}

// Project of the identity service.
type Project struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

// Host is a machine that databases are on.
type Host struct {
	Name      string            `json:"name"`
	Up        bool              `json:"up"`
	Since     string            `json:"since,omitempty"`
	Drained   bool              `json:"drained"`
	Removed   bool              `json:"removed"`
	Address   string            `json:"address"`
	Subnet    string            `json:"subnet"`
	Labels    map[string]string `json:"labels"`
	Version   string            `json:"version"`
	Engine    string            `json:"engine"`
	Trouble   string            `json:"trouble,omitempty"`
	Capacity  HostAmount        `json:"capacity"`
	Used      HostAmount        `json:"used"`
	Instances int               `json:"instanceCount"`
	Created   string            `json:"created"`
}

// HostAmount is of what a host has: processors, memory in MB, disk in GB.
type HostAmount struct {
	CPUs float64 `json:"cpus"`
	RAM  int     `json:"ram"`
	Disk int     `json:"disk"`
}
