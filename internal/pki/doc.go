// Package pki makes the certificates that Huker's parts and its databases show one another.
//
// It owns the deployment's certificate authority (who may speak to the coordination engine, and as whom) and the
// authorities of single databases (what their clients verify). It must not know who uses a certificate for what.
//
// Renewal: an authority lives ten years, a certificate one. Whoever holds a certificate asks NeedsRenewal when it starts and
// once a day, and has a new one issued while a third of its life is left; old and new are valid side by side, so nothing has to
// happen at once. Certificates are never revoked here: a client's rights are taken back where they were given
// (coord.Gatekeeper), and a database's authority goes with the database.
package pki
