// Package etcdbus is bus.Bus on etcd: a message is a key, a queue is the keys below one prefix.
//
// It owns the layout of those keys and the protocol of delivery. It must not know what messages mean, and links etcd's
// client only.
//
// Below "b <queue>":
//
//	b <id>  the message: envelope and body          (with a lease when it has a deadline)
//	c <id>  claim: a server has it in hand          (ephemeral: goes with the server's session)
//	d <id>  how often it was delivered, and the pause before the next time
//	e <id>  it is queued; its creation is its place in the order
//	r <id>  the reply to a call                     (with a lease)
//	x <id>  dead letter
//
// A server watches c, d and e only, so bodies travel once, to the server that claims the message; replies and dead letters wake nobody
// but the caller. All of a message changes in one transaction, so there is no state in between: published is b+e, claimed is
// c+d besides, done is none of them. The server that died leaves c to its session's end, by which the message is free again; the
// count in d has been raised before the handler ran, so that a message that kills its servers ends among the dead letters.
//
// One id is queued once: publishing it again before it is done changes nothing, and a second call with it waits for the same
// reply. With concurrency 1 (and one server) messages are handled in the order in which they were stored; one that failed
// waits for its next turn while later ones are handled.
package etcdbus
