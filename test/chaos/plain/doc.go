// Package plain makes clusters of MySQL's own: Group Replication behind MySQL Router, and asynchronous replication. They are what Huker's clusters are compared
// with, and what the instruments of test/chaos are tried on.
//
// It owns the containers and the network of each cluster, and the image with the router. It must not know Huker's programs.
package plain
