package runtime

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"strings"
)

var nameForm = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,200}$`)

// Hash tells two Specs apart. Limits do not count: they change while the container lives. Fields that are not set do not count
// either, so that a Spec keeps its hash when a later version of Huker knows one more field.
func (s Spec) Hash() string {
	s.Limits = Limits{}
	data, err := json.Marshal(s)
	if err != nil { // nothing in a Spec can fail to encode
		return ""
	}
	var tree any
	if err := json.Unmarshal(data, &tree); err != nil {
		return ""
	}
	if data, err = json.Marshal(prune(tree)); err != nil { // keys come out sorted
		return ""
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:16])
}

// prune takes out of objects what says nothing; lists keep their length.
func prune(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k, e := range v {
			if e = prune(e); e == nil {
				delete(v, k)
			} else {
				v[k] = e
			}
		}
		if len(v) == 0 {
			return nil
		}
		return v
	case []any:
		if len(v) == 0 {
			return nil
		}
		for i, e := range v {
			if object, ok := e.(map[string]any); ok {
				v[i] = prune(object)
			}
		}
		return v
	case string:
		if v == "" {
			return nil
		}
	case float64:
		if v == 0 {
			return nil
		}
	case bool:
		if !v {
			return nil
		}
	}
	return v
}

// Validate says what is wrong with a Spec, before an engine is asked.
func (s Spec) Validate() error { //nolint:gocyclo // a list of fields, one after the other
	var errs []error
	if !nameForm.MatchString(s.Name) {
		errs = append(errs, fmt.Errorf("name %q: letters, digits, '_', '.', '-', at most 201", s.Name))
	}
	if s.Image == "" {
		errs = append(errs, errors.New("no image"))
	}
	if s.Address != "" {
		if a, err := netip.ParseAddr(s.Address); err != nil || !a.Is4() {
			errs = append(errs, fmt.Errorf("address %q is not IPv4", s.Address))
		}
		if s.Network == "" || s.Network == "host" {
			errs = append(errs, errors.New("a fixed address needs a network"))
		}
	}
	if s.Limits.CPUs < 0 || s.Limits.MemoryMB < 0 || s.Limits.Pids < 0 {
		errs = append(errs, errors.New("limits must not be negative"))
	}
	for _, l := range []string{OwnerLabel, SpecLabel} {
		if _, ok := s.Labels[l]; ok {
			errs = append(errs, fmt.Errorf("label %s is the driver's", l))
		}
	}
	targets := map[string]bool{}
	for _, m := range s.Mounts {
		if targets[m.Target] {
			errs = append(errs, fmt.Errorf("two mounts at %s", m.Target))
		}
		targets[m.Target] = true
		switch {
		case !strings.HasPrefix(m.Target, "/"):
			errs = append(errs, fmt.Errorf("mount target %q is not absolute", m.Target))
		case m.Kind == MountBind && !strings.HasPrefix(m.Source, "/"):
			errs = append(errs, fmt.Errorf("mount source %q is not absolute", m.Source))
		case m.Kind == MountVolume && !nameForm.MatchString(m.Source):
			errs = append(errs, fmt.Errorf("volume name %q is not valid", m.Source))
		case m.Kind != MountBind && m.Kind != MountVolume && m.Kind != MountMemory:
			errs = append(errs, fmt.Errorf("unknown kind of mount %q", m.Kind))
		}
	}
	if len(errs) > 0 {
		return fmt.Errorf("%w: %w", ErrInvalid, errors.Join(errs...))
	}
	return nil
}
