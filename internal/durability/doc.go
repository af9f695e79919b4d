// Package durability is what a cluster's record promises and how it may change: who must acknowledge a commit, when a member may take the
// primary's place, and in which order a change is published and put into effect.
//
// It owns the record, its lawful changes, the quorum rule and the policies, all of them pure. It must not know who observes, who decides to change
// anything, or how it is done.
//
// All of it serves one invariant: whatever a client was told is committed is held by at least MinAcks of Members, for as long as MinAcks is not 0.
// A change that weakens what is asked (one more member, fewer acknowledgements) may be published at once and is put into effect afterwards. One that
// strengthens it (a member less, more acknowledgements, another primary) is put into effect first, then *sealed*: the primary commits one more
// transaction under the new terms, and once that is acknowledged, so is everything before it. Only then is it published.
package durability
