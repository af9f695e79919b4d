package durability

import (
	"errors"
	"fmt"
	"slices"

	"github.com/huker/huker/internal/gtid"
)

// Stop is a member's word that its receiver stands and will not run again by itself: the state is "stopped", not "connecting". Its agent had
// the epoch on its volume before it looked, and what it has was read after the receiver had come to a stand.
type Stop struct {
	Member string
	Server string
	Epoch  int64
	Has    gtid.Set // Retrieved ∪ Executed
}

// Quiet is the old primary's word that it acknowledges nothing any more: read_only and super_read_only are in effect, and no commit waits.
type Quiet struct {
	Server   string
	Epoch    int64
	Executed gtid.Set // all that it ever acknowledged
}

// ErrDiverged means that members have transactions which are not one history. Nobody may be promoted; a person must look.
var ErrDiverged = errors.New("members hold different histories")

// NeededAcks is how many acknowledgements the primary has to wait for.
func NeededAcks(r Record) int { return r.Acks() }

// NeededStops is how many members have to be stopped before one of them may be promoted: R with R + W > N. It is more than there are members
// where nothing is promised (W = 0): then nobody may be.
func NeededStops(r Record) int { return len(r.Members) - r.MinAcks + 1 }

// counted gives the confirmations that count for the intent that is under way: one of each member, by the server that the record means.
func counted(r Record, stops []Stop) []Stop {
	var out []Stop
	for _, s := range stops {
		if r.Intent != nil && s.Epoch >= r.Intent.Since && slices.Contains(r.Members, s.Member) && r.Servers[s.Member] == s.Server &&
			!slices.ContainsFunc(out, func(o Stop) bool { return o.Member == s.Member }) {
			out = append(out, s)
		}
	}
	return out
}

// MayPromote says whether the source can acknowledge nothing any more, and whether everything it ever acknowledged is held by those who are stopped;
// and if not, why. Any W members that acknowledged a transaction have one in common with any R that are stopped when R + W > N.
func MayPromote(r Record, stops []Stop) (bool, string) {
	switch n, needed := len(counted(r, stops)), NeededStops(r); {
	case r.Intent == nil:
		return false, "no failover was begun"
	case r.MinAcks < 1:
		return false, fmt.Sprintf("the primary %s may have acknowledged what nobody else has", r.Source())
	case n < needed:
		return false, fmt.Sprintf("%d of %d members are known to be stopped, %d must be", n, len(r.Members), needed)
	}
	return true, ""
}

// Candidates gives the stopped members that hold everything that was acknowledged: those whose set contains the sets of a quorum. The error is
// ErrDiverged when two stopped members have each what the other lacks.
func Candidates(r Record, stops []Stop) ([]string, error) {
	if ok, _ := MayPromote(r, stops); !ok {
		return nil, nil
	}
	stops = counted(r, stops)
	for i, a := range stops {
		for _, b := range stops[:i] {
			if !a.Has.Contains(b.Has) && !b.Has.Contains(a.Has) {
				return nil, fmt.Errorf("%w: %s alone has %s, %s alone has %s", ErrDiverged, a.Member, a.Has.Subtract(b.Has), b.Member, b.Has.Subtract(a.Has))
			}
		}
	}
	var fit []string
	for _, c := range stops {
		contained := 0
		for _, s := range stops {
			if c.Has.Contains(s.Has) {
				contained++
			}
		}
		if contained >= NeededStops(r) {
			fit = append(fit, c.Member)
		}
	}
	slices.Sort(fit)
	return fit, nil
}

// MayHandOver says whether a member that has executed so much may take the place of a source that is quiet; and if not, why.
func MayHandOver(r Record, q Quiet, executed gtid.Set) (bool, string) {
	switch {
	case r.Intent == nil:
		return false, "no change of primary was begun"
	case q.Epoch < r.Intent.Since:
		return false, fmt.Sprintf("the primary %s does not know yet that it has to stop", r.Source())
	case r.Servers[r.Source()] == "" || !r.Is(r.Source(), q.Server):
		return false, fmt.Sprintf("%s is not the server any more that was the primary", r.Source())
	case !executed.Contains(q.Executed):
		return false, fmt.Sprintf("%d transactions are still to be applied", q.Executed.Subtract(executed).Count())
	}
	return true, ""
}
