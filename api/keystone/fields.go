package keystone

import (
	"encoding/json"
	"net/url"
	"strings"

	"github.com/huker/huker/internal/model"
)

// field is a JSON field that can be absent, null or a value: in a PATCH they mean three different things.
type field[T any] struct {
	present bool
	null    bool
	value   T
}

// UnmarshalJSON implements json.Unmarshaler.
func (f *field[T]) UnmarshalJSON(data []byte) error {
	f.present = true
	if string(data) == "null" {
		f.null = true
		return nil
	}
	return json.Unmarshal(data, &f.value)
}

// ptr gives nil when the field is absent, and the zero value for null.
func (f field[T]) ptr() *T {
	if !f.present {
		return nil
	}
	return &f.value
}

// checkDomain refuses domains that do not exist, in bodies that make or change something.
func checkDomain(f field[string]) error {
	if f.present && !f.null && f.value != model.DefaultDomainID {
		return notFound("domain", f.value)
	}
	return nil
}

// domainMatches says whether a list's filter lets the one domain pass.
func domainMatches(q url.Values) bool {
	id := q.Get("domain_id")
	return id == "" || id == model.DefaultDomainID
}

// enabledMatches reads the filter "enabled" as Keystone does: "0" and "false" mean false, anything else true.
func enabledMatches(q url.Values, enabled bool) bool {
	if !q.Has("enabled") {
		return true
	}
	v := strings.ToLower(q.Get("enabled"))
	return enabled == (v != "0" && v != "false")
}

func nameMatches(q url.Values, name string) bool {
	return !q.Has("name") || q.Get("name") == name
}
