package api

import (
	"context"
	"slices"
	"strings"

	"github.com/huker/huker/internal/metastore"
	"github.com/huker/huker/internal/model"
)

// kin is a cluster with all its members, oldest first.
type kin struct {
	cluster model.Cluster
	members []model.Instance

	// What a change leaves.
	note    note     // in the cluster's history
	changed []string // members that nodekeeper is to look at
}

// readKin gives the clusters of instances, by id. Instances that are alone have none.
func readKin(ctx context.Context, tx metastore.Tx, is ...model.Instance) (map[string]*kin, error) {
	ids := []string{}
	for i := range is {
		if id := is[i].ClusterID; id != "" && !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	return readKinByID(ctx, tx, ids)
}

func readKinByID(ctx context.Context, tx metastore.Tx, ids []string) (map[string]*kin, error) {
	if len(ids) == 0 {
		return nil, nil //nolint:nilnil // a map that is read only
	}
	clusters, err := tx.Clusters().List(ctx, metastore.ClusterFilter{IDs: ids})
	if err != nil {
		return nil, err
	}
	members, err := tx.Instances().List(ctx, metastore.InstanceFilter{ClusterIDs: ids})
	if err != nil {
		return nil, err
	}
	all := make(map[string]*kin, len(clusters))
	for i := range clusters {
		all[clusters[i].ID] = &kin{cluster: clusters[i]}
	}
	for _, m := range slices.Backward(members) { // listed newest first
		if k := all[m.ClusterID]; k != nil {
			k.members = append(k.members, m)
		}
	}
	return all, nil
}

// kinOf gives one instance's cluster; nil of one that is alone.
func kinOf(ctx context.Context, tx metastore.Tx, i *model.Instance) (*kin, error) {
	all, err := readKin(ctx, tx, *i)
	return all[i.ClusterID], err
}

// staying are the members that nobody wants to be rid of.
func (k *kin) staying() (out []*model.Instance) {
	for i := range k.members {
		if m := &k.members[i]; m.Desired == model.DesiredPresent && !m.Detaching {
			out = append(out, m)
		}
	}
	return out
}

func (k *kin) member(id string) *model.Instance {
	for i := range k.members {
		if k.members[i].ID == id {
			return &k.members[i]
		}
	}
	return nil
}

// primary is nil before the cluster has one.
func (k *kin) primary() *model.Instance { return k.member(k.cluster.PrimaryID) }

// name is a member's, or its id when it is gone.
func (k *kin) name(id string) string {
	if m := k.member(id); m != nil {
		return m.Name
	}
	return id
}

// find gives a member by id or name; nil: there is none, or there are several of that name. One that is made in the place of another has its name, and is
// meant rather than the one that is to go.
func (k *kin) find(ref string) *model.Instance {
	if m := k.member(strings.ToLower(ref)); m != nil {
		return m
	}
	var stay, leave []*model.Instance
	for i := range k.members {
		switch m := &k.members[i]; {
		case m.Name != ref:
		case m.Desired == model.DesiredDeleted:
			leave = append(leave, m)
		default:
			stay = append(stay, m)
		}
	}
	switch {
	case len(stay) == 1:
		return stay[0]
	case len(stay) == 0 && len(leave) == 1:
		return leave[0]
	}
	return nil
}

// named says whether a member has a name.
func (k *kin) named(name string) bool {
	return slices.ContainsFunc(k.members, func(m model.Instance) bool { return m.Name == name })
}

// turning is the change of primary that was asked for and is not over; nil: none is.
func (k *kin) turning() *model.Switchover {
	if s := k.cluster.Switchover; s != nil && !s.Finished {
		return s
	}
	return nil
}

// shown is the status of a member as users see it: what is asked of its cluster may be what it is busy with.
func (k *kin) shown(i *model.Instance) (model.Status, model.OperatingStatus) {
	if i.Desired == model.DesiredDeleted || i.Status == model.StatusBuild {
		return i.Status, i.OperatingStatus
	}
	s := k.turning()
	switch {
	case i.Detaching:
		return model.StatusDetach, model.OperatingBusy
	case s != nil && s.Dead && s.From == i.ID:
		return model.StatusEject, model.OperatingBusy
	case s != nil && !s.Dead && (s.From == i.ID || s.To == i.ID):
		return model.StatusPromote, model.OperatingBusy
	}
	return i.Status, i.OperatingStatus
}

// quiet refuses a change of a member while its cluster changes its primary, or it is about to leave.
func (k *kin) quiet(i *model.Instance) error {
	if k == nil {
		return nil
	}
	if s := k.turning(); s != nil || i.Detaching {
		shown := *i
		shown.Status, _ = k.shown(i)
		if shown.Status != i.Status {
			return notReady(&shown)
		}
		return unprocessable("Instance %s is not ready: the primary of its cluster %s is being changed.", i.ID, k.cluster.ID)
	}
	return nil
}

// belongs refuses what is done with the cluster as a whole, and not with one of its members.
func (k *kin) belongs(i *model.Instance, hint string) error {
	if k == nil || k.cluster.Implicit {
		return nil
	}
	return forbidden("Instance %s is a member of cluster %s: %s.", i.ID, k.cluster.ID, hint)
}

// InstanceKin is an instance's place in a cluster; of one that is alone nothing of it is there.
type InstanceKin struct {
	ClusterID string        `json:"cluster_id,omitempty" required:"false" doc:"The cluster that it is a member of"`
	Role      string        `json:"role,omitempty" required:"false" enum:"primary,replica" doc:"In its cluster, or among an instance and its replicas"`
	ReplicaOf *InstanceRef  `json:"replica_of,omitempty" required:"false"`
	Replicas  []InstanceRef `json:"replicas,omitempty" required:"false"`
}

// kinView says whose replica an instance is, or whose member.
func (r *request) kinView(k *kin, i *model.Instance) InstanceKin {
	if k == nil {
		return InstanceKin{}
	}
	v := InstanceKin{Role: string(i.Role)}
	ref := func(id string) InstanceRef { return InstanceRef{ID: id, Links: r.links("instances", id)} }
	switch {
	case !k.cluster.Implicit:
		v.ClusterID = k.cluster.ID
	case k.cluster.PrimaryID == i.ID:
		for n := range k.members {
			if m := &k.members[n]; m.ID != i.ID {
				v.Replicas = append(v.Replicas, ref(m.ID))
			}
		}
		if len(v.Replicas) == 0 {
			v.Role = "" // the last one is gone: users see an instance as any other
		}
	case k.cluster.PrimaryID != "":
		v.ReplicaOf = ptr(ref(k.cluster.PrimaryID))
	}
	return v
}
