package api

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/huker/huker/internal/model"
)

// checkOf gives the decoder of an operation's body, as it is served.
func checkOf(t testing.TB, id string) *validator {
	t.Helper()
	table := newTable()
	(&server{}).routes(table)
	require.NoError(t, table.build())
	for _, op := range table.ops {
		if op.id == id {
			return op.check
		}
	}
	t.Fatalf("no operation %s", id)
	return nil
}

// mustBeFault holds an error to be one that a client can be told.
func mustBeFault(t *testing.T, err error) {
	t.Helper()
	var f *fault
	if !errors.As(err, &f) || f.status < 400 || f.status > 501 || f.message == "" || !utf8.ValidString(f.message) {
		t.Fatalf("not a proper fault: %v", err)
	}
}

// fuzzBody holds a decoder against encoding/json: what it takes, that must take too, and give the same names.
func fuzzBody[T any](f *testing.F, operation string, then func(t *testing.T, in *T), seeds ...string) {
	check := checkOf(f, operation)
	for _, s := range append(seeds, `{}`, `null`, `[]`, `{"instance":{"name":"a","name":"b"}}`, `{"instance":{"a":`+strings.Repeat("[", 99)) {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		in := new(T)
		if err := check.decode(body, false, in); err != nil {
			mustBeFault(t, err)
			return
		}
		if !json.Valid(body) {
			t.Fatalf("taken although it is no JSON: %q", body)
		}
		then(t, in)
	})
}

func FuzzCreateBody(f *testing.F) {
	s := &server{Config: Config{Limits: Limits{MaxVolumeGB: 100}, Clock: func() time.Time { return time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC) }}}
	r := &request{project: "p"}
	fuzzBody(f, "createInstance", func(t *testing.T, in *CreateInstanceBody) {
		i, err := s.wanted(r, &in.Instance)
		if err != nil {
			mustBeFault(t, err)
			return
		}
		if i.Name == "" || utf8.RuneCountInString(i.Name) > 255 || i.VolumeGB < 1 || i.VolumeGB > 100 || i.FlavorID == "" || !isID(i.ID) {
			t.Fatalf("a bad instance was taken: %+v", i)
		}
		if i.Bootstrap == nil {
			return
		}
		for _, d := range i.Bootstrap.Databases {
			if d.Name == "" || strings.ContainsAny(d.Name, "/\\.\x00") || !charsetPattern.MatchString(d.Collate) {
				t.Fatalf("a bad database was taken: %+v", d)
			}
		}
		for _, u := range i.Bootstrap.Users {
			if u.Name == "" || u.Password == "" || strings.EqualFold(u.Name, "root") {
				t.Fatalf("a bad user was taken: %q", u.Name)
			}
		}
	},
		`{"instance":{"name":"n","flavorRef":1,"volume":{"size":1}}}`,
		`{"instance":{"name":"n","flavorRef":"http://x/flavors/1","volume":{"size":"2","type":null},"databases":[{"name":"d","character_set":"utf8","collate":"utf8_bin"}],"users":[{"name":"u","password":"p","host":"%","databases":[{"name":"d"}]}],"datastore":{"type":"mysql","version":"9.7.4"},"nics":[{"net-id":"x"}],"access":{"is_public":true,"allowed_cidrs":["10.0.0.0/8"]},"replica_count":1}}`,
	)
}

func FuzzUpdateBody(f *testing.F) {
	fuzzBody(f, "updateInstance", func(t *testing.T, in *UpdateInstanceBody) {
		if a := in.Instance.Access; a != nil {
			to := model.Access{}
			if err := a.apply(&to); err != nil {
				mustBeFault(t, err)
			}
		}
		if in.Instance.Name != nil && *in.Instance.Name == "" {
			t.Fatal("an empty name was taken")
		}
	},
		`{"instance":{}}`, `{"instance":{"configuration":null}}`, `{"instance":{"replica_of":""}}`, `{"instance":{"name":"n","access":{"is_public":false,"allowed_cidrs":["1.2.3.4"]}}}`,
		`{"instance":{"datastore_version":"9.7.4"}}`, `{"instance":{"slave_of":{"any":["thing"]}}}`)
}

