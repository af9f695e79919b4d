package durability

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Record is a cluster's record in coordination. Every change of it is a compare-and-set that raises Epoch by one, so that an epoch names one record.
// Lists are sorted.
type Record struct {
	Cluster string `json:"cluster"`
	Epoch   int64  `json:"epoch"`
	Primary string `json:"primary"` // instance id: who is, or is about to be, written to
	// Members may acknowledge, and MinAcks of them hold whatever was acknowledged (W of N). They are what a failover has to satisfy.
	Members []string `json:"members,omitempty"`
	MinAcks int      `json:"min_acks"`

	Policy Policy `json:"policy,omitempty"`
	// SetAcks is how many acknowledgements the primary waits for: MinAcks; or more, while it is being raised, and where a strict cluster has no member left.
	SetAcks  int      `json:"set_acks"`
	Leaving  []string `json:"leaving,omitempty"`  // those of Members that the primary must shut out, and that are removed once this is sealed
	Learners []string `json:"learners,omitempty"` // replicate, and do not acknowledge
	// Servers says which server was meant by the primary and by each member: its server_uuid, and under policy fast "uuid@boot id" of its machine. A member
	// whose volume was lost is another server under the same name, and holds nothing of what the first one acknowledged.
	Servers map[string]string `json:"servers,omitempty"`
	Intent  *Intent           `json:"intent,omitempty"` // a change of primary that is under way
}

// Kind is why the primary changes.
type Kind string

// Kinds of Intent.
const (
	Failover   Kind = "failover"
	Switchover Kind = "switchover"
)

// Phase is how far an intent has come.
type Phase string

// Phases of an Intent.
const (
	Stopping  Phase = "stopping"  // failover: members stop their receivers and confirm it
	Quiescing Phase = "quiescing" // switchover: the primary stops writes, and its successor catches up
	Opening   Phase = "opening"   // the new primary is named; it opens once it has sealed under its new members
)

// Intent is a change of primary. Until it is over, Record.Members and Record.MinAcks stay those of From: in the phase Opening the new primary
// is still one of Members.
type Intent struct {
	Kind     Kind      `json:"kind"`
	Phase    Phase     `json:"phase"`
	Since    int64     `json:"since"` // the epoch that began this attempt: confirmations of older ones do not count
	From     string    `json:"from"`
	To       string    `json:"to,omitempty"`
	Began    time.Time `json:"began"`
	Deadline time.Time `json:"deadline"` // of a switchover: after it the old primary opens again
	Reason   string    `json:"reason"`

	// Of the new primary, from Opening on: what Record's will be.
	Members []string `json:"members,omitempty"`
	MinAcks int      `json:"min_acks"`
	SetAcks int      `json:"set_acks"`
}

// ErrInvalid is every error of Validate, wrapped.
var ErrInvalid = errors.New("not a lawful record")

// Source is the primary whose acknowledgements Members and MinAcks speak of.
func (r Record) Source() string {
	if r.Intent != nil {
		return r.Intent.From
	}
	return r.Primary
}

// Ackers are the members that may acknowledge to the record's primary.
func (r Record) Ackers() []string {
	if r.Intent != nil && r.Intent.Phase == Opening {
		return r.Intent.Members
	}
	return without(r.Members, r.Leaving...)
}

// Acks is how many acknowledgements the record's primary waits for.
func (r Record) Acks() int {
	if r.Intent != nil && r.Intent.Phase == Opening {
		return r.Intent.SetAcks
	}
	return r.SetAcks
}

// Is says whether a server is the one that the record means by an instance. An instance that has no server in the record yet may be any. Of a primary, what it
// has executed counts, which a loss of power does not take under any policy: it may have another boot id.
func (r Record) Is(instance, server string) bool {
	want, ok := r.Servers[instance]
	if instance == r.Primary || instance == r.Source() {
		want, _, _ = strings.Cut(want, "@")
		server, _, _ = strings.Cut(server, "@")
	}
	return !ok || want == server
}

