package durability

// Policy is what a cluster does when too few members are left to acknowledge.
type Policy string

// The policies.
const (
	// Strict never answers a commit that no replica holds: with no replica left, writes wait. The default.
	Strict Policy = "strict"
	// Available goes on alone when no replica is left. Then nothing is promised and there is no automatic failover, until one is back.
	Available Policy = "available"
	// Fast is Available, and a member acknowledges what its operating system holds, before its disk does. A member whose machine lost power counts
	// as another server then, which has promised nothing: a primary and its acknowledgers losing power together wait for the primary.
	Fast Policy = "fast"
)

// Floor is the fewest acknowledgements that a primary ever waits for.
func (p Policy) Floor() int {
	if p == Available || p == Fast {
		return 0
	}
	return 1 // also of a policy that is not known
}

// Published is how many acknowledgements are published with so many members: as many as wanted (0 or less: the default of as many replicas), at
// most one of each member.
func (p Policy) Published(want, replicas, members int) int {
	if want <= 0 {
		want = DefaultAcks(replicas)
	}
	return min(want, members)
}

// InEffect is how many a primary waits for when so many are published.
func (p Policy) InEffect(published int) int { return max(published, p.Floor()) }

// Like says whether one policy may take the place of another while a cluster is in use. What members have acknowledged under fast, and which servers the record
// means, is of another kind.
func (p Policy) Like(other Policy) bool { return (p == Fast) == (other == Fast) }

// SyncRelayLog is what sync_relay_log has to be. 10000 is MySQL's default.
func (p Policy) SyncRelayLog() int {
	if p == Fast {
		return 10000
	}
	return 1
}

// DefaultAcks is the number of acknowledgements for so many replicas when none is asked for: half of them, rounded up, so that a primary and a
// minority of the others may die together.
func DefaultAcks(replicas int) int { return (replicas + 1) / 2 }
