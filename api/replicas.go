package api

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/huker/huker/internal/durability"
	"github.com/huker/huker/internal/metastore"
	"github.com/huker/huker/internal/model"
	"github.com/huker/huker/internal/protocol"
)

const (
	// defaultMaxLag is how far a member that readers are sent to may be behind.
	defaultMaxLag = 10 * time.Second
	defaultSpread = "soft-anti-affinity"
	// maxMembers is of one cluster: MySQL's semi-synchronous replication has been proven here with so many.
	maxMembers = 9
	// switchoverTimeout is how long a change of primary may take before the old one opens again.
	switchoverTimeout = 30 * time.Second
	// failoverTimeout is longer: the new primary has to apply whatever it received, and there is no way back.
	failoverTimeout = 10 * time.Minute
)

// source is the instance that is to be replicated; empty: none is asked for.
func (in *CreateInstance) source() string {
	for _, ref := range []*string{in.ReplicaOf, in.SlaveOf} {
		if ref != nil && *ref != "" {
			return lastOfHref(*ref)
		}
	}
	return ""
}

// createReplicas makes an instance's replicas. The instance becomes the first member of an implicit cluster of its own id, if it is in none.
func (s *server) createReplicas(ctx context.Context, r *request, in *CreateInstance) (*InstanceBody, error) {
	want, err := s.replicaWanted(r, in)
	if err != nil {
		return nil, err
	}
	count := 1
	if in.ReplicaCount != nil {
		count = *in.ReplicaCount
	}
	var made []model.Instance
	var c catalogue
	var cluster string
	err = s.update(ctx, func(tx metastore.Tx) (err error) {
		source, k, err := s.sourceFor(ctx, tx, r, in.source())
		if err != nil {
			return err
		}
		if k != nil && len(k.members)+count > maxMembers {
			return badRequest("Instance %s can have at most %d replicas; it has %d.", source.ID, maxMembers-1, len(k.members)-1)
		}
		f, err := findFlavor(ctx, tx, source.FlavorID)
		if err != nil {
			return err
		}
		if err := s.take(ctx, tx, source.ProjectID, demand{instances: count, ramMB: count * f.RAMMB, volumesGB: count * source.VolumeGB}); err != nil {
			return err
		}
		if cluster, err = s.implicit(ctx, tx, &source); err != nil {
			return err
		}
		made = nil
		for n := range count {
			i := want
			i.Created = want.Created.Add(time.Duration(n) * time.Millisecond) // ids and order by them
			i.ID, i.ProjectID, i.ClusterID, i.Role = newID(i.Created), source.ProjectID, cluster, model.RoleReplica
			i.DatastoreVersionID, i.FlavorID, i.VolumeGB, i.VolumeType = source.DatastoreVersionID, source.FlavorID, source.VolumeGB, source.VolumeType
			if count > 1 {
				i.Name = fmt.Sprintf("%s-%d", in.Name, n+1)
			}
			if err := tx.Instances().Create(ctx, &i); err != nil {
				return err
			}
			if err := s.record(ctx, tx, r, &i, note{"instance.create.requested", fmt.Sprintf("A replica of %s (%s) was asked for by %s.",
				source.Name, source.ID, r.who())}); err != nil {
				return err
			}
			made = append(made, i)
		}
		c, err = catalogueFor(ctx, tx, made...)
		return err
	})
	if err != nil {
		return nil, err
	}
	passStored(ctx, originReplicate)
	kicks := []protocol.Kick{{Cluster: cluster}}
	for i := range made {
		kicks = append(kicks, protocol.Kick{Instance: made[i].ID})
	}
	s.kick(ctx, r, originReplicate, kicks...)
	return &InstanceBody{Instance: s.detailView(r, c, made[0])}, nil
}

// replicaWanted is what a replica has of its own. The rest is its source's.
func (s *server) replicaWanted(r *request, in *CreateInstance) (model.Instance, error) {
	given := func(p *string) bool { return p != nil && *p != "" }
	for _, own := range []struct {
		what string
		is   bool
	}{
		{"a flavor", in.FlavorRef != "" || in.Flavor != ""},
		{"a datastore", given(in.Datastore.Type) || given(in.Datastore.Version) || given(in.Datastore.VersionNumber)},
		{"a volume", in.Volume != nil}, {"a locality", given(in.Locality)}, {"databases", len(in.Databases) > 0}, {"users", len(in.Users) > 0},
		{"a backup", in.RestorePoint != nil},
	} {
		if own.is {
			return model.Instance{}, badRequest("A replica has what its source has: %s cannot be asked for.", own.what)
		}
	}
	plain := *in
	plain.ReplicaOf, plain.SlaveOf, plain.ReplicaCount = nil, nil, nil
	if err := s.refuseForeign(&plain); err != nil {
		return model.Instance{}, err
	}
	if err := checkName(in.Name); err != nil {
		return model.Instance{}, err
	}
	access := model.Access{}
	if err := in.Access.apply(&access); err != nil {
		return model.Instance{}, err
	}
	return s.building(r, in.Name, access), nil
}

// building is a new row.
func (s *server) building(r *request, name string, access model.Access) model.Instance {
	now := s.now()
	return model.Instance{
		ID: newID(now), ProjectID: r.project, Name: name, Desired: model.DesiredPresent, Generation: 1, VolumeType: s.VolumeType, Access: access,
		Status: model.StatusBuild, OperatingStatus: model.OperatingBusy, Created: now, Updated: now, ServiceStatusUpdated: now,
	}
}

