package images

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Parameters is the catalogue of an image's server: every system variable, as the server itself describes it.
type Parameters struct {
	Engine     string      `json:"engine"`
	Version    string      `json:"version"`
	Parameters []Parameter `json:"parameters"` // by name
}

// Parameter is a system variable.
type Parameter struct {
	Name    string   `json:"name"`
	Scope   string   `json:"scope"`             // "global", "session" (only), "both"; empty: the server does not say
	Type    string   `json:"type"`              // "boolean", "integer", "numeric", "string", "enumeration", "set"; empty: the server does not say
	Min     string   `json:"min,omitempty"`     // of numbers
	Max     string   `json:"max,omitempty"`     // of numbers
	Default *string  `json:"default,omitempty"` // compiled in; nil where it depends on the host or on other parameters
	Values  []string `json:"values,omitempty"`  // of enumerations and sets; nil: not known
	Dynamic bool     `json:"dynamic"`           // it can be set while the server runs
	Doc     string   `json:"doc,omitempty"`
}

// Find gives the parameter of a name.
func (p Parameters) Find(name string) (Parameter, bool) {
	i, ok := slices.BinarySearchFunc(p.Parameters, name, func(v Parameter, n string) int { return strings.Compare(v.Name, n) })
	if !ok {
		return Parameter{}, false
	}
	return p.Parameters[i], true
}

// row is a line of variables.jsonl.
type row struct {
	Name          string  `json:"name"`
	Scope         string  `json:"scope"`
	Type          string  `json:"type"`
	Min           *string `json:"min"`
	Max           *string `json:"max"`
	Documentation string  `json:"documentation"`
	Global        *string `json:"global"`
	Session       *string `json:"session"`
	Source        string  `json:"source"`
}

// readOnly is MySQL's error for a variable that cannot be changed while the server runs (ER_INCORRECT_GLOBAL_LOCAL_VAR).
const readOnly = 1238

// probe is what the recipe wrote: the variables, the names that were probed in their order, the client's errors, whose line
// numbers are positions in that order, and the values of enumerations.
type probe struct{ variables, probed, refused, values []byte }

// parseParameters makes the catalogue.
func parseParameters(engine, version string, in probe) (Parameters, error) {
	static, err := parseRefused(in.probed, in.refused)
	if err != nil {
		return Parameters{}, err
	}
	values := parseValues(in.values)
	out := Parameters{Engine: engine, Version: version}
	d := json.NewDecoder(bytes.NewReader(in.variables))
	for {
		var r row
		if err := d.Decode(&r); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return Parameters{}, fmt.Errorf("reading variable %d: %w", len(out.Parameters)+1, err)
		}
		if r.Name == "" {
			return Parameters{}, fmt.Errorf("reading variable %d: it has no name", len(out.Parameters)+1)
		}
		out.Parameters = append(out.Parameters, r.parameter(static, values))
	}
	slices.SortFunc(out.Parameters, func(a, b Parameter) int { return strings.Compare(a.Name, b.Name) })
	for i := 1; i < len(out.Parameters); i++ {
		if out.Parameters[i].Name == out.Parameters[i-1].Name {
			return Parameters{}, fmt.Errorf("variable %s is there twice", out.Parameters[i].Name)
		}
	}
	return out, nil
}

// parameter turns a row into a Parameter. static tells, for each variable that was probed, whether it is read-only; values are
// those that the server told of an enumeration.
func (r row) parameter(static map[string]bool, values map[string][]string) Parameter {
	p := Parameter{Name: r.Name, Type: strings.ToLower(r.Type), Doc: strings.TrimSpace(r.Documentation)}
	readOnly, global := static[r.Name]
	p.Scope = scopeOf(r, global)
	p.Dynamic = !readOnly
	if p.Type == "integer" || p.Type == "numeric" || p.Type == "" {
		p.Min, p.Max = text(r.Min), text(r.Max)
	}
	if p.Type == "enumeration" || p.Type == "set" {
		p.Values = mergeValues(values[r.Name], valuesIn(p.Doc))
	}
	if r.Source == "COMPILED" {
		if p.Default = r.Global; p.Default == nil {
			p.Default = r.Session
		}
	}
	return p
}

