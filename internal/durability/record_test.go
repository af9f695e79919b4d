package durability

import (
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

var began = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// settled is a cluster of a, with b and c as members, at epoch 7.
func settled() Record {
	return Record{
		Cluster: "m", Epoch: 7, Primary: "a", Members: []string{"b", "c"}, MinAcks: 1, SetAcks: 1, Policy: Strict,
		Servers: map[string]string{"a": "sa", "b": "sb", "c": "sc"},
	}
}

func failing() Record {
	return settled().Begin(Failover, "", "a is lost", began, time.Time{})
}

func switching() Record {
	return settled().Begin(Switchover, "b", "asked for", began, began.Add(time.Minute))
}

func opening() Record { return failing().Promote("b", []string{"c"}, 1) }

func TestValidate(t *testing.T) {
	for name, r := range map[string]Record{
		"settled": settled(), "failing": failing(), "switching": switching(), "opening": opening(), "back": opening().Back(),
		"established": opening().Establish(), "alone": {Cluster: "m", Epoch: 1, Primary: "a", Policy: Available},
		"a learner that has become the primary's member to be": settled().Admit("d", "sd").Publish("d"),
	} {
		if err := r.Validate(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, c := range []struct {
		name   string
		of     func() Record
		change func(*Record)
		want   string
	}{
		{"no cluster", settled, func(r *Record) { r.Cluster = "" }, "no cluster"},
		{"members are not sorted", settled, func(r *Record) { r.Members = []string{"c", "b"} }, "not sorted"},
		{"a member twice", settled, func(r *Record) { r.Members = []string{"b", "b"} }, "twice"},
		{"leaving are not sorted", settled, func(r *Record) { r.Leaving = []string{"c", "b"} }, "not sorted"},
		{"learners are not sorted", settled, func(r *Record) { r.Learners = []string{"e", "d"} }, "not sorted"},
		{"more acknowledgements than members", settled, func(r *Record) { r.MinAcks, r.SetAcks = 3, 3 }, "more acknowledgements than members"},
		{"fewer than no acknowledgements", settled, func(r *Record) { r.MinAcks = -1 }, "more acknowledgements than members"},
		{"fewer in effect than published", settled, func(r *Record) { r.SetAcks = 0 }, "fewer acknowledgements in effect"},
		{"a stranger leaves", settled, func(r *Record) { r.Leaving = []string{"d"} }, "who is no member"},
		{"a learner is a member", settled, func(r *Record) { r.Learners = []string{"b"} }, "a learner is a member"},
		{"the primary is its own member", settled, func(r *Record) { r.Primary = "b" }, "its own member"},
		{"the primary is a learner", settled, func(r *Record) { r.Learners = []string{"a"} }, "the primary is a learner"},
		{"an intent from nobody", failing, func(r *Record) { r.Intent.From, r.Primary = "", "" }, "from nobody"},
		{"an intent to the same", switching, func(r *Record) { r.Intent.To = "a" }, "to the same"},
		{"an intent of the future", failing, func(r *Record) { r.Intent.Since = 9 }, "of the future"},
		{"an intent of no epoch", failing, func(r *Record) { r.Intent.Since = 0 }, "of the future"},
		{"another primary before the old one was stopped", failing, func(r *Record) { r.Primary = "d" }, "another primary before"},
		{"the new primary was no member", opening, func(r *Record) { r.Primary, r.Intent.To = "d", "d" }, "was no member"},
		{"the new primary is not the one of the intent", opening, func(r *Record) { r.Intent.To = "c" }, "was no member"},
		{"the new primary is its own member", opening, func(r *Record) { r.Intent.Members = []string{"b"} }, "its own member"},
		{"the new members are not sorted", opening, func(r *Record) { r.Intent.Members = []string{"d", "c"} }, "its own member"},
		{"the new primary has too few members", opening, func(r *Record) { r.Intent.MinAcks = 2 }, "new primary's acknowledgements"},
		{"the new primary waits for too few", opening, func(r *Record) { r.Intent.SetAcks = 0 }, "new primary's acknowledgements"},
		{"a failover that asks the primary", switching, func(r *Record) { r.Intent.Kind = Failover }, "asks the primary"},
		{"a switchover to nobody", switching, func(r *Record) { r.Intent.To = "" }, "switchover to nobody"},
	} {
		r := c.of()
		c.change(&r)
		err := r.Validate()
		if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
		if _, err := r.Text(); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s was written: %v", c.name, err)
		}
	}
}

func TestParse(t *testing.T) {
	for name, r := range map[string]Record{"settled": settled(), "failing": failing(), "switching": switching(), "opening": opening()} {
		text, err := r.Text()
		if err != nil {
			t.Fatal(err)
		}
		got, err := Parse(text)
		if err != nil || !reflect.DeepEqual(got, r) {
			t.Errorf("%s: %s became %+v, %v", name, text, got, err)
		}
	}
	for name, text := range map[string]string{
		"nothing":                 ``,
		"no record":               `[]`,
		"a field of the future":   `{"cluster":"m","epoch":1,"primary":"a","min_acks":0,"set_acks":0,"witness":"w"}`,
		"more after it":           `{"cluster":"m","epoch":1,"primary":"a","min_acks":0,"set_acks":0}{}`,
		"a record that is absurd": `{"cluster":"m","epoch":1,"primary":"a","min_acks":1,"set_acks":1}`,
	} {
		if r, err := Parse([]byte(text)); !errors.Is(err, ErrInvalid) || !reflect.DeepEqual(r, Record{}) {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, r := range []Record{settled(), failing(), switching(), opening()} {
		text, err := r.Text()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		r, err := Parse(text)
		if err != nil {
			return
		}
		again, err := r.Text()
		if err != nil {
			t.Fatal(err)
		}
		if same, err := Parse(again); err != nil || !slices.Equal(same.Members, r.Members) || same.Epoch != r.Epoch {
			t.Errorf("%q became %q, %v", text, again, err)
		}
	})
}

// Who acknowledges to whom, and how many are waited for, follows from the phase.
func TestTerms(t *testing.T) {
	leaving := settled().Leave("c")
	for _, c := range []struct {
		name    string
		r       Record
		source  string
		primary string
		ackers  []string
		acks    int
	}{
		{"settled", settled(), "a", "a", []string{"b", "c"}, 1},
		{"one leaves: it may not acknowledge any more", leaving, "a", "a", []string{"b"}, 1},
		{"acknowledgements are raised: waited for, not promised", settled().Require(2), "a", "a", []string{"b", "c"}, 2},
		{"stopping: members are those of the old primary", failing(), "a", "a", []string{"b", "c"}, 1},
		{"quiescing", switching(), "a", "a", []string{"b", "c"}, 1},
		{"opening: the new primary's own", opening(), "a", "b", []string{"c"}, 1},
		{"established", opening().Establish(), "b", "b", []string{"c"}, 1},
		{"back", opening().Back(), "a", "a", []string{"b", "c"}, 1},
		{"strict, with nobody: it waits for one", settled().Promise(0), "a", "a", []string{"b", "c"}, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.r.Source() != c.source || c.r.Primary != c.primary || !slices.Equal(c.r.Ackers(), c.ackers) || c.r.Acks() != c.acks || NeededAcks(c.r) != c.acks {
				t.Errorf("source %s, primary %s, ackers %v, acks %d", c.r.Source(), c.r.Primary, c.r.Ackers(), c.r.Acks())
			}
		})
	}
}

// Is: a volume that was lost is another server under the same name.
func TestIs(t *testing.T) {
	r := settled()
	r.Servers = map[string]string{"a": "sa@boot1", "b": "sb@boot1"}
	for _, c := range []struct {
		name, instance, server string
		want                   bool
	}{
		{"the same", "b", "sb@boot1", true},
		{"its volume was lost", "b", "sx@boot1", false},
		{"fast: its machine lost power, and what it acknowledged with it", "b", "sb@boot2", false},
		{"fast: of a primary, what it executed counts, which is on disk", "a", "sa@boot2", true},
		{"the primary's volume was lost", "a", "sx@boot1", false},
		{"not written down yet", "c", "sc", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := r.Is(c.instance, c.server); got != c.want {
				t.Errorf("%v", got)
			}
		})
	}
	if o := (Record{Primary: "b", Intent: &Intent{From: "a"}, Servers: r.Servers}); !o.Is("a", "sa@boot2") || !o.Is("b", "sb@boot2") {
		t.Error("while the primary changes, both the old and the new one are meant by their server alone")
	}
}
