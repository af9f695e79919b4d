package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"unicode"

	"github.com/huker/huker/internal/metastore"
	"github.com/huker/huker/internal/model"
	"github.com/huker/huker/internal/protocol"
)

// CreateInstanceBody asks for an instance.
type CreateInstanceBody struct {
	Instance CreateInstance `json:"instance"`
}

// CreateInstance says what the instance is to be. Fields that belong to later work, or that mean nothing here, are known so that
// they can be refused with their reason.
type CreateInstance struct {
	Name             string        `json:"name" minLength:"1" maxLength:"255"`
	FlavorRef        FlavorRef     `json:"flavorRef,omitempty"`
	Flavor           FlavorRef     `json:"flavor,omitempty" doc:"The same as flavorRef"`
	Volume           *CreateVolume `json:"volume,omitempty"`
	Databases        []Database    `json:"databases,omitempty"`
	Users            []NewUser     `json:"users,omitempty"`
	Datastore        DatastoreWish `json:"datastore,omitempty"`
	Nics             []Nic         `json:"nics,omitempty" maxItems:"1"`
	Access           AccessChange  `json:"access,omitempty"`
	Configuration    *string       `json:"configuration,omitempty" nullable:"true"`
	ConfigurationID  *string       `json:"configuration_id,omitempty" nullable:"true"`
	ReplicaOf        *string       `json:"replica_of,omitempty" nullable:"true"`
	SlaveOf          *string       `json:"slave_of,omitempty" nullable:"true"`
	ReplicaCount     *int          `json:"replica_count,omitempty" minimum:"1" maximum:"3" nullable:"true"`
	RestorePoint     *RestorePoint `json:"restorePoint,omitempty"`
	AvailabilityZone *string       `json:"availability_zone,omitempty" nullable:"true"`
	Locality         *string       `json:"locality,omitempty" enum:"affinity,anti-affinity,soft-affinity,soft-anti-affinity" nullable:"true"`
	RegionName       *string       `json:"region_name,omitempty" nullable:"true"`
	Modules          []ModuleRef   `json:"modules,omitempty"`
}

// CreateVolume is the volume's size in GB and kind.
type CreateVolume struct {
	Size SizeGB  `json:"size"`
	Type *string `json:"type,omitempty" nullable:"true"`
}

// DatastoreWish names product and version, by ids or names.
type DatastoreWish struct {
	Type          *string `json:"type,omitempty" maxLength:"255" nullable:"true"`
	Version       *string `json:"version,omitempty" maxLength:"255" nullable:"true"`
	VersionNumber *string `json:"version_number,omitempty" maxLength:"255" nullable:"true"`
}

// Nic names a network. There is one, and it gives out the addresses.
type Nic struct {
	NetID     string `json:"net-id,omitempty"`
	NetworkID string `json:"network_id,omitempty"`
	SubnetID  string `json:"subnet_id,omitempty"`
	IPAddress string `json:"ip_address,omitempty"`
	PortID    string `json:"port-id,omitempty"`
	V4FixedIP string `json:"v4-fixed-ip,omitempty"`
	V6FixedIP string `json:"v6-fixed-ip,omitempty"`
}

// AccessChange says who may reach the instance; what is left out stays.
type AccessChange struct {
	IsPublic     *bool     `json:"is_public,omitempty"`
	AllowedCIDRs *[]string `json:"allowed_cidrs,omitempty" maxItems:"500" uniqueItems:"true"`
}

// RestorePoint names a backup.
type RestorePoint struct {
	BackupRef string `json:"backupRef"`
}

// ModuleRef names a module.
type ModuleRef struct {
	ID string `json:"id"`
}

func (s *server) createInstance(ctx context.Context, r *request, in *CreateInstanceBody) (*InstanceBody, error) {
	if in.Instance.source() != "" {
		return s.createReplicas(ctx, r, &in.Instance)
	}
	want, err := s.wanted(r, &in.Instance)
	if err != nil {
		return nil, err
	}
	var created model.Instance
	var c catalogue
	err = s.update(ctx, func(tx metastore.Tx) (err error) {
		if c, err = readCatalogue(ctx, tx); err != nil {
			return err
		}
		i := want // a fresh copy for each run
		v, err := c.wish(&in.Instance.Datastore)
		if err != nil {
			return err
		}
		f, err := findFlavor(ctx, tx, i.FlavorID)
		if err != nil {
			return err
		}
		i.DatastoreVersionID, i.FlavorID = v.ID, f.ID
		if err := s.take(ctx, tx, r.project, demand{instances: 1, ramMB: f.RAMMB, volumesGB: i.VolumeGB}); err != nil {
			return err
		}
		if err := tx.Instances().Create(ctx, &i); err != nil {
			return err
		}
		created = i
		return s.record(ctx, tx, r, &i, note{"instance.create.requested",
			fmt.Sprintf("Creation was asked for by %s: %s, flavor %s, volume of %d GB.", r.who(), v.Name, f.Name, i.VolumeGB)})
	})
	if err != nil {
		return nil, err
	}
	passStored(ctx, originCreate)
	s.kick(ctx, r, originCreate, protocol.Kick{Instance: created.ID})
	return &InstanceBody{Instance: s.detailView(r, c, created)}, nil
}

