// Package etcd is coord.Store on etcd: the client only, small enough for a guest agent.
//
// It owns the connection, the mapping of keys and errors, sessions on leases, watches, and the rights of principals. It must not
// link etcd's server (package embedded does), and must not know what values mean.
//
// Keys: "/a/b" is stored as "c a b". The space sorts below every character that a key may hold, so that a key and all below
// it are one range, which nothing else ("/a-b", "/ab") falls into: one watch and one permission cover it. The letter keeps
// namespaces apart; the bus lives under another.
package etcd
