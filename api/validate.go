package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"
)

// validator checks bodies against the schema that the OpenAPI document shows, and decodes them. (huma's own validation takes
// names without regard to case, and quotes values in its messages.)
type validator struct {
	registry huma.Registry
	schema   *huma.Schema
	patterns map[string]*regexp.Regexp
}

// compile prepares the patterns of all schemas that can be reached.
func (v *validator) compile() error {
	v.patterns = map[string]*regexp.Regexp{}
	return v.compileSchema(v.schema, map[*huma.Schema]bool{})
}

func (v *validator) compileSchema(s *huma.Schema, seen map[*huma.Schema]bool) error {
	s = v.resolve(s)
	if s == nil || seen[s] {
		return nil
	}
	seen[s] = true
	if s.Pattern != "" {
		re, err := regexp.Compile(s.Pattern)
		if err != nil {
			return fmt.Errorf("pattern %q: %w", s.Pattern, err)
		}
		v.patterns[s.Pattern] = re
	}
	below := append([]*huma.Schema{s.Items}, s.AnyOf...)
	for _, p := range s.Properties {
		below = append(below, p)
	}
	for _, b := range below {
		if err := v.compileSchema(b, seen); err != nil {
			return err
		}
	}
	return nil
}

func (v *validator) resolve(s *huma.Schema) *huma.Schema {
	for s != nil && s.Ref != "" {
		s = v.registry.SchemaFromRef(s.Ref)
	}
	return s
}

// decode reads a body into out. Errors are faults, and quote no values.
func (v *validator) decode(body []byte, optional bool, out any) error {
	tree, err := parseJSON(body)
	switch {
	case optional && (errors.Is(err, errNoBody) || err == nil && tree == nil):
		return nil
	case errors.Is(err, errNoBody):
		return badRequest("The request needs a body.")
	case err != nil:
		return badRequest("The request's body is not valid JSON: %s.", err)
	}
	if msg := v.check(v.schema, "", tree); msg != "" {
		return badRequest("Validation error: %s.", msg)
	}
	if err := json.Unmarshal(body, out); err != nil {
		return &fault{status: http.StatusBadRequest, message: "Validation error: a value in the request's body is out of range.", cause: errors.New("decode a body that fits its schema")}
	}
	return nil
}

// check says what is wrong with a value, or "". path is where it is.
func (v *validator) check(s *huma.Schema, path string, value any) string {
	s = v.resolve(s)
	if value == nil && s.Nullable {
		return ""
	}
	if len(s.AnyOf) > 0 {
		msg := ""
		for _, one := range s.AnyOf {
			m := v.check(one, path, value)
			if m == "" {
				return ""
			}
			if msg == "" || v.resolve(one).Type == typeOf(value) {
				msg = m
			}
		}
		return msg
	}
	if s.Type == "" {
		return ""
	}
	if got := typeOf(value); got != s.Type && (s.Type != huma.TypeNumber || got != huma.TypeInteger) {
		return fmt.Sprintf("%s must be %s, not %s", at(path), article(s.Type), got)
	}
	switch value := value.(type) {
	case map[string]any:
		return v.checkObject(s, path, value)
	case []any:
		return v.checkArray(s, path, value)
	case string:
		return v.checkString(s, path, value)
	case json.Number:
		return checkNumber(s, path, value)
	}
	return ""
}

func (v *validator) checkObject(s *huma.Schema, path string, object map[string]any) string {
	names := make([]string, 0, len(object))
	for name := range object {
		names = append(names, name)
	}
	slices.Sort(names) // so that the same body always gets the same message
	for _, name := range names {
		p, known := s.Properties[name]
		if !known {
			if s.AdditionalProperties == false {
				return fmt.Sprintf("unknown field %q in %s%s", clip(name), at(path), knownFields(s))
			}
			continue
		}
		if msg := v.check(p, join(path, name), object[name]); msg != "" {
			return msg
		}
	}
	for _, name := range s.Required {
		if _, there := object[name]; !there {
			return fmt.Sprintf("%q is a required property of %s", name, at(path))
		}
	}
	switch {
	case s.MinProperties != nil && len(object) < *s.MinProperties:
		return fmt.Sprintf("%s needs at least %d of its fields", at(path), *s.MinProperties)
	case s.MaxProperties != nil && len(object) > *s.MaxProperties:
		return fmt.Sprintf("%s takes at most %d of its fields at once", at(path), *s.MaxProperties)
	}
	return ""
}

