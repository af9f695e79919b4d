// Package fleet makes several Docker hosts out of one machine, for tests of what happens between hosts and when one is lost.
//
// A host is a set of namespaces of the kernel's (processes, mounts, network, host name) with a first process, a Docker engine of its own, and one network
// interface. All hosts' interfaces, and one of the machine's own (the controller's), are plugged into a switch, which is a bridge in a network namespace
// that has nothing else. So the machine's firewall is neither asked nor changed, what is cut off is decided in one place, and a
// host is lost as by a power failure when its first process is killed: the kernel ends all others and takes mounts and interfaces away.
//
// It owns what lies in its directory, interfaces named hkf-*, and control groups in huker-fleet. It must not know what runs on the hosts.
package fleet
