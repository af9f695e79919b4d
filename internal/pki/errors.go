package pki

import "errors"

var (
	// ErrMalformed means that a file or text holds no usable certificate or key.
	ErrMalformed = errors.New("pki: malformed")
	// ErrName means that a certificate cannot be issued for such a name.
	ErrName = errors.New("pki: bad name")
)
