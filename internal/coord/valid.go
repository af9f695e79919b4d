package coord

import (
	"errors"
	"fmt"
	"time"
)

// Limits of every engine.
const (
	MaxValue = 512 << 10 // bytes
	MaxKey   = 512       // bytes
	MaxOps   = 64        // in one change
	MinTTL   = time.Second
)

// ErrInvalid means that the request breaks the contract: a bad key, too large a value. It never succeeds.
var ErrInvalid = errors.New("coord: invalid request")

// CheckKey tells why key is none: it must be absolute, of parts made of printable ASCII without space, none of them empty, "." or "..".
// That is what all engines can hold; ephemeral keys have none below them (ZooKeeper).
func CheckKey(key string) error {
	if key == "" || key[0] != '/' {
		return fmt.Errorf("%w: key %q is not absolute", ErrInvalid, key)
	}
	if len(key) > MaxKey {
		return fmt.Errorf("%w: key of %d bytes", ErrInvalid, len(key))
	}
	start := 1
	for i := 1; i <= len(key); i++ {
		if i < len(key) && key[i] != '/' {
			if key[i] <= ' ' || key[i] > '~' {
				return fmt.Errorf("%w: key %q holds %q", ErrInvalid, key, key[i])
			}
			continue
		}
		switch key[start:i] {
		case "", ".", "..":
			return fmt.Errorf("%w: key %q has a part %q", ErrInvalid, key, key[start:i])
		}
		start = i + 1
	}
	return nil
}

// CheckRights tells why rights are none that can be given: each prefix must be a key, so that "/" is no prefix.
func CheckRights(r Rights) error {
	for _, prefixes := range [][]string{r.Own, r.Read} {
		for _, p := range prefixes {
			if err := CheckKey(p); err != nil {
				return err
			}
		}
	}
	return nil
}

// CheckOps tells why ops are no change that can be applied.
func CheckOps(ops []Op) error {
	if len(ops) == 0 || len(ops) > MaxOps {
		return fmt.Errorf("%w: a change of %d operations", ErrInvalid, len(ops))
	}
	written := map[string]bool{}
	size := 0
	for _, op := range ops {
		if err := CheckKey(op.Key); err != nil {
			return err
		}
		if len(op.Value) > MaxValue {
			return fmt.Errorf("%w: value of %s has %d bytes", ErrInvalid, op.Key, len(op.Value))
		}
		if size += len(op.Value); size > 2*MaxValue {
			return fmt.Errorf("%w: values of one change have more than %d bytes", ErrInvalid, 2*MaxValue)
		}
		if op.Kind < OpCreate || op.Kind > OpCheck {
			return fmt.Errorf("%w: operation %d", ErrInvalid, op.Kind)
		}
		if op.Kind == OpCheck {
			continue
		}
		if written[op.Key] {
			return fmt.Errorf("%w: %s is written twice in one change", ErrInvalid, op.Key)
		}
		written[op.Key] = true
	}
	return nil
}