// wanted makes the row of what is asked for, as far as that needs no look at the store.
func (s *server) wanted(r *request, in *CreateInstance) (model.Instance, error) {
	if err := s.refuseForeign(in); err != nil {
		return model.Instance{}, err
	}
	flavor := orDefault(in.FlavorRef, in.Flavor)
	switch {
	case flavor == "":
		return model.Instance{}, badRequest("Validation error: instance needs a flavorRef.")
	case in.FlavorRef != "" && in.Flavor != "" && in.FlavorRef != in.Flavor:
		return model.Instance{}, badRequest("Validation error: instance.flavorRef and instance.flavor differ.")
	case in.Volume == nil:
		return model.Instance{}, badRequest("Volume size was not specified.")
	case int(in.Volume.Size) > s.Limits.MaxVolumeGB:
		return model.Instance{}, badRequest("Validation error: instance.volume.size must be at most %d.", s.Limits.MaxVolumeGB)
	}
	if t := in.Volume.Type; t != nil && *t != "" && *t != s.VolumeType {
		return model.Instance{}, notFound("The volume type %s cannot be found; there is only %s.", clip(*t), s.VolumeType)
	}
	if err := checkName(in.Name); err != nil {
		return model.Instance{}, err
	}
	bootstrap, err := bootstrapOf(in)
	if err != nil {
		return model.Instance{}, err
	}
	access := model.Access{}
	if err := in.Access.apply(&access); err != nil {
		return model.Instance{}, err
	}
	i := s.building(r, in.Name, access)
	i.FlavorID, i.VolumeGB, i.Bootstrap = string(flavor), int(in.Volume.Size), bootstrap
	return i, nil
}

// refuseForeign refuses what real clients can send and what Huker cannot do, yet or at all.
func (s *server) refuseForeign(in *CreateInstance) error {
	given := func(p *string) bool { return p != nil && *p != "" }
	switch {
	case in.ReplicaCount != nil && *in.ReplicaCount > 1:
		return badRequest("Replica count only valid when creating replicas. Cannot create %d instances.", *in.ReplicaCount)
	case in.RestorePoint != nil:
		return notImplemented("Restoring from backups is not implemented yet.")
	case given(in.Configuration), given(in.ConfigurationID):
		return notImplemented("Configuration groups are not implemented yet.")
	case len(in.Modules) > 0:
		return notImplemented("Modules are not implemented.")
	case given(in.Locality):
		return badRequest("The locality %s cannot be honoured: it is about replicas, and this instance has none.", clip(*in.Locality))
	case given(in.RegionName) && *in.RegionName != s.Region:
		return badRequest("The region %s is not this one; this is %s.", clip(*in.RegionName), s.Region)
	case given(in.AvailabilityZone) && *in.AvailabilityZone != s.Region:
		return badRequest("The availability zone %s does not exist; the only one is %s.", clip(*in.AvailabilityZone), s.Region)
	}
	for i := range in.Nics {
		if err := s.checkNic(&in.Nics[i]); err != nil {
			return err
		}
	}
	return nil
}

func (s *server) checkNic(n *Nic) error {
	switch {
	case n.IPAddress != "", n.V4FixedIP != "", n.V6FixedIP != "":
		return badRequest("A fixed address cannot be asked for: addresses come from Huker's pool.")
	case n.PortID != "":
		return badRequest("A port cannot be asked for: Huker makes its own.")
	}
	for _, id := range []string{n.NetID, n.NetworkID, n.SubnetID} {
		if id != "" && (s.NetworkID == "" || id != s.NetworkID) {
			return notFound("The network %s cannot be found; leave nics out to get an address of Huker's own network.", clip(id))
		}
	}
	if n.NetID == "" && n.NetworkID == "" && n.SubnetID == "" {
		return badRequest("Validation error: a nic needs a network_id.")
	}
	return nil
}