// Validate checks what holds of every lawful record.
func (r Record) Validate() error {
	for _, c := range []struct {
		ok   bool
		what string
	}{
		{r.Cluster != "", "no cluster"},
		{sorted(r.Members) && sorted(r.Leaving) && sorted(r.Learners), "a list is not sorted, or has somebody twice"},
		{r.MinAcks >= 0 && r.MinAcks <= len(r.Members), "more acknowledgements than members"},
		{r.SetAcks >= r.MinAcks, "fewer acknowledgements in effect than published"},
		{subset(r.Leaving, r.Members), "somebody leaves who is no member"},
		{disjoint(r.Learners, r.Members) || r.opening(), "a learner is a member"},
		{r.opening() || !slices.Contains(r.Members, r.Primary), "the primary is its own member"},
		{!slices.Contains(r.Learners, r.Primary), "the primary is a learner"},
	} {
		if !c.ok {
			return fmt.Errorf("%w: %s at epoch %d", ErrInvalid, c.what, r.Epoch)
		}
	}
	if r.Intent != nil {
		return r.Intent.validate(r)
	}
	return nil
}

func (i Intent) validate(r Record) error {
	for _, c := range []struct {
		ok   bool
		what string
	}{
		{i.From != "" && i.From != i.To, "an intent from nobody, or from one to the same"},
		{i.Since > 0 && i.Since <= r.Epoch, "an intent of the future"},
		{i.Phase == Opening || r.Primary == i.From, "another primary before the old one was stopped"},
		{i.Phase != Opening || r.Primary == i.To && slices.Contains(r.Members, i.To), "the new primary was no member"},
		{sorted(i.Members) && !slices.Contains(i.Members, i.To), "the new primary is its own member"},
		{i.MinAcks >= 0 && i.MinAcks <= len(i.Members) && i.SetAcks >= i.MinAcks, "the new primary's acknowledgements"},
		{i.Phase != Quiescing || i.Kind == Switchover && i.To != "", "a failover that asks the primary, or a switchover to nobody"},
	} {
		if !c.ok {
			return fmt.Errorf("%w: %s at epoch %d", ErrInvalid, c.what, r.Epoch)
		}
	}
	return nil
}

func (r Record) opening() bool { return r.Intent != nil && r.Intent.Phase == Opening }

// next is a copy, one epoch on.
func (r Record) next() Record {
	r.Epoch++
	r.Members, r.Leaving, r.Learners = slices.Clone(r.Members), slices.Clone(r.Leaving), slices.Clone(r.Learners)
	r.Servers = maps.Clone(r.Servers)
	if r.Servers == nil {
		r.Servers = map[string]string{}
	}
	if r.Intent != nil {
		i := *r.Intent
		i.Members = slices.Clone(i.Members)
		r.Intent = &i
	}
	return r
}

func sorted(list []string) bool {
	for i := 1; i < len(list); i++ {
		if list[i-1] >= list[i] {
			return false
		}
	}
	return true
}

func subset(a, b []string) bool {
	return !slices.ContainsFunc(a, func(s string) bool { return !slices.Contains(b, s) })
}

func disjoint(a, b []string) bool {
	return !slices.ContainsFunc(a, func(s string) bool { return slices.Contains(b, s) })
}

func without(list []string, not ...string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(s string) bool { return slices.Contains(not, s) })
}

func with(list []string, more string) []string {
	if slices.Contains(list, more) {
		return list
	}
	list = append(slices.Clone(list), more)
	slices.Sort(list)
	return list
}

// Alone is the record of an instance that is a cluster by itself: nobody acknowledges, and writes go on without.
func Alone(instance string) Record {
	return Record{Cluster: instance, Epoch: 1, Primary: instance, Policy: Available}
}

// Founding is the first record of a cluster of several: the primary is one of them, and as nobody may acknowledge yet, a strict one has its first commit wait.
func Founding(cluster, primary string, p Policy) Record {
	return Record{Cluster: cluster, Epoch: 1, Primary: primary, Policy: p, SetAcks: p.InEffect(0)}
}

// Unborn is what a member goes by that has not heard of its cluster's record yet: it has no part in anything.
func Unborn(cluster string) Record { return Record{Cluster: cluster} }
