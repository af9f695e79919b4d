package api

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"github.com/huker/huker/internal/durability"
	"github.com/huker/huker/internal/metastore"
	"github.com/huker/huker/internal/model"
)

// ClusterActionBody is one thing to do with a cluster.
type ClusterActionBody struct {
	Grow        []NewMember     `json:"grow,omitempty" minItems:"1" maxItems:"8" doc:"As many members more; flavor and volume are the cluster's, and may be left out"`
	Shrink      []MemberRef     `json:"shrink,omitempty" minItems:"1" maxItems:"8"`
	Upgrade     *ClusterUpgrade `json:"upgrade,omitempty"`
	Restart     *Empty          `json:"restart,omitempty" doc:"One member after the other"`
	ResetStatus *Empty          `json:"reset-status,omitempty"`
	AddShard    *Empty          `json:"add_shard,omitempty"`
}

// MemberRef names a member, by its id.
type MemberRef struct {
	ID string `json:"id" minLength:"1" maxLength:"255"`
}

// ClusterUpgrade names a datastore version, by id or name.
type ClusterUpgrade struct {
	DatastoreVersion string `json:"datastore_version" minLength:"1" maxLength:"255"`
}

// MgmtClusterActionBody gives up what a cluster does.
type MgmtClusterActionBody struct {
	ResetTask Empty `json:"reset-task"`
}

// UpdateClusterBody changes what a cluster promises.
type UpdateClusterBody struct {
	Cluster UpdateCluster `json:"cluster"`
}

// UpdateCluster holds what is to be different.
type UpdateCluster struct {
	Name    *string `json:"name,omitempty" minLength:"1" maxLength:"240"`
	Policy  string  `json:"policy,omitempty" enum:"strict,available,fast"`
	MinAcks *Count  `json:"min_acks,omitempty" doc:"0: half of the replicas, rounded up"`
	MaxLag  *Count  `json:"max_lag,omitempty" doc:"Seconds: 1 to 86400"`
}

func (s *server) actOnCluster(ctx context.Context, r *request, in *ClusterActionBody) (*ClusterBody, error) {
	given := 0
	for _, is := range []bool{in.Grow != nil, in.Shrink != nil, in.Upgrade != nil, in.Restart != nil, in.ResetStatus != nil, in.AddShard != nil} {
		if is {
			given++
		}
	}
	if given != 1 {
		return nil, badRequest("Exactly one action must be given.")
	}
	return s.changeCluster(ctx, r, originCluster, func(tx metastore.Tx, k *kin) error {
		switch {
		case in.Grow != nil:
			return s.grow(ctx, tx, r, k, in.Grow)
		case in.Shrink != nil:
			return s.shrink(ctx, tx, r, k, in.Shrink)
		case in.Upgrade != nil:
			return refuseClusterUpgrade(ctx, tx, k, in.Upgrade.DatastoreVersion)
		case in.Restart != nil:
			return restartCluster(r, k)
		case in.ResetStatus != nil:
			return s.resetCluster(r, k)
		}
		return notImplemented("MySQL clusters have no shards.")
	})
}

func (s *server) mgmtActOnCluster(ctx context.Context, r *request, _ *MgmtClusterActionBody) (*none, error) {
	_, err := s.changeCluster(ctx, r, originCluster, func(_ metastore.Tx, k *kin) error { return s.resetCluster(r, k) })
	return nil, err
}

func (s *server) grow(ctx context.Context, tx metastore.Tx, r *request, k *kin, in []NewMember) error {
	if err := k.explicit("create a replica of the instance to have one more"); err != nil {
		return err
	}
	if err := k.free(); err != nil {
		return err
	}
	if n := len(k.members) + len(in); n > maxMembers {
		return badRequest("A cluster has at most %d members; these would be %d.", maxMembers, n)
	}
	var has memberSize
	for _, m := range k.members {
		f, err := findFlavor(ctx, tx, m.FlavorID)
		if err != nil {
			return err
		}
		has = memberSize{flavor: f, volumeGB: m.VolumeGB}
	}
	size, err := s.sizeOf(ctx, tx, in, "grow", has)
	if err != nil {
		return err
	}
	before := len(k.members)
	if err := s.addMembers(ctx, tx, r, k, in, size, nil); err != nil {
		return err
	}
	var names []string
	for i := range k.members[before:] {
		names = append(names, k.members[before+i].Name)
	}
	k.cluster.Generation++
	k.cluster.Status = model.StatusResize
	k.note = note{"cluster.grow.requested", "More members were asked for by " + r.who() + ": " + strings.Join(names, ", ") + "."}
	return nil
}

