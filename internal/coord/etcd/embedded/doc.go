// Package embedded runs etcd inside the control plane: one member, its own data directory, mutual TLS.
//
// It owns the server's configuration, its life, and what a principal may call on it. It must not know what is stored.
// Only the control plane links it; guests use the client in the parent package.
package embedded
