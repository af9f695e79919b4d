// Package pki makes the certificates that Huker's parts and its databases show one another.
//
// It owns the deployment's certificate authority (who may speak to the coordination engine, and as whom) and the
// authorities of single databases (what their clients verify). It must not know who uses a certificate for what.
//
// Certificates live as long as the authority that issued them, ten years, and are not renewed. They are never revoked here: a client's rights are taken back where
// they were given (coord.Gatekeeper), and a database's authority goes with the database.
package pki
