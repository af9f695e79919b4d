package durability

import (
	"slices"
	"time"
)

// Each of these gives the record that replaces r by one compare-and-set. They change what is published; what has to be in effect before
// is for the plans (Change) and for the quorum rule (MayPromote) to know.

// Named has a server be the one that the record means by an instance.
func (r Record) Named(instance, server string) Record {
	r = r.next()
	r.Servers[instance] = server
	return r
}

// Admit has somebody replicate without acknowledging.
func (r Record) Admit(instance, server string) Record {
	r = r.next()
	r.Learners = with(r.Learners, instance)
	r.Servers[instance] = server
	return r
}

// Dismiss undoes Admit.
func (r Record) Dismiss(instance string) Record {
	r = r.next()
	r.Learners = without(r.Learners, instance)
	delete(r.Servers, instance)
	return r
}

// Publish has a learner be a member, which may acknowledge from then on.
func (r Record) Publish(instance string) Record {
	r = r.next()
	r.Learners, r.Members = without(r.Learners, instance), with(r.Members, instance)
	return r
}

// Leave has the primary shut a member out.
func (r Record) Leave(instance string) Record {
	r = r.next()
	r.Leaving = with(r.Leaving, instance)
	return r
}

// Stay undoes Leave: a member acknowledges again. It was a member all the time.
func (r Record) Stay(instance string) Record {
	r = r.next()
	r.Leaving = without(r.Leaving, instance)
	return r
}

// Unpublish has somebody be a member no more.
func (r Record) Unpublish(instance string) Record {
	r = r.next()
	r.Leaving, r.Members = without(r.Leaving, instance), without(r.Members, instance)
	delete(r.Servers, instance)
	return r
}

// Require has the primary wait for so many acknowledgements, without promising them yet.
func (r Record) Require(acks int) Record {
	r = r.next()
	r.SetAcks = acks
	return r
}

// Promise publishes so many acknowledgements. The primary waits for as many, or for the policy's floor.
func (r Record) Promise(acks int) Record {
	r = r.next()
	r.MinAcks, r.SetAcks = acks, r.Policy.InEffect(acks)
	return r
}

// Govern changes the policy to one that asks the same of members (Policy.Like). The primary waits for as many acknowledgements as are published, for the policy's
// floor, or for those that are being raised.
func (r Record) Govern(p Policy) Record {
	raising := r.SetAcks > r.Policy.InEffect(r.MinAcks)
	r = r.next()
	r.Policy = p
	if least := p.InEffect(r.MinAcks); !raising || r.SetAcks < least {
		r.SetAcks = least
	}
	return r
}

// Begin starts a change of primary, or starts one anew: from then on older confirmations do not count. A failover has no successor yet and
// no deadline.
func (r Record) Begin(kind Kind, to, reason string, now, deadline time.Time) Record {
	from := r.Source()
	r = r.next()
	r.Primary = from
	r.Intent = &Intent{Kind: kind, Phase: Stopping, Since: r.Epoch, From: from, To: to, Began: now, Deadline: deadline, Reason: reason}
	if kind == Switchover {
		r.Intent.Phase = Quiescing
	}
	return r
}

// Choose writes down who is to become the primary while that one still applies what it has received.
func (r Record) Choose(to string) Record {
	r = r.next()
	r.Intent.To = to
	return r
}

// Promote names the new primary, and who will acknowledge to it.
func (r Record) Promote(to string, members []string, acks int) Record {
	r = r.next()
	r.Primary, r.Learners = to, nil
	r.Intent.To, r.Intent.Phase = to, Opening
	r.expect(members, acks)
	return r
}

// Expect changes who will acknowledge to a new primary that has not opened yet.
func (r Record) Expect(members []string, acks int) Record {
	r = r.next()
	r.expect(members, acks)
	return r
}

func (r *Record) expect(members []string, acks int) {
	members = slices.Clone(members)
	slices.Sort(members)
	r.Intent.Members, r.Intent.MinAcks, r.Intent.SetAcks = members, acks, r.Policy.InEffect(acks)
}

// Establish ends a change of primary: the new one's members are the record's.
func (r Record) Establish() Record {
	r = r.next()
	i := r.Intent
	r.Members, r.MinAcks, r.SetAcks, r.Leaving, r.Intent = i.Members, i.MinAcks, i.SetAcks, nil, nil
	r.keepServers()
	return r
}

// Back ends a change of primary that did not come about: the old one goes on under the terms that still are the record's.
func (r Record) Back() Record {
	r = r.next()
	r.Primary = r.Intent.From
	r.Intent = nil
	r.keepServers()
	return r
}

func (r *Record) keepServers() {
	for instance := range r.Servers {
		if instance != r.Primary && !slices.Contains(r.Members, instance) && !slices.Contains(r.Learners, instance) {
			delete(r.Servers, instance)
		}
	}
}
