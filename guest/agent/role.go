package agent

import (
	"fmt"
	"github.com/huker/huker/internal/durability"
)

// role is what a record makes of an instance.
type role struct {
	open bool
	why  string // when it stays locked, in words for its user
}

// decide gives the role of instance self under a record. Only a lone primary is opened here, and that from the cached record alone: with no
// published member nobody else can have been promoted.
func decide(self string, r *durability.Record) role {
	switch {
	case r == nil:
		return role{why: "the role of this database is not known: coordination has not been reached"}
	case r.Primary == "":
		return role{why: fmt.Sprintf("cluster %s has no primary at epoch %d", r.Cluster, r.Epoch)}
	case r.Primary != self:
		return role{why: fmt.Sprintf("%s is the primary at epoch %d, and this agent cannot follow one yet", r.Primary, r.Epoch)}
	case len(r.Members) > 0 || r.MinAcks > 0:
		return role{why: fmt.Sprintf("at epoch %d commits need acknowledgements, and this agent cannot ask for them yet", r.Epoch)}
	}
	return role{open: true}
}
