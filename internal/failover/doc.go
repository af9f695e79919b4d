// Package failover decides, for one cluster, what is done next so that somebody may be written to and nothing that was acknowledged is lost.
//
// It owns two pure functions and what they rest on: Decide, which the manager asks (what is to be done about what is seen?), and Conduct, which the
// agent of each server asks (what does the record ask of this server next?). It must not know how anything is observed, sent, or done; nor what
// time it is.
//
// The record is the order. The manager changes it by compare-and-set, everybody goes by the newest one they know, and what a server has to do
// (Assign) follows from the record alone. So a message that is late, lost, or comes twice tells nobody anything but "there is an epoch N", and
// whoever knows a newer one refuses it.
package failover
