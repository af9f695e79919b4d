package api

import (
	"math"

	"github.com/huker/huker/internal/model"
)

// InstancesBody lists instances.
type InstancesBody struct {
	Instances      []InstanceView `json:"instances"`
	Links          []Link         `json:"links,omitempty"`
	InstancesLinks []Link         `json:"instances_links,omitempty"`
}

// InstanceDetailsBody lists instances with all details.
type InstanceDetailsBody struct {
	Instances      []InstanceDetail `json:"instances"`
	Links          []Link           `json:"links,omitempty"`
	InstancesLinks []Link           `json:"instances_links,omitempty"`
}

// InstanceBody is one instance.
type InstanceBody struct {
	Instance InstanceDetail `json:"instance"`
}

// InstanceView is an instance as lists show it.
type InstanceView struct {
	ID              string        `json:"id"`
	Name            string        `json:"name"`
	Status          string        `json:"status" enum:"BUILD,ACTIVE,REBOOT,RESIZE,SHUTDOWN,ERROR,UPGRADE,RESTART_REQUIRED,PROMOTE,EJECT,DETACH"`
	OperatingStatus string        `json:"operating_status" doc:"Empty while a task is under way"`
	Links           []Link        `json:"links"`
	Flavor          InstanceRef   `json:"flavor"`
	Datastore       DatastoreName `json:"datastore"`
	Region          string        `json:"region"`
	Access          AccessView    `json:"access"`
	Volume          VolumeView    `json:"volume"`
	IP              []string      `json:"ip,omitempty" doc:"The database answers at port 3306 of it"`
	Addresses       []AddressView `json:"addresses,omitempty"`
	InstanceKin
	*InstanceTenant
}

// InstanceTenant is what lists show to administrators besides.
type InstanceTenant struct {
	TenantID string `json:"tenant_id" required:"false"`
}

// InstanceRef names another resource.
type InstanceRef struct {
	ID    string `json:"id"`
	Links []Link `json:"links"`
}

// DatastoreName names a product and a version.
type DatastoreName struct {
	Type          string `json:"type"`
	Version       string `json:"version"`
	VersionNumber string `json:"version_number,omitempty"`
}

// AccessView says who may reach the instance.
type AccessView struct {
	IsPublic     bool     `json:"is_public"`
	AllowedCIDRs []string `json:"allowed_cidrs"`
}

// VolumeView is an instance's volume; sizes in GB.
type VolumeView struct {
	Size        int     `json:"size"`
	Used        float64 `json:"used,omitempty"`
	UsedPercent float64 `json:"used_percent,omitempty"`
}

// AddressView is where the database answers, at port 3306.
type AddressView struct {
	Address string `json:"address"`
	Type    string `json:"type" enum:"private,public"`
	Network string `json:"network,omitempty"`
}

// InstanceDetail is an instance with all details.
type InstanceDetail struct {
	InstanceView
	Created              Time       `json:"created"`
	Updated              Time       `json:"updated"`
	ServiceStatusUpdated Time       `json:"service_status_updated"`
	Fault                *FaultView `json:"fault,omitempty"`
	*InstanceAdmin
}

// InstanceAdmin is what administrators see besides.
type InstanceAdmin struct {
	ServerID             *string `json:"server_id" required:"false"`
	VolumeID             *string `json:"volume_id" required:"false"`
	EncryptedRPCMessages bool    `json:"encrypted_rpc_messaging" required:"false"`
}

// FaultView is why an instance is in ERROR.
type FaultView struct {
	Message string `json:"message"`
	Created Time   `json:"created"`
	Details string `json:"details"`
}

func (s *server) instanceView(r *request, c catalogue, i model.Instance) InstanceView {
	datastore, version := c.names(i.DatastoreVersionID)
	v := InstanceView{
		ID: i.ID, Name: i.Name, Status: string(i.Status), OperatingStatus: string(i.OperatingStatus),
		Links: r.links("instances", i.ID), Flavor: InstanceRef{ID: i.FlavorID, Links: r.links("flavors", i.FlavorID)},
		Datastore: DatastoreName{Type: datastore, Version: version}, Region: s.Region,
		Access: AccessView{IsPublic: i.Access.IsPublic, AllowedCIDRs: append([]string{}, i.Access.AllowedCIDRs...)},
		Volume: VolumeView{Size: i.VolumeGB},
	}
	if k := c.kin[i.ClusterID]; k != nil {
		status, operating := k.shown(&i)
		v.Status, v.OperatingStatus, v.InstanceKin = string(status), string(operating), r.kinView(k, &i)
	}
	if i.Address != "" {
		v.IP = []string{i.Address}
		v.Addresses = []AddressView{{Address: i.Address, Type: "private", Network: s.NetworkID}}
		if i.Access.IsPublic {
			v.Addresses = append(v.Addresses, AddressView{Address: i.Address, Type: "public", Network: s.NetworkID})
		}
	}
	if r.admin() {
		v.InstanceTenant = &InstanceTenant{TenantID: i.ProjectID}
	}
	return v
}

func (s *server) detailView(r *request, c catalogue, i model.Instance) InstanceDetail {
	v := InstanceDetail{
		InstanceView: s.instanceView(r, c, i),
		Created:      Time{i.Created}, Updated: Time{i.Updated}, ServiceStatusUpdated: Time{i.ServiceStatusUpdated},
	}
	v.Datastore.VersionNumber = v.Datastore.Version
	v.Volume.Used = gigabytes(i.VolumeUsedBytes)
	if i.VolumeGB > 0 {
		v.Volume.UsedPercent = math.Round(float64(i.VolumeUsedBytes)/bytesPerGB/float64(i.VolumeGB)*1e4) / 1e2
	}
	if i.Fault != nil {
		v.Fault = &FaultView{Message: i.Fault.Message, Details: i.Fault.Details, Created: Time{i.Fault.Created}}
	}
	if r.admin() {
		v.InstanceAdmin = &InstanceAdmin{EncryptedRPCMessages: true} // guests speak TLS only
		if i.HostID != "" {
			v.ServerID, v.VolumeID = &i.ID, &i.ID // container and volume go by the instance's id
		}
	}
	return v
}

const bytesPerGB = 1 << 30

// gigabytes is to three places, and not 0 for what is not nothing.
func gigabytes(bytes int64) float64 {
	if bytes <= 0 {
		return 0
	}
	return max(math.Round(float64(bytes)/bytesPerGB*1e3)/1e3, 0.001)
}
