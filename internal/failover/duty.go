package failover

import (
	"slices"

	"github.com/huker/huker/internal/durability"
)

// Role is what a record makes of a server.
type Role string

// The roles.
const (
	RolePrimary  Role = "primary"
	RoleReplica  Role = "replica"
	RoleStopped  Role = "stopped"  // a member while its primary is being replaced: receives nothing, applies what it has
	RoleQuiesced Role = "quiesced" // the primary that is being replaced: shut and read-only, and may have to open again
	RoleOutsider Role = "outsider" // shut, read-only, receives nothing: no part of the cluster for now
)

// Duty is what a server has to do under a record.
type Duty struct {
	Role Role
	Why  string // why it is shut, of one that is, in words for an operator

	// Of a replica.
	Source      string
	Acknowledge bool // such a one is open to readers, too, unless it is Shut
	Shut        bool // to readers, too

	// Of a primary.
	Open   bool     // for clients, once it has sealed; else it stays shut
	Acks   int      // for so many acknowledgements a commit waits
	Ackers []string // who may give them
	Admit  []string // Ackers, and those who replicate without acknowledging: nobody else may have a dump thread. Sorted.
}

// Assign gives the duty of an instance, whose server has the given identity, under a record. A server that is not the one that the record means has no
// part in it, whatever its instance is.
func Assign(instance, server string, r durability.Record) Duty {
	if !r.Is(instance, server) {
		return Duty{Role: RoleOutsider, Why: "the record means another server by this name: this one's data is not what was promised"}
	}
	if r.Intent != nil && r.Intent.Phase == durability.Stopping {
		switch {
		case instance == r.Intent.From:
			return Duty{Role: RoleQuiesced}
		case slices.Contains(r.Members, instance) || slices.Contains(r.Learners, instance):
			return Duty{Role: RoleStopped}
		}
		return Duty{Role: RoleOutsider, Why: "a failover is under way"}
	}
	switch {
	case r.Intent != nil && r.Intent.Phase == durability.Quiescing && instance == r.Intent.From:
		return Duty{Role: RoleQuiesced}
	case instance == r.Primary:
		return Duty{
			Role: RolePrimary, Open: r.Intent == nil, Acks: r.Acks(), Ackers: r.Ackers(), Admit: sortedUnion(r.Ackers(), r.Learners),
		}
	case r.Primary == "":
		return Duty{Role: RoleOutsider, Why: "the cluster has no primary"}
	case slices.Contains(r.Ackers(), instance):
		d := Duty{Role: RoleReplica, Source: r.Primary, Acknowledge: true}
		d.Shut, d.Why = shut(instance, r)
		return d
	case slices.Contains(r.Learners, instance):
		return Duty{Role: RoleReplica, Source: r.Primary}
	}
	return Duty{Role: RoleOutsider, Why: "it is no member at present"}
}

// shut says whether a replica lets no readers in while the primary changes, and why. Who is to take over is shut before it does: that ends sessions, among them those that are
// just signing in to replicate from it. Who was the primary opens again when there is another one: until then somebody may be led to it who looks for the primary.
func shut(instance string, r durability.Record) (bool, string) {
	switch i := r.Intent; {
	case i == nil:
		return false, ""
	case i.Phase == durability.Quiescing && instance == i.To:
		return true, "it is about to become the primary"
	case i.Phase == durability.Opening && instance == i.From:
		return true, "another one is about to become the primary"
	}
	return false, ""
}

// covers says whether what was sealed under s is sealed under the terms of a later epoch, too: as many acknowledgements or more, by no others. The epochs
// follow on each other: under one in between, which this agent never saw, somebody may have been let in who is to be shut out by now.
func (s Seal) covers(epoch int64, d Duty) bool {
	return s.Epoch+1 == epoch && s.Acks >= d.Acks && !slices.ContainsFunc(s.Ackers, func(a string) bool { return !slices.Contains(d.Ackers, a) })
}

func sortedUnion(a, b []string) []string {
	out := slices.Concat(a, b)
	slices.Sort(out)
	return slices.Compact(out)
}
