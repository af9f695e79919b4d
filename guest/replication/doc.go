// Package replication is all that an agent does to its own mysqld, and asks of it, so that the server can do its part in a cluster: it reads
// failover.Status, carries out a failover.Act, tries a write, and replaces the server's data by a clone of another's.
//
// It owns the statements, the accounts by which members reach one another, the journal in which a primary seals, and what must be remembered of one run of
// mysqld: that super_read_only has taken hold, and what was sealed. It must not know what is to be done next (failover.Conduct's), who wrote the record,
// or who the other members are beyond their addresses.
//
// Three things about MySQL shape it:
//
//   - Some statements wait for ever: a commit for acknowledgements, SET super_read_only=ON for such commits, STOP REPLICA for a disk. They run in sessions of
//     their own, in the background; whoever asked comes back and looks.
//   - A session that waits for acknowledgements must not be killed: MySQL commits it then, with nobody holding it. Nothing here does. But a SET
//     super_read_only=ON may be, and has to be before a server becomes writable again.
//   - CREATE USER holds a lock while it waits for acknowledgements that everybody needs who signs in, members included. So sessions are opened
//     ahead of need and kept, and accounts are made without the binary log, which waits for nobody.
package replication
