// Package zk is coord.Store on ZooKeeper (3.6 and later).
//
// It owns the connections, where keys lie in ZooKeeper's tree, sessions, watches, and the rights of principals. It must not know what
// values mean.
//
// # Keys
//
// A key is a directory of its own, "/a/b" is <root>/keys/a/b, and exists when that holds two nodes: " value" and " made-<nonce>". No
// part of a key can begin with a space, so nothing collides.
//
//   - A directory of its own lets a principal create and delete the very key that it was admitted to without rights on the directory
//     above, which others share; and lets an ephemeral key have keys below it, which ZooKeeper's ephemeral nodes cannot.
//   - The nonce is new with every creation, and every conditional change checks for the node that bears it. ZooKeeper's own
//     condition is a version that begins at 0 again when a node is deleted and made again, so that a client which was paused between reading and
//     writing could take a successor's node for its own.
//   - Directories are containers: the servers remove them some time after the last node in them went, also when that was an ephemeral one.
//     A directory whose maker died before it put something into it stays, unless the servers are told to remove those too (below).
//
// Revision is the zxid of the last change, Created that of the creation. Reading is preceded by sync, so it sees whatever was
// answered before it began, on any server. A list is not of one moment: every entry is at least as new as the call.
//
// # Sessions
//
// A session is a ZooKeeper session on a connection of its own. All ephemeral keys in one change must be of one session, and the values of
// one change must fit into the servers' jute.maxbuffer (1 MiB by default, all values and keys together): a larger one ends the
// connection, which cannot be told from an outage.
//
// A session is called lost when the leader has not been heard of for 0.65 of its time to live; session.go has the reckoning.
//
// # Rights
//
// Principals are the CommonNames of TLS certificates (scheme x509). Every node carries the control plane's right to everything and
// those of the principals that were admitted at or above it; what is made below a directory inherits its rights. Without TLS
// everybody may do everything, and NewGatekeeper's principals cannot be admitted.
//
// Who owns a prefix may make and delete what is in its directories, and write values; who reads it has nothing but ZooKeeper's right to read, on all of
// that. A prefix that many read has lists as long as they are many, on each node below it:
//
//   - To make a key takes a request with two lists, of at most 83 bytes for each principal: 1 MiB, the default of jute.maxbuffer, holds 6,300.
//   - The servers compare all entries of a list with each other before they take it, and everybody's changes wait meanwhile. With 3.8 on one core a key
//     is made in 13 ms below 100 readers, 30 ms below 300, 0.15 s below 1,000, and 1.2 s below 3,000: a thousand is what this is good for. To write a
//     key that is there, and to read it, takes no longer than without.
//   - A new reader is written on every node below: 500 keys take 0.3 s. Who had its rights already costs a look at the prefix, and, once
//     after a control plane's start, at all that is below it.
//
// A new ZooKeeper lets everybody make nodes at its root and below its own node /zookeeper. The gatekeeper takes that back before it admits the first
// principal; at the root only where nobody else has a node there.
//
// What ZooKeeper itself cannot keep from a principal:
//
//   - Up to 3.8 anybody may ask whether a node exists whose whole path he knows, and gets its times, size and session, not its value; and may have himself
//     told when it changes. Names that he does not know he is not told.
//   - A session's password follows from its number, and numbers can be guessed: whoever may connect at all can end the
//     sessions of others. That takes leases away early; it gives no rights, and Leadership.Guard still holds. Newer servers are no
//     better. Only principals that are trusted so far should get a network path to ZooKeeper.
//
// # Servers
//
// What they need besides the usual:
//
//	serverCnxnFactory=org.apache.zookeeper.server.NettyServerCnxnFactory
//	secureClientPort=2281
//	authProvider.x509=org.apache.zookeeper.server.auth.X509AuthenticationProvider
//	ssl.keyStore.location=… ssl.trustStore.location=… (PEM will do; only this deployment's authority)
//	tickTime=500                          for sessions of 1 s; a session lasts at least two ticks
//	syncLimit=2
//	maxSessionTimeout=60000               the default is twenty ticks
//	-Dzookeeper.X509AuthenticationProvider.superUser=CN=root   or a guest could make nodes that the control plane cannot remove
//	-Djute.maxbuffer=2097152              for two values of full size in one change
//	-Dznode.container.maxNeverUsedIntervalMs=3600000
//	setAcl / x509:CN=root:cdrwa           where others have nodes at the root too, or anybody may make nodes beside Huker's
package zk
