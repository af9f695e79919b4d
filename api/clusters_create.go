package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/huker/huker/internal/durability"
	"github.com/huker/huker/internal/metastore"
	"github.com/huker/huker/internal/model"
	"github.com/huker/huker/internal/protocol"
)

// CreateClusterBody asks for a cluster.
type CreateClusterBody struct {
	Cluster CreateCluster `json:"cluster"`
}

// CreateCluster says what the cluster is to be.
type CreateCluster struct {
	Name               string              `json:"name" minLength:"1" maxLength:"240"`
	Datastore          DatastoreWish       `json:"datastore,omitempty"`
	Instances          []NewMember         `json:"instances" minItems:"1" maxItems:"9" doc:"All of the same flavor, with volumes of the same size"`
	Locality           *string             `json:"locality,omitempty" enum:"affinity,anti-affinity,soft-affinity,soft-anti-affinity" nullable:"true"`
	ExtendedProperties *ExtendedProperties `json:"extended_properties,omitempty"`
	Configuration      *string             `json:"configuration,omitempty" nullable:"true"`
}

// NewMember is an instance that is to be made for a cluster.
type NewMember struct {
	Name             *string       `json:"name,omitempty" minLength:"1" maxLength:"255" nullable:"true" doc:"One is made of the cluster's when it is left out"`
	FlavorRef        FlavorRef     `json:"flavorRef,omitempty"`
	Flavor           FlavorRef     `json:"flavor,omitempty" doc:"The same as flavorRef"`
	Volume           *CreateVolume `json:"volume,omitempty"`
	Nics             []Nic         `json:"nics,omitempty" maxItems:"1"`
	AvailabilityZone *string       `json:"availability_zone,omitempty" nullable:"true"`
	RegionName       *string       `json:"region_name,omitempty" nullable:"true"`
	Region           *string       `json:"region,omitempty" nullable:"true" doc:"The same as region_name"`
	Modules          []ModuleRef   `json:"modules,omitempty"`
	Type             *string       `json:"type,omitempty" nullable:"true" doc:"There are no kinds of members"`
	RelatedTo        *string       `json:"related_to,omitempty" nullable:"true"`
}

// ExtendedProperties are Huker's own, in the place that Trove has for what a datastore needs.
type ExtendedProperties struct {
	Policy    string     `json:"policy,omitempty" enum:"strict,available,fast" doc:"strict, the default of more than one member: a commit is acknowledged when a replica holds it. available: writes go on when no replica is left; the default of one member. fast: the same, and replicas acknowledge before their disks have it"` //nolint:lll // a tag has no line breaks
	MinAcks   *Count     `json:"min_acks,omitempty" doc:"Replicas that hold a commit before it is acknowledged; 0, the default: half of them, rounded up"`
	MaxLag    *Count     `json:"max_lag,omitempty" doc:"Seconds that a replica may be behind and still be read from, at the read-only address: 1 to 86400; 10 by default"`
	Databases []Database `json:"databases,omitempty"`
	Users     []NewUser  `json:"users,omitempty"`
}

// Count is a number of something; old clients send it as text.
type Count int

// UnmarshalJSON takes a number or digits in a string.
func (c *Count) UnmarshalJSON(b []byte) error {
	n, err := strconv.Atoi(strings.Trim(string(b), `"`))
	*c = Count(n)
	return err
}

// MarshalJSON writes a number.
func (c Count) MarshalJSON() ([]byte, error) { return json.Marshal(int(c)) }

// Schema describes it.
func (Count) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{AnyOf: []*huma.Schema{
		{Type: huma.TypeInteger, Minimum: ptr(0.0)}, {Type: huma.TypeString, Pattern: `^[0-9]{1,9}$`},
	}}
}

