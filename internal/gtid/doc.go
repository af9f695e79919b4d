// Package gtid is sets of global transaction identifiers as MySQL 9.7 writes and reads them, tags included: which transactions a server
// has, and what one has that another lacks.
//
// It owns the text form and the algebra. It must not know what the sets are used for, nor where they come from.
package gtid
