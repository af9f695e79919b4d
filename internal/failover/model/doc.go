// Package model is the model checker of failover: small clusters of simulated servers, on which failover.Decide and failover.Conduct run as they are, in every
// order in which messages can come and machines can fail, up to a bound.
//
// It owns the simulation and the search. It must not know how the decisions are made; and nothing but tests uses it.
package model