func (s *server) shrink(ctx context.Context, tx metastore.Tx, r *request, k *kin, in []MemberRef) error {
	if err := k.explicit("delete the replica instead"); err != nil {
		return err
	}
	if err := k.free(); err != nil {
		return err
	}
	var leave []*model.Instance
	seen := map[string]bool{}
	for _, ref := range in {
		m := k.find(ref.ID)
		switch {
		case m == nil:
			return notFound("Cluster %s has no member %s.", k.cluster.ID, clip(ref.ID))
		case seen[m.ID]:
			return badRequest("Member %s is given twice.", m.Name)
		case m.ID == k.cluster.PrimaryID:
			return badRequest("Member %s is the primary and cannot be removed: switch over to another member first.", m.Name)
		case m.Desired == model.DesiredDeleted:
			return badRequest("Member %s is being removed already.", m.Name)
		}
		seen[m.ID] = true
		leave = append(leave, m)
	}
	left := len(k.staying()) - len(leave)
	switch {
	case left < 1:
		return badRequest("A cluster keeps at least one member; delete the cluster instead.")
	case left < 2 && k.cluster.Policy == string(durability.Strict):
		return badRequest("With one member left, policy strict would let nobody write: change the policy to available first, or keep a replica.")
	}
	var names []string
	for _, m := range leave {
		unwanted(m, m.Status == model.StatusError)
		names = append(names, m.Name)
		if err := s.writeMember(ctx, tx, r, k, m, note{"instance.delete.requested", "That it leaves its cluster was asked for by " + r.who() + "."}); err != nil {
			return err
		}
	}
	k.cluster.Generation++
	k.cluster.Status = model.StatusResize
	k.note = note{"cluster.shrink.requested", "Fewer members were asked for by " + r.who() + ", without " + strings.Join(names, ", ") + "."}
	return nil
}

func restartCluster(r *request, k *kin) error {
	if err := k.explicit("restart the instances one by one"); err != nil {
		return err
	}
	if err := k.free(); err != nil {
		return err
	}
	for i := range k.members { // those that were restarted by themselves have had more of them, and have to go beyond that
		k.cluster.RestartSerial = max(k.cluster.RestartSerial, k.members[i].RestartSerial)
	}
	k.cluster.RestartSerial++
	k.cluster.Generation++
	k.cluster.Status = model.StatusReboot
	k.note = note{"cluster.restart.requested", "A restart of one member after the other was asked for by " + r.who() + "."}
	return nil
}

// resetCluster gives up what the cluster is doing. nodekeeper makes it ACTIVE once more if it is well.
func (s *server) resetCluster(r *request, k *kin) error {
	if w := k.turning(); w != nil {
		given := *w
		given.Finished, given.Fault = true, "it was given up by "+r.who()
		k.cluster.Switchover = &given
	}
	if k.cluster.Desired == model.DesiredPresent {
		k.cluster.Generation++ // or nodekeeper would take it for what it has dealt with
	}
	k.cluster.Status = model.StatusError
	k.cluster.Fault = &model.Fault{Message: "reset by " + r.who(), Created: s.now()}
	k.note = note{"cluster.status.reset", "The status was reset by " + r.who() + "."}
	return nil
}

func refuseClusterUpgrade(ctx context.Context, tx metastore.Tx, k *kin, ref string) error {
	c, err := readCatalogue(ctx, tx)
	if err != nil {
		return err
	}
	datastore, current := c.names(k.cluster.DatastoreVersionID)
	d, err := c.datastore(datastore)
	if err != nil {
		return err
	}
	v, err := c.version(d.ID, ref)
	switch {
	case err != nil:
		return err
	case v.ID == k.cluster.DatastoreVersionID:
		return badRequest("Cluster %s has datastore version %s already.", k.cluster.ID, v.Name)
	}
	return faultf(http.StatusNotImplemented, "The upgrade of cluster %s from datastore version %s to %s is not supported yet.", k.cluster.ID, current, v.Name)
}

func (s *server) updateCluster(ctx context.Context, r *request, in *UpdateClusterBody) (*ClusterBody, error) {
	u := &in.Cluster
	if u.Name != nil {
		if err := checkNameOf("cluster.name", *u.Name); err != nil {
			return nil, err
		}
	}
	return s.changeCluster(ctx, r, originUpdate, func(_ metastore.Tx, k *kin) error {
		if err := k.there(); err != nil {
			return err
		}
		before := k.cluster
		if has, want := durability.Policy(k.cluster.Policy), durability.Policy(orDefault(u.Policy, k.cluster.Policy)); !want.Like(has) {
			return badRequest("A cluster of policy %s cannot become one of policy %s: what its members hold would mean something else. Make a new cluster for that.", has, want)
		}
		if err := promise(&k.cluster, u.Policy, u.MinAcks, u.MaxLag, len(k.staying())); err != nil {
			return err
		}
		c := &k.cluster
		if c.Policy != before.Policy || c.Acks != before.Acks || c.MaxLag != before.MaxLag {
			c.Generation++
			k.note = note{"cluster.update.requested", fmt.Sprintf("Policy %s, %d acknowledgements and a lag of at most %s were asked for by %s.", c.Policy, k.acks(),
				c.MaxLag, r.who())}
		}
		if u.Name != nil && *u.Name != c.Name {
			if k.note.kind == "" {
				k.note = note{"cluster.renamed", "Renamed from " + c.Name + " to " + *u.Name + "."}
			}
			c.Name = *u.Name
		}
		if k.note.kind == "" {
			return errUnchanged
		}
		return nil
	})
}
