// Package rabbitmq is bus.Bus on RabbitMQ (3.10 and later).
//
// It owns the connection, what queues are like, and the rights of principals. It must not know what messages mean.
//
// # Queues
//
// A queue of the bus is a quorum queue of the same name: on the disks of a majority before a publisher is answered. What is rejected, or failed
// bus.MaxDeliveries times, goes to "<name>.dead", a quorum queue too. Queues are made on first use by whoever may: principals may not,
// theirs are made when they are admitted.
//
// RabbitMQ says that a queue is made before that is on its disk, and a queue that was made just before a crash is of no use after it. So what is
// published to a new queue waits a second and a half, once; calls do not. The exchange "huker.made.<name>", which nobody publishes to, says that the wait is
// over, and a queue without it is made anew. Whoever makes or drops a queue holds "huker.making.<name>", an exclusive queue, so that one does at a time.
// A client makes few queues at once: see makingConcurrency.
//
// A message whose handler failed is kept in hand for a pause that grows, and given back then: RabbitMQ counts how often, and delivers it to any
// server. So each server has a few more messages in hand than it handles.
//
// # Calls
//
// Each connection has a queue for replies, bound to the exchange "huker.replies" under a random name; a caller knows its reply by a random number
// that only the server of its message can know. A connection that is lost loses replies: what was not answered is asked again, with the same id.
//
// # Rights
//
// Principals are the CommonNames of TLS certificates (mechanism EXTERNAL). One may read exactly its own queues and write to the exchange of
// replies; it may make, bind and publish to nothing else. The control plane's user is an administrator, and makes the others through the
// management's API.
//
// # Losing a connection
//
// A server that hears nothing for one heartbeat interval (servers send two in it) takes its connection for lost and stops its handlers; RabbitMQ gives
// their messages to others after two intervals. A message can still be handled twice, never by two at once, unless the clock stands still.
package rabbitmq