// wish finds the version that is asked for: the default product when none is named, its default version when none is named.
func (c catalogue) wish(w *DatastoreWish) (model.DatastoreVersion, error) {
	text := func(p *string) string {
		if p == nil {
			return ""
		}
		return *p
	}
	d, err := c.wishedDatastore(text(w.Type))
	if err != nil {
		return model.DatastoreVersion{}, err
	}
	ref := orDefault(orDefault(text(w.Version), text(w.VersionNumber)), d.DefaultVersionID)
	if ref == "" {
		return model.DatastoreVersion{}, badRequest("Default version for datastore '%s' not found; name one.", d.Name)
	}
	v, err := c.version(d.ID, ref)
	switch {
	case err != nil:
		return v, err
	case text(w.VersionNumber) != "" && text(w.VersionNumber) != v.Name:
		return v, notFound("Datastore version '%s' with number '%s' cannot be found.", v.Name, clip(text(w.VersionNumber)))
	case !v.Active:
		return v, badRequest("Datastore version '%s' is not active.", v.Name)
	}
	return v, nil
}

func (c catalogue) wishedDatastore(ref string) (model.Datastore, error) {
	if ref != "" {
		return c.datastore(ref)
	}
	if d, err := c.datastore("mysql"); err == nil {
		return d, nil
	}
	if len(c.datastores) == 0 {
		return model.Datastore{}, badRequest("There is no datastore yet: build an image first.")
	}
	return c.datastores[0], nil
}

// apply changes what is given of an access.
func (a *AccessChange) apply(to *model.Access) error {
	if a.IsPublic != nil {
		to.IsPublic = *a.IsPublic
	}
	if a.AllowedCIDRs == nil {
		return nil
	}
	to.AllowedCIDRs = make([]string, 0, len(*a.AllowedCIDRs))
	for _, text := range *a.AllowedCIDRs {
		if !strings.Contains(text, "/") {
			text += "/32" // Trove takes single addresses too; whoever enforces them needs not know
		}
		p, err := netip.ParsePrefix(text)
		if err != nil || !p.Addr().Is4() {
			return badRequest("Validation error: access.allowed_cidrs must hold IPv4 addresses or networks, like 10.0.0.0/8.")
		}
		to.AllowedCIDRs = append(to.AllowedCIDRs, p.String())
	}
	return nil
}

// maxBootstrap keeps what a new instance is to hold within one message to its guest.
const maxBootstrap = 256 << 10

// bootstrapOf checks the first databases and users, as the guest would refuse them only when nobody waits any more.
func bootstrapOf(in *CreateInstance) (*model.Bootstrap, error) {
	if len(in.Databases) == 0 && len(in.Users) == 0 {
		return nil, nil //nolint:nilnil // nothing is asked for, and that is no error
	}
	b := &model.Bootstrap{}
	var err error
	if b.Databases, err = newDatabases(in.Databases); err != nil {
		return nil, err
	}
	if b.Users, err = newUsers(in.Users); err != nil {
		return nil, err
	}
	known := make([]string, 0, len(b.Databases))
	for i := range b.Databases {
		known = append(known, b.Databases[i].Name)
	}
	for i := range b.Users {
		for _, d := range b.Users[i].Databases {
			if !slices.Contains(known, d) {
				return nil, badRequest("Database %s listed for user %s is not in the list of databases.", clip(d), clip(b.Users[i].Name))
			}
		}
	}
	if text, err := json.Marshal(b); err != nil || len(text) > maxBootstrap {
		return nil, faultf(http.StatusBadRequest, "There are too many databases and users for one request; make the rest when the instance is ready.")
	}
	return b, nil
}

// checkName refuses names that could not be read or told apart on a terminal.
func checkName(name string) error { return checkNameOf("instance.name", name) }

func checkNameOf(what, name string) error {
	seen := func(r rune) bool { return unicode.IsGraphic(r) && !unicode.IsSpace(r) }
	if !strings.ContainsFunc(name, seen) || strings.ContainsFunc(name, misleads) {
		return badRequest("Validation error: %s must not be blank or hold control characters.", what)
	}
	return nil
}

// misleads reports whether a rune in a name can make a terminal or a page show something else than the name. U+FFFD stands for what was
// no character at all.
func misleads(r rune) bool {
	return unicode.In(r, unicode.Cc, unicode.Zl, unicode.Zp, unicode.Bidi_Control) || r == unicode.ReplacementChar
}
