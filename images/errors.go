package images

import "errors"

// Errors that callers tell apart, wrapped.
var (
	// ErrUnknown means that versions.yaml has no such entry.
	ErrUnknown = errors.New("images: no such engine and version")
	// ErrNotBuilt means that the engine has no image of the entry as it is now.
	ErrNotBuilt = errors.New("images: not built")
	// ErrBroken means that an image is there but is not what it claims to be.
	ErrBroken = errors.New("images: broken image")
	// ErrNoBase means that no base image could be pulled, and none could be made either.
	ErrNoBase = errors.New("images: no base image")
)
