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

// Hash tells two Specs apart. Limits do not count: they change while the container lives.
func (s Spec) Hash() string {
	s.Limits = Limits{}
	data, err := json.Marshal(s)
	if err != nil { // nothing in a Spec can fail to encode
		return ""
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:16])
}

// Validate says what is wrong with a Spec, before an engine is asked.
func (s Spec) Validate() error {
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
	for _, m := range s.Mounts {
		switch {
		case !strings.HasPrefix(m.Target, "/"):
			errs = append(errs, fmt.Errorf("mount target %q is not absolute", m.Target))
		case m.Kind == MountBind && !strings.HasPrefix(m.Source, "/"):
			errs = append(errs, fmt.Errorf("mount source %q is not absolute", m.Source))
		case m.Kind == MountVolume && !nameForm.MatchString(m.Source):
			errs = append(errs, fmt.Errorf("volume name %q is not valid", m.Source))
		}
	}
	if len(errs) > 0 {
		return fmt.Errorf("runtime: bad spec: %w", errors.Join(errs...))
	}
	return nil
}
