// Package api is Huker's REST API: Trove v1.0 (OpenStack's database API) with a few calls of its own.
//
// It owns paths, bodies, codes and error forms, the rules of what may be asked for when, quotas, and the OpenAPI document, which is
// made from the same types that requests are checked with and answers are made of. What is asked for is written to the metadata store in
// one transaction; nodekeeper carries it out. It must not know engines: not the store's, not the bus's, not MySQL's. Who calls is said by an
// identity.Authenticator. Keystone's own API is in package api/keystone.
package api
