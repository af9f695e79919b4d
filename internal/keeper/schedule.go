package keeper

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// ZoneLabel is the label of a host that names its failure domain: hosts that have it in common are lost together.
const ZoneLabel = "zone"

// cpuShare is how many processors are promised for each there is. Databases rarely want theirs at the same time, and the kernel shares out
// what there is; memory and disk cannot be shared out twice.
const cpuShare = 16

// amount of what hosts have and instances take.
type amount struct {
	CPUs   float64
	RAMMB  int
	DiskGB int
}

func (a amount) plus(b amount) amount {
	return amount{a.CPUs + b.CPUs, a.RAMMB + b.RAMMB, a.DiskGB + b.DiskGB}
}

// candidate is a host that an instance may be put on.
type candidate struct {
	ID      string
	Zone    string // empty: a failure domain of its own
	Drained bool
	Lacking bool // what guests run has still to come to it
	Has     amount
	Used    amount
	Members int  // instances of the same cluster there
	Taken   bool // by where the others are, this one must not be there
}

// request is what is to be placed.
type request struct {
	Need  amount
	Zones map[string]int // failure domain -> members of the same cluster in it
}

// schedule chooses the host: of those with room, the one with the fewest members of the same cluster, then the failure domain with the fewest, then
// the one that is least full once it has taken the instance, by the resource it has least left of. That keeps load even, and leaves no host
// full of memory with idle disks. Without one it says why not, host by host.
func schedule(hosts []candidate, r request) (string, error) {
	var best *candidate
	var refusals []string
	none := errNoRoom
	for i := range hosts {
		h := &hosts[i]
		if why := h.refuses(r.Need); why != "" {
			refusals = append(refusals, h.ID+" "+why)
			if h.Lacking {
				none = errNoRoomYet
			}
			continue
		}
		if best == nil || h.compare(best, r) < 0 {
			best = h
		}
	}
	if best != nil {
		return best.ID, nil
	}
	if len(refusals) == 0 {
		return "", errNoHost
	}
	slices.Sort(refusals)
	return "", fmt.Errorf("%w for %d MB of memory, %g processors and %d GB of disk: %s", none, r.Need.RAMMB, r.Need.CPUs, r.Need.DiskGB,
		strings.Join(refusals, "; "))
}

// refuses says why the host cannot take what is needed; empty when it can.
func (c *candidate) refuses(need amount) string {
	after := c.Used.plus(need)
	switch {
	case c.Drained:
		return "is drained"
	case c.Lacking:
		return "waits for what guests run"
	case c.Taken && c.Members > 0:
		return "has another member of the cluster, which must not share a host"
	case c.Taken:
		return "has no member of the cluster, which must share one host"
	case after.RAMMB > c.Has.RAMMB:
		return fmt.Sprintf("has %d MB of memory left", max(c.Has.RAMMB-c.Used.RAMMB, 0))
	case after.CPUs > c.Has.CPUs*cpuShare:
		return fmt.Sprintf("has %g processors left to promise", max(c.Has.CPUs*cpuShare-c.Used.CPUs, 0))
	case after.DiskGB > c.Has.DiskGB:
		return fmt.Sprintf("has %d GB of disk left", max(c.Has.DiskGB-c.Used.DiskGB, 0))
	}
	return ""
}

func (c *candidate) compare(other *candidate, r request) int {
	return cmp.Or(
		cmp.Compare(c.Members, other.Members),
		cmp.Compare(r.zone(c), r.zone(other)),
		cmp.Compare(c.fullness(r.Need), other.fullness(r.Need)),
		strings.Compare(c.ID, other.ID),
	)
}

func (r request) zone(c *candidate) int {
	if c.Zone == "" {
		return c.Members
	}
	return r.Zones[c.Zone]
}

// fullness is the largest share of any resource that is taken, 0 to 1, once need is there too.
func (c *candidate) fullness(need amount) float64 {
	after := c.Used.plus(need)
	return max(after.CPUs/(c.Has.CPUs*cpuShare), float64(after.RAMMB)/float64(c.Has.RAMMB), float64(after.DiskGB)/float64(max(c.Has.DiskGB, 1)))
}
