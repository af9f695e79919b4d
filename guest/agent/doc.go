// Package agent is the guest agent: it takes over the mysqld that the supervisor runs beside it, gives it its role, does what it is
// asked to over the bus, and tells how things are.
//
// It owns what the agent keeps on the data volume (its password, the newest cluster record, what it carried out) and the decision whether
// clients may come in. It must not know how mysqld is started (the supervisor's), how SQL is worded (admin's), or which engines
// coordination and the bus run on.
//
// Its loops are level-triggered: each compares what should be with what is, and may be killed at any line. Coordination and the bus being away
// stops neither the database nor its role.
package agent