// knownFields lists an object's fields where they are few enough to be read.
func knownFields(s *huma.Schema) string {
	const most = 8
	if len(s.Properties) > most {
		return ""
	}
	return " (known are " + strings.Join(slices.Sorted(maps.Keys(s.Properties)), ", ") + ")"
}

func (v *validator) checkArray(s *huma.Schema, path string, list []any) string {
	switch {
	case s.MinItems != nil && len(list) < *s.MinItems:
		return fmt.Sprintf("%s needs at least %d entries", at(path), *s.MinItems)
	case s.MaxItems != nil && len(list) > *s.MaxItems:
		return fmt.Sprintf("%s takes at most %d entries", at(path), *s.MaxItems)
	}
	seen := map[string]bool{}
	for i, e := range list {
		if msg := v.check(s.Items, fmt.Sprintf("%s[%d]", path, i), e); msg != "" {
			return msg
		}
		if text, ok := e.(string); ok && s.UniqueItems {
			if seen[text] {
				return fmt.Sprintf("%s holds an entry twice", at(path))
			}
			seen[text] = true
		}
	}
	return ""
}

func (v *validator) checkString(s *huma.Schema, path, text string) string {
	n := utf8.RuneCountInString(text)
	switch {
	case s.MinLength != nil && n < *s.MinLength && n == 0:
		return fmt.Sprintf("%s must not be empty", at(path))
	case s.MinLength != nil && n < *s.MinLength:
		return fmt.Sprintf("%s must have at least %d characters", at(path), *s.MinLength)
	case s.MaxLength != nil && n > *s.MaxLength:
		return fmt.Sprintf("%s must have at most %d characters", at(path), *s.MaxLength)
	case s.Pattern != "" && !v.patterns[s.Pattern].MatchString(text):
		return fmt.Sprintf("%s must match %s", at(path), s.Pattern)
	case len(s.Enum) > 0 && !slices.Contains(s.Enum, any(text)):
		return fmt.Sprintf("%s must be one of %v", at(path), s.Enum)
	}
	return ""
}

func checkNumber(s *huma.Schema, path string, number json.Number) string {
	f, err := number.Float64()
	if s.Type == huma.TypeInteger && err == nil {
		// The bounds of what a float holds exactly; nothing here counts so far.
		if f > math.MaxInt32 || f < math.MinInt32 {
			return fmt.Sprintf("%s is out of range", at(path))
		}
	}
	switch {
	case err != nil:
		return fmt.Sprintf("%s is out of range", at(path))
	case s.Minimum != nil && f < *s.Minimum:
		return fmt.Sprintf("%s must be at least %v", at(path), *s.Minimum)
	case s.Maximum != nil && f > *s.Maximum:
		return fmt.Sprintf("%s must be at most %v", at(path), *s.Maximum)
	}
	return ""
}

// typeOf names a value's type as JSON Schema does. 1.0 and 1e3 are numbers here, not integers: Go's decoder does not take them as such.
func typeOf(value any) string {
	switch value := value.(type) {
	case nil:
		return "null"
	case bool:
		return huma.TypeBoolean
	case string:
		return huma.TypeString
	case json.Number:
		if strings.ContainsAny(value.String(), ".eE") {
			return huma.TypeNumber
		}
		return huma.TypeInteger
	case []any:
		return huma.TypeArray
	}
	return huma.TypeObject
}

func article(kind string) string {
	if strings.ContainsRune("aeiou", rune(kind[0])) {
		return "an " + kind
	}
	return "a " + kind
}

func at(path string) string {
	if path == "" {
		return "the body"
	}
	return path
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// clip bounds what of a client's text is sent back.
func clip(s string) string {
	const most = 64
	if utf8.RuneCountInString(s) > most {
		return string([]rune(s)[:most]) + "..."
	}
	return s
}
