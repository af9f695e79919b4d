// Package network says who may reach the databases of a host: pure rules in, iptables out.
//
// It owns the chains named HUKER-* and nothing else of the host's firewall. It must not know what an instance is.
package network