func (s *server) createCluster(ctx context.Context, r *request, in *CreateClusterBody) (*ClusterBody, error) {
	want, bootstrap, err := s.clusterWanted(r, &in.Cluster)
	if err != nil {
		return nil, err
	}
	var body *ClusterBody
	var kicks []protocol.Kick
	err = s.update(ctx, func(tx metastore.Tx) error {
		c, err := readCatalogue(ctx, tx)
		if err != nil {
			return err
		}
		v, err := c.wish(&in.Cluster.Datastore)
		if err != nil {
			return err
		}
		k := &kin{cluster: want} // a fresh copy for each run
		k.cluster.DatastoreVersionID = v.ID
		size, err := s.sizeOf(ctx, tx, in.Cluster.Instances, "cluster.instances", memberSize{})
		if err != nil {
			return err
		}
		if err := tx.Clusters().Create(ctx, &k.cluster); err != nil {
			return err
		}
		if err := s.addMembers(ctx, tx, r, k, in.Cluster.Instances, size, bootstrap); err != nil {
			return err
		}
		kicks = []protocol.Kick{{Cluster: k.cluster.ID}}
		for i := range k.members {
			kicks = append(kicks, protocol.Kick{Instance: k.members[i].ID})
		}
		body = &ClusterBody{Cluster: s.clusterView(r, c, k)}
		return s.recordCluster(ctx, tx, r, &k.cluster, note{"cluster.create.requested", fmt.Sprintf(
			"Creation was asked for by %s: %d members of %s, flavor %s, volumes of %d GB, policy %s.", r.who(), len(k.members), v.Name, size.flavor.Name,
			size.volumeGB, k.cluster.Policy)})
	})
	if err != nil {
		return nil, err
	}
	passStored(ctx, originCluster)
	s.kick(ctx, r, originCluster, kicks...)
	return body, nil
}

// clusterWanted makes the row of what is asked for, as far as that needs no look at the store.
func (s *server) clusterWanted(r *request, in *CreateCluster) (model.Cluster, *model.Bootstrap, error) {
	if in.Configuration != nil && *in.Configuration != "" {
		return model.Cluster{}, nil, notImplemented("Configuration groups are not implemented yet.")
	}
	if err := checkNameOf("cluster.name", in.Name); err != nil {
		return model.Cluster{}, nil, err
	}
	now := s.now()
	c := model.Cluster{
		ID: newID(now), ProjectID: r.project, Name: in.Name, Desired: model.DesiredPresent, Generation: 1, Policy: string(durability.Strict),
		MaxLag: defaultMaxLag, Spread: defaultSpread, Status: model.StatusBuild, Created: now, Updated: now,
	}
	if len(in.Instances) == 1 {
		c.Policy = string(durability.Available)
	}
	if in.Locality != nil && *in.Locality != "" {
		c.Spread = *in.Locality
	}
	p := in.ExtendedProperties
	if p == nil {
		return c, nil, nil
	}
	if err := promise(&c, p.Policy, p.MinAcks, p.MaxLag, len(in.Instances)); err != nil {
		return c, nil, err
	}
	b, err := bootstrapOf(&CreateInstance{Databases: p.Databases, Users: p.Users})
	return c, b, err
}

// promise changes what is given of what a cluster of so many members promises, and checks that it can be kept.
func promise(c *model.Cluster, policy string, acks, lag *Count, members int) error {
	c.Policy = orDefault(policy, c.Policy)
	if acks != nil {
		c.Acks = int(*acks)
	}
	if lag != nil {
		if *lag < 1 || *lag > 86400 {
			return badRequest("Validation error: max_lag must be 1 to 86400 seconds.")
		}
		c.MaxLag = time.Duration(*lag) * time.Second
	}
	switch {
	case c.Policy == string(durability.Strict) && members < 2:
		return badRequest("A cluster of one member with policy strict would never acknowledge a write: it needs a replica that holds it. Ask for more members, or for policy available.")
	case acks != nil && c.Acks > max(members-1, 0):
		return badRequest("Validation error: min_acks is %d, but a cluster of %d has %d replicas only.", c.Acks, members, members-1)
	}
	return nil
}

// memberSize is what all members of a cluster have.
type memberSize struct {
	flavor   model.Flavor
	volumeGB int
}