// sourceFor gives the instance that is to be replicated, and its cluster if it has one.
func (s *server) sourceFor(ctx context.Context, tx metastore.Tx, r *request, id string) (model.Instance, *kin, error) {
	i, err := r.load(ctx, tx, id)
	if err != nil {
		return i, nil, err
	}
	k, err := kinOf(ctx, tx, &i)
	switch {
	case err != nil:
		return i, nil, err
	case k.belongs(&i, "") != nil:
		return i, nil, badRequest("Instance %s is a member of cluster %s: grow the cluster to have one more.", i.ID, i.ClusterID)
	case k != nil && k.cluster.PrimaryID != i.ID:
		return i, nil, badRequest("Cannot create a replica of a replica: instance %s is one of %s.", i.ID, k.cluster.PrimaryID)
	case k != nil && k.cluster.Desired == model.DesiredDeleted:
		return i, nil, notReady(&i)
	}
	if err := serving(&i); err != nil {
		return i, nil, err
	}
	return i, k, k.quiet(&i)
}

// implicit gives the id of the cluster of an instance that is to have replicas, and makes it when there is none.
func (s *server) implicit(ctx context.Context, tx metastore.Tx, i *model.Instance) (string, error) {
	if i.ClusterID != "" {
		return i.ClusterID, nil
	}
	now := s.now()
	c := model.Cluster{
		ID: i.ID, ProjectID: i.ProjectID, Name: i.Name, Implicit: true, Desired: model.DesiredPresent, Generation: 1, DatastoreVersionID: i.DatastoreVersionID,
		Policy: string(durability.Available), MaxLag: defaultMaxLag, Spread: defaultSpread, Status: model.StatusBuild, PrimaryID: i.ID, Created: now, Updated: now,
	}
	err := tx.Clusters().Create(ctx, &c)
	if errors.Is(err, metastore.ErrExists) {
		return "", unprocessable("Instance %s cannot have replicas: the set of instances that it was taken from still goes by its id.", i.ID)
	}
	if err != nil {
		return "", err
	}
	i.ClusterID, i.Role, i.Updated = c.ID, model.RolePrimary, now
	return c.ID, tx.Instances().Update(ctx, i)
}

// promote has a replica become the primary.
func (s *server) promote(ctx context.Context, r *request) error {
	return s.changeMember(ctx, r, originPromote, func(k *kin, i *model.Instance) error {
		switch {
		case k == nil || k.cluster.PrimaryID == i.ID:
			return badRequest("Instance %s is not a replica.", i.ID)
		case k.cluster.PrimaryID == "":
			return notReady(i)
		}
		if err := serving(i); err != nil {
			return err
		}
		return s.askForTurn(k, r, model.Switchover{To: i.ID, Timeout: switchoverTimeout})
	})
}

// eject gives up a primary that is dead. One that answers is promoted away from instead.
func (s *server) eject(ctx context.Context, r *request) error {
	i, err := s.instance(ctx, r)
	if err != nil {
		return err
	}
	answers := s.answers(ctx, i.ID)
	return s.changeMember(ctx, r, originEject, func(k *kin, i *model.Instance) error {
		switch {
		case k == nil || k.cluster.PrimaryID != i.ID || len(k.staying()) < 2:
			return badRequest("Instance %s is not a replica source.", i.ID)
		case answers:
			return badRequest("Replica source %s cannot be ejected: its database answers. Promote one of its replicas instead.", i.ID)
		}
		return s.askForTurn(k, r, model.Switchover{Dead: true, Timeout: failoverTimeout})
	})
}

// answers says whether an instance's database serves at this moment, by its own word.
func (s *server) answers(ctx context.Context, id string) bool {
	ctx, cancel := context.WithTimeout(ctx, memberTimeout)
	defer cancel()
	status, err := s.Guests.Status(ctx, id)
	return err == nil && status.Mysqld.State == protocol.MysqldServing
}

// changeMember changes the cluster of the path's instance.
func (s *server) changeMember(ctx context.Context, r *request, origin string, fn func(k *kin, i *model.Instance) error) error {
	var id, cluster string
	err := s.update(ctx, func(tx metastore.Tx) error {
		i, err := r.load(ctx, tx, r.path["id"])
		if err != nil {
			return err
		}
		k, err := kinOf(ctx, tx, &i)
		if err != nil {
			return err
		}
		if err := fn(k, &i); err != nil {
			return err
		}
		id, cluster = i.ID, k.cluster.ID
		return s.writeTurn(ctx, tx, r, k)
	})
	if err != nil {
		return err
	}
	passStored(ctx, origin)
	s.kick(ctx, r, origin, protocol.Kick{Cluster: cluster}, protocol.Kick{Instance: id})
	return nil
}

// detach has a replica leave its source with its data, and be an instance of its own.
func detach(r *request, k *kin, i *model.Instance) (note, error) {
	if err := k.belongs(i, "it can only be removed with the others, by shrinking the cluster"); err != nil {
		return note{}, err
	}
	switch {
	case k == nil || k.cluster.PrimaryID == i.ID:
		return note{}, badRequest("Instance %s is not a replica.", i.ID)
	case k.cluster.ID == i.ID:
		return note{}, unprocessable("Instance %s cannot be detached: it was the first source of its replicas, and they go by its id. Promote it and detach the "+
			"others, or delete it.", i.ID)
	}
	if err := k.quiet(i); err != nil {
		return note{}, err
	}
	if err := idle(i); err != nil {
		return note{}, err
	}
	i.Detaching = true
	i.Generation++
	return note{"instance.detach.requested", fmt.Sprintf("That it leaves its source %s was asked for by %s.", k.name(k.cluster.PrimaryID), r.who())}, nil
}
