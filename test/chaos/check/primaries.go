package check

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Sight is what one look at one member has shown. The member was so at some moment between Sent and Done, and nobody knows at which.
type Sight struct {
	Member     string
	Sent, Done time.Duration
	// Seen is false when nothing was learned: no answer, or none in time.
	Seen bool
	// Open says that the member can be written to. With the server's identity and how often it was started, so that two of them are not taken for one.
	Open     bool
	Identity string
}

// Reign is a time during which a member was certainly open: from when the first of several looks in a row was done to when the last of them was sent. It is
// taken that a member that was open in two looks in a row, as the same server, was so in between; nobody who opens and shuts within that time is safe.
type Reign struct {
	Member   string
	Identity string
	Span
}

// Rivals are two members that were open at the same time.
type Rivals struct {
	A, B Reign
	Span // when both were
}

func (r Rivals) String() string {
	return fmt.Sprintf("%s (%s) and %s (%s) were both open for %s, from %s", r.A.Member, r.A.Identity, r.B.Member, r.B.Identity,
		r.Length().Round(time.Millisecond), r.From.Round(time.Millisecond))
}

// Primaries is the verdict on who was open when.
type Primaries struct {
	Reigns []Reign // by their begin
	Rivals []Rivals
	Looks  int // that have shown something
}

// CheckPrimaries looks for members that were open at the same moment. A look that shows nothing ends what is certain.
func CheckPrimaries(sights []Sight) Primaries {
	v := Primaries{}
	members := map[string][]Sight{}
	for _, s := range sights {
		members[s.Member] = append(members[s.Member], s)
		if s.Seen {
			v.Looks++
		}
	}
	for _, of := range members {
		v.Reigns = append(v.Reigns, reigns(of)...)
	}
	slices.SortFunc(v.Reigns, func(a, b Reign) int { return cmp.Or(int(a.From-b.From), strings.Compare(a.Member, b.Member)) })
	for i, a := range v.Reigns {
		for _, b := range v.Reigns[i+1:] {
			both := Span{max(a.From, b.From), min(a.To, b.To)}
			if a.Member != b.Member && both.From < both.To {
				v.Rivals = append(v.Rivals, Rivals{a, b, both})
			}
		}
	}
	return v
}

func reigns(sights []Sight) []Reign {
	slices.SortFunc(sights, func(a, b Sight) int { return int(a.Sent - b.Sent) })
	var list []Reign
	var now *Reign
	for _, s := range sights {
		if !s.Seen || !s.Open {
			now = nil
			continue
		}
		if now == nil || now.Identity != s.Identity {
			list = append(list, Reign{s.Member, s.Identity, Span{s.Done, s.Done}})
			now = &list[len(list)-1]
		}
		now.To = max(now.From, s.Sent)
	}
	return slices.DeleteFunc(list, func(r Reign) bool { return r.Length() == 0 }) // at no moment certain
}

// Err says what is wrong; nil when nothing is.
func (v Primaries) Err() error {
	if v.Looks == 0 {
		return errors.New("nobody has looked who is open")
	}
	var wrong []string
	for _, r := range v.Rivals {
		wrong = append(wrong, r.String())
	}
	if len(wrong) == 0 {
		return nil
	}
	return errors.New(strings.Join(wrong, "\n"))
}