func FuzzActionBody(f *testing.F) {
	fuzzBody(f, "actOnInstance", func(t *testing.T, in *ActionBody) {
		if in.Resize != nil && in.Resize.Volume != nil && in.Resize.Volume.Size < 1 {
			t.Fatalf("a bad size was taken: %d", in.Resize.Volume.Size)
		}
	}, `{"restart":{}}`, `{"resize":{"flavorRef":2}}`, `{"resize":{"volume":{"size":"3"}}}`, `{"reset_status":{"force_delete":null}}`)
}

// FuzzUser: a user's name and host come back from how they are written in a path.
func FuzzUser(f *testing.F) {
	for _, s := range []string{"u", "u@h", "u@", "@", "@h", "a@b@c", "u@%", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, segment string) {
		name, host := userOf(segment)
		if host == "" || strings.Contains(host, "@") {
			t.Fatalf("%q has host %q", segment, host)
		}
		if again, h := userOf(name + "@" + host); again != name || h != host {
			t.Fatalf("%q is %q at %q, which reads as %q at %q", segment, name, host, again, h)
		}
	})
}

func FuzzFlavorRef(f *testing.F) {
	for _, s := range []string{`1`, `"1"`, `"http://x/v1.0/p/flavors/1"`, `"https://x/flavors/1/"`, `"http://"`, `-1`, `1e9`, `99999999999999999999`, `null`, `""`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var ref FlavorRef
		if err := json.Unmarshal([]byte(text), &ref); err != nil {
			return
		}
		if strings.Contains(string(ref), "://") && strings.HasPrefix(text, `"http`) && strings.HasSuffix(string(ref), "/") {
			t.Fatalf("%s gives %q", text, ref)
		}
	})
}

// FuzzPath: no segment is empty or holds what no name has, and what is joined again is the same path.
func FuzzPath(f *testing.F) {
	for _, s := range []string{"/", "//", "/v1.0/p/instances", "/v1.0/p/users/u%40h%2ex", "/a/../b", "/%2e%2e/", "/%00", "/%ff", "/%", "/a/"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, path string) {
		segments, err := splitPath(path)
		if err != nil {
			return
		}
		for _, s := range segments {
			if s == "" || !utf8.ValidString(s) || strings.ContainsFunc(s, isControl) {
				t.Fatalf("%q has the segment %q", path, s)
			}
		}
	})
}

// FuzzJSON holds the reader against encoding/json.
func FuzzJSON(f *testing.F) {
	for _, s := range []string{`{"a":[1,2,{"b":null}]}`, `"x"`, `1 2`, `{"a":1,"a":2}`, "\xff", strings.Repeat("[", 40), `{"a"}`, `[1,]`, `nul`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		v, err := parseJSON(text)
		if err != nil {
			if !utf8.ValidString(err.Error()) {
				t.Fatal("an error that cannot be sent")
			}
			return
		}
		if !json.Valid(text) {
			t.Fatalf("taken although it is no JSON: %q", text)
		}
		if _, err := json.Marshal(v); err != nil {
			t.Fatalf("cannot be written again: %v", err)
		}
	})
}

func TestSentence(t *testing.T) {
	for in, want := range map[string]string{"": "The request was refused.", "no such": "No such.", "Done!": "Done!", "ü": "ü."} {
		require.Equal(t, want, sentence(in))
	}
}

func TestEveryFaultHasAKey(t *testing.T) {
	table := newTable()
	(&server{}).routes(table)
	for _, op := range table.ops {
		for _, code := range append(append(append([]int{}, commonErrors...), bodyErrors...), op.errs...) {
			require.NotEmpty(t, faultKeys[code], "%s answers %d", op.id, code)
		}
	}
	require.NotEmpty(t, faultKeys[http.StatusMethodNotAllowed])
}
