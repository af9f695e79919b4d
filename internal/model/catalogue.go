package model

import "time"

// Flavor is a size of instance.
type Flavor struct {
	ID    string // a small integer as text: gophercloud reads it as an int
	Name  string
	RAMMB int     // memory limit of the container, MiB
	VCPUs float64 // CPU limit, cores; 0.5 is half of one
}

// Datastore is a database product: "mysql".
type Datastore struct {
	ID               string
	Name             string
	DefaultVersionID string
}

// DatastoreVersion is an image that an instance can be made from.
type DatastoreVersion struct {
	ID          string
	DatastoreID string
	Name        string // SELECT @@innodb_version: "9.7.4"
	Engine      string // "mysql"
	Image       string // reference for the container runtime
	Active      bool
	Created     time.Time
}

// Quota is a project's limits; -1 is no limit.
type Quota struct {
	ProjectID string
	Instances int
	RAMMB     int
	VolumesGB int
	Backups   int
}

// Usage is what a project's instances take, deletions under way included.
type Usage struct {
	Instances int
	RAMMB     int
	VolumesGB int
	Backups   int
}

// Host is a machine with a container runtime and a sysmgr.
type Host struct {
	ID      string
	Name    string
	Labels  map[string]string
	CPUs    float64
	RAMMB   int
	DiskGB  int
	Drained bool   // takes no new instances
	Removed bool   // is gone for good: what was on it is given up, its rights are taken back, and its row goes last
	Address string // where other hosts reach it; empty: there are none
	Subnet  string // of its databases; empty until it has one
	Up      bool   // its sysmgr is alive
	Since   time.Time
	Version string // of its sysmgr
	Engine  string // its container runtime
	Trouble string // why it takes no databases, or not all that it should, in words for operators; at most MostTrouble bytes
	Created time.Time
}

// MostTrouble bounds Host.Trouble, in bytes.
const MostTrouble = 1024

// HostUsage is what the instances on a host take, deletions under way included.
type HostUsage struct {
	Instances int
	CPUs      float64
	RAMMB     int
	DiskGB    int
}