// sizeOf gives the size that all new members have. has is what the cluster has; the zero value: nothing yet, so each of them must say.
func (s *server) sizeOf(ctx context.Context, tx metastore.Tx, in []NewMember, path string, has memberSize) (memberSize, error) {
	for n := range in {
		m := &in[n]
		at := fmt.Sprintf("%s[%d]", path, n)
		if err := s.refuseForeignMember(m); err != nil {
			return has, err
		}
		ref := orDefault(m.FlavorRef, m.Flavor)
		switch {
		case ref == "" && has.flavor.ID == "":
			return has, badRequest("Validation error: %s needs a flavorRef.", at)
		case m.Volume == nil && has.volumeGB == 0:
			return has, badRequest("Validation error: %s needs a volume with its size.", at)
		case m.Volume != nil && int(m.Volume.Size) > s.Limits.MaxVolumeGB:
			return has, badRequest("Validation error: %s.volume.size must be at most %d.", at, s.Limits.MaxVolumeGB)
		case m.Volume != nil && m.Volume.Type != nil && *m.Volume.Type != "" && *m.Volume.Type != s.VolumeType:
			return has, notFound("The volume type %s cannot be found; there is only %s.", clip(*m.Volume.Type), s.VolumeType)
		}
		if ref != "" {
			f, err := findFlavor(ctx, tx, string(ref))
			if err != nil {
				return has, err
			}
			if has.flavor.ID != "" && has.flavor.ID != f.ID {
				return has, badRequest("All members of a cluster have the same flavor: %s has %s, and the others have %s.", at, f.Name, has.flavor.Name)
			}
			has.flavor = f
		}
		if m.Volume != nil {
			if has.volumeGB != 0 && has.volumeGB != int(m.Volume.Size) {
				return has, badRequest("All members of a cluster have volumes of the same size: %s has %d GB, and the others have %d GB.", at, m.Volume.Size, has.volumeGB)
			}
			has.volumeGB = int(m.Volume.Size)
		}
	}
	return has, nil
}

// refuseForeignMember refuses what Trove's clients can send of a member, and what Huker cannot do.
func (s *server) refuseForeignMember(m *NewMember) error {
	if m.Type != nil && *m.Type != "" || m.RelatedTo != nil && *m.RelatedTo != "" {
		return badRequest("Members have no type and are related to nobody: any of them can become the primary.")
	}
	if m.Name != nil {
		if err := checkNameOf("a member's name", *m.Name); err != nil {
			return err
		}
	}
	region := m.RegionName
	if region == nil {
		region = m.Region
	}
	return s.refuseForeign(&CreateInstance{Nics: m.Nics, AvailabilityZone: m.AvailabilityZone, RegionName: region, Modules: m.Modules})
}

// addMembers makes rows for new members, if the project's quota has room for all of them. bootstrap is for the first one, who has it before there are others.
func (s *server) addMembers(ctx context.Context, tx metastore.Tx, r *request, k *kin, in []NewMember, size memberSize, bootstrap *model.Bootstrap) error {
	c := &k.cluster
	err := s.take(ctx, tx, c.ProjectID, demand{instances: len(in), ramMB: len(in) * size.flavor.RAMMB, volumesGB: len(in) * size.volumeGB})
	if err != nil {
		return err
	}
	number := k.lastNumber()
	first := s.now()
	for n := range in {
		m := s.building(r, "", model.Access{})
		m.Created = first.Add(time.Duration(n) * time.Millisecond) // so that there is a first one
		m.ID, m.ProjectID, m.ClusterID, m.Bootstrap = newID(m.Created), c.ProjectID, c.ID, bootstrap
		m.DatastoreVersionID, m.FlavorID, m.VolumeGB = c.DatastoreVersionID, size.flavor.ID, size.volumeGB
		bootstrap = nil
		number++
		m.Name = fmt.Sprintf("%s%s%d", c.Name, memberInfix, number)
		if in[n].Name != nil && *in[n].Name != "" {
			m.Name = *in[n].Name
		}
		if k.named(m.Name) {
			return badRequest("Cluster %s has a member %s already.", c.ID, clip(m.Name))
		}
		if err := tx.Instances().Create(ctx, &m); err != nil {
			if errors.Is(err, metastore.ErrExists) {
				return fmt.Errorf("a new member's id: %w", metastore.ErrConflict) // chance: once more
			}
			return err
		}
		k.members = append(k.members, m)
		k.changed = append(k.changed, m.ID)
		if err := s.record(ctx, tx, r, &m, note{"instance.create.requested", "Made for cluster " + c.Name + ", as was asked for by " + r.who() + "."}); err != nil {
			return err
		}
	}
	return nil
}

// memberInfix is between a cluster's name and a member's number, as in Trove.
const memberInfix = "-member-"

// lastNumber is the highest that a member's name ends in.
func (k *kin) lastNumber() (last int) {
	for i := range k.members {
		if at := strings.LastIndex(k.members[i].Name, memberInfix); at >= 0 {
			if n, err := strconv.Atoi(k.members[i].Name[at+len(memberInfix):]); err == nil {
				last = max(last, n)
			}
		}
	}
	return last
}
