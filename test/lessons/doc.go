// Package lessons has clusters of real servers in real containers go through what has lost others their data, or their sleep: a test for each row of the tables at
// the end of docs/FAILOVER.md, by its number there.
//
// It owns the circumstances: who is struck, when, and what may not be so afterwards. What follows from the rules alone is tested where the rules are
// (internal/failover); what nobody has thought of, by test/chaos.
package lessons
