package api

import (
	"encoding/json"
	"errors"
	"math"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/huker/huker/internal/model"
)

// FaultBody is what is in every error answer, under the fault's name.
type FaultBody struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
}

// Link points to a resource ("self", "bookmark") or a page ("next").
type Link struct {
	Href string `json:"href"`
	Rel  string `json:"rel" enum:"self,bookmark,next"`
}

// Time is a moment as Trove writes it: UTC, to the second, without a zone.
type Time struct{ time.Time }

const timeLayout = "2006-01-02T15:04:05"

// MarshalJSON writes the time.
func (t Time) MarshalJSON() ([]byte, error) { return json.Marshal(t.UTC().Format(timeLayout)) }

// UnmarshalJSON reads what MarshalJSON wrote.
func (t *Time) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return err
	}
	parsed, err := time.Parse(timeLayout, s)
	t.Time = parsed
	return err
}

// Schema describes it.
func (Time) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeString, Pattern: `^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d$`, Description: "UTC, without a zone",
		Examples: []any{"2019-12-23T20:58:35"}}
}

// FlavorRef is a flavor as clients name it: an id as a number or text, its name, or the URL that ends in the id.
type FlavorRef string

// UnmarshalJSON takes a number or a string.
func (f *FlavorRef) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err == nil {
		*f = FlavorRef(lastOfHref(s))
		return nil
	}
	var n int64
	if err := json.Unmarshal(b, &n); err != nil {
		return errors.New("a flavor is a string or an integer")
	}
	*f = FlavorRef(strconv.FormatInt(n, 10))
	return nil
}

// Schema describes it.
func (FlavorRef) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{AnyOf: []*huma.Schema{
		{Type: huma.TypeString, MinLength: ptr(1), MaxLength: ptr(255)},
		{Type: huma.TypeInteger},
	}}
}

// lastOfHref gives the id that a URL ends in; what is no URL is given as it is.
func lastOfHref(ref string) string {
	if !strings.HasPrefix(ref, "http://") && !strings.HasPrefix(ref, "https://") {
		return ref
	}
	ref, _, _ = strings.Cut(ref, "?")
	ref = strings.TrimRight(ref, "/")
	return ref[strings.LastIndexByte(ref, '/')+1:]
}

// SizeGB is a volume's size; old clients send it as text.
type SizeGB int

// UnmarshalJSON takes a number or digits in a string. What is too large for any volume becomes math.MaxInt32.
func (g *SizeGB) UnmarshalJSON(b []byte) error {
	n, err := strconv.Atoi(strings.Trim(string(b), `"`))
	if errors.Is(err, strconv.ErrRange) {
		n, err = math.MaxInt32, nil
	}
	*g = SizeGB(min(n, math.MaxInt32))
	return err
}

// Schema describes it.
func (SizeGB) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{AnyOf: []*huma.Schema{
		{Type: huma.TypeInteger, Minimum: ptr(1.0)},
		{Type: huma.TypeString, Pattern: `^0*[1-9][0-9]*$`, MaxLength: ptr(40), Description: "A positive integer"},
	}}
}

// Flag is 0 or 1, or a boolean.
type Flag bool

// UnmarshalJSON takes either.
func (f *Flag) UnmarshalJSON(b []byte) error {
	switch string(b) {
	case "1", "true":
		*f = true
	case "0", "false":
		*f = false
	default:
		return errors.New("a flag is 0 or 1")
	}
	return nil
}

// Schema describes it.
func (Flag) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{AnyOf: []*huma.Schema{
		{Type: huma.TypeInteger, Minimum: ptr(0.0), Maximum: ptr(1.0)}, {Type: huma.TypeBoolean},
	}}
}

// Given is a field of which it matters that it is there, whatever it holds.
type Given struct {
	Is   bool // there at all
	Text string
}

// UnmarshalJSON is called for null too.
func (g *Given) UnmarshalJSON(b []byte) error {
	g.Is = true
	_ = json.Unmarshal(b, &g.Text) // anything but text counts as there
	return nil
}

// MarshalJSON writes what was given.
func (g Given) MarshalJSON() ([]byte, error) { return json.Marshal(g.Text) }

// Schema describes it: anything.
func (Given) Schema(huma.Registry) *huma.Schema { return &huma.Schema{} }

// Empty is {}; what old clients put into it is ignored, as Trove does.
type Empty struct{}

// Schema describes it.
func (Empty) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeObject, AdditionalProperties: true}
}

// UnmarshalJSON takes any object.
func (*Empty) UnmarshalJSON([]byte) error { return nil }

func ptr[T any](v T) *T { return &v }

// links are a resource's own.
func (r *request) links(kind, id string) []Link {
	id = url.PathEscape(id)
	return []Link{
		{Href: r.base + "/" + prefix + "/" + r.project + "/" + kind + "/" + id, Rel: "self"},
		{Href: r.base + "/" + kind + "/" + id, Rel: "bookmark"},
	}
}

// next is the link to the page after marker.
func (r *request) next(marker string) []Link {
	q := url.Values{}
	for k, v := range r.query {
		q[k] = v
	}
	q.Set("marker", marker)
	return []Link{{Href: r.base + r.http.URL.EscapedPath() + "?" + q.Encode(), Rel: "next"}}
}

// page reads limit and marker. most is what a page may hold.
func (r *request) page(most int) (limit int, marker string, err error) {
	limit = most
	if text := r.query.Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			return 0, "", badRequest("The limit must be an integer of at least 1.")
		}
		limit = min(n, most)
	}
	return limit, r.query.Get("marker"), nil
}

// guestPage is a page of what a guest lists; its marker is a name.
func (r *request) guestPage(most int) (limit int, marker string, err error) {
	limit, marker, err = r.page(min(maxGuestPage, most))
	if err == nil && !storable(marker) {
		err = badRequest("The marker must be the name of the last entry of the page before.")
	}
	return limit, marker, err
}

// names gives the names of databases as bodies have them.
func names(ds []string) []DatabaseName {
	out := make([]DatabaseName, 0, len(ds))
	for _, d := range ds {
		out = append(out, DatabaseName{Name: d})
	}
	return out
}

func databaseNames(ds []model.Database) []DatabaseName {
	out := make([]DatabaseName, 0, len(ds))
	for _, d := range ds {
		out = append(out, DatabaseName{Name: d.Name})
	}
	return out
}
