// Package model holds Huker's nouns: what a user asks for, what was last seen of it, and who the user is.
//
// It owns names, states and the rules that need nothing but the values themselves (validation, state helpers).
// It must not know any engine: no SQL, no Docker, no HTTP, no coordination.
package model