// scopeOf tells where a variable lives. variables_metadata says GLOBAL, SESSION or SESSION_ONLY; without it, it shows in which
// tables the variable is.
func scopeOf(r row, global bool) string {
	switch strings.ToUpper(r.Scope) {
	case "GLOBAL":
		return "global"
	case "SESSION":
		return "both"
	case "SESSION_ONLY":
		return "session"
	}
	if !global {
		return "session"
	}
	return ""
}

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

var clientError = regexp.MustCompile(`^ERROR (\d+) \([^)]*\) at line (\d+)`)

// parseRefused tells for each probed variable whether the server called it read-only. Any other error (a value that cannot be set to
// itself, a missing privilege) means that it is dynamic.
func parseRefused(probed, refused []byte) (map[string]bool, error) {
	names := strings.Fields(string(probed))
	static := make(map[string]bool, len(names))
	for _, n := range names {
		static[n] = false
	}
	for line := range strings.Lines(string(refused)) {
		m := clientError.FindStringSubmatch(line)
		if m == nil {
			continue // the second line of a message
		}
		at, err := strconv.Atoi(m[2])
		if err != nil || at < 1 || at > len(names) {
			return nil, fmt.Errorf("reading the probe's errors: %q is about line %s of %d", strings.TrimSpace(line), m[2], len(names))
		}
		if m[1] == strconv.Itoa(readOnly) {
			static[names[at-1]] = true
		}
	}
	return static, nil
}

// parseValues reads the values of enumerations and sets that the server told when each was set by number: "name value[,value...]".
// Switches ("optimizer_switch a=on,b=off") have no values of their own.
func parseValues(data []byte) map[string][]string {
	out := map[string][]string{}
	for line := range strings.Lines(string(data)) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), " ")
		if !ok || strings.Contains(value, "=") {
			continue
		}
		for _, v := range strings.Split(value, ",") {
			if v != "" && v != "NOT_USED" && !slices.Contains(out[name], v) {
				out[name] = append(out[name], v)
			}
		}
	}
	return out
}

// mergeValues gives the values that the server told, and those besides that the documentation names if it names all of the former:
// some can be given only when the server starts.
func mergeValues(told, documented []string) []string {
	if len(told) < 2 {
		return documented
	}
	for _, v := range told {
		if !slices.Contains(documented, v) {
			return told
		}
	}
	for _, v := range documented {
		if !slices.Contains(told, v) {
			told = append(told, v)
		}
	}
	return told
}

// The documentation of a variable that cannot be set names its values in one of these ways.
var (
	valueList = []*regexp.Regexp{
		regexp.MustCompile(`(?i)values(?: are)?:?\s+([A-Z0-9_-]+(?:\s*[,/]\s*(?:and\s+|or\s+)?[A-Z0-9_-]+|\s+(?:and|or)\s+[A-Z0-9_-]+)+)`),
		regexp.MustCompile(`(?i)one of\s+([A-Z0-9_-]+(?:\s*[,/]\s*(?:and\s+|or\s+)?[A-Z0-9_-]+|\s+(?:and|or)\s+[A-Z0-9_-]+)+)`),
	}
	valueSeparator = regexp.MustCompile(`\s*[,/]\s*(?:or\s+|and\s+)?|\s+(?:or|and)\s+`)
)

// valuesIn finds the values of an enumeration in its documentation; nil when it names none.
func valuesIn(doc string) []string {
	doc = strings.ReplaceAll(strings.Join(strings.Fields(doc), " "), " (default)", "")
	for _, re := range valueList {
		m := re.FindStringSubmatch(doc)
		if m == nil {
			continue
		}
		var values []string
		for _, v := range valueSeparator.Split(m[1], -1) {
			if v != "" && !slices.Contains(values, v) {
				values = append(values, v)
			}
		}
		if len(values) > 1 {
			return values
		}
	}
	return nil
}
