package gtid

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// ErrMalformed is every error of Parse and ParseUUID, wrapped with the place.
var ErrMalformed = errors.New("malformed GTID set")

// maxTag is the longest tag. Source: mysqld 9.7 takes 32 characters (its manual says 8).
const maxTag = 32

// Parse reads a set as mysqld does: UUIDs in either case, with or without dashes, or in braces; tags; white space between any two words; empty
// parts; an interval that ends before it begins is empty. It never panics.
func Parse(text string) (Set, error) {
	p := parser{text: text}
	for {
		p.space()
		if p.at < len(p.text) && p.text[p.at] != ',' {
			if err := p.part(); err != nil {
				return Set{}, err
			}
		}
		switch {
		case p.at == len(p.text):
			return p.set(), nil
		case !p.take(','):
			return Set{}, p.fail("want a comma")
		}
	}
}

type parser struct {
	text string
	at   int
	read []source
}

func (p *parser) fail(what string) error {
	near := p.text[p.at:]
	if len(near) > 20 {
		near = near[:20]
	}
	return fmt.Errorf("%w: at byte %d, %q: %s", ErrMalformed, p.at, near, what)
}

func (p *parser) space() {
	for p.at < len(p.text) && strings.IndexByte(" \t\n\v\f\r", p.text[p.at]) >= 0 {
		p.at++
	}
}

// take takes a character and the space after it, if it is there.
func (p *parser) take(c byte) bool {
	if p.at == len(p.text) || p.text[p.at] != c {
		return false
	}
	p.at++
	p.space()
	return true
}

// word takes the longest run of characters that ok accepts, and the space after it.
func (p *parser) word(ok func(byte) bool) string {
	from := p.at
	for p.at < len(p.text) && ok(p.text[p.at]) {
		p.at++
	}
	w := p.text[from:p.at]
	p.space()
	return w
}

// part reads a UUID with its intervals and tags, up to a comma or the end.
func (p *parser) part() error {
	from := p.at
	uuid, err := ParseUUID(p.word(func(c byte) bool { return hexadecimal(c) || c == '-' || c == '{' || c == '}' }))
	if err != nil {
		p.at = from
		return p.fail("want a UUID")
	}
	now := source{uuid: uuid}
	for p.take(':') {
		if p.at < len(p.text) && tagStart(p.text[p.at]) {
			p.keep(now)
			tag := p.word(func(c byte) bool { return tagStart(c) || digit(c) })
			if len(tag) > maxTag {
				return p.fail("a tag is too long")
			}
			now = source{uuid: uuid, tag: strings.ToLower(tag)}
			continue
		}
		r, err := p.interval()
		if err != nil {
			return err
		}
		if r.First <= r.Last {
			now.runs = append(now.runs, r)
		}
	}
	p.keep(now)
	return nil
}

func (p *parser) keep(s source) {
	if len(s.runs) > 0 {
		p.read = append(p.read, s)
	}
}

func (p *parser) interval() (Interval, error) {
	first, err := p.number(1)
	if err != nil || !p.take('-') {
		return Interval{first, first}, err
	}
	last, err := p.number(0) // 5-0 is an empty interval, as 5-4 is
	return Interval{first, last}, err
}

func (p *parser) number(least int64) (int64, error) {
	from := p.at
	n, err := strconv.ParseInt(p.word(digit), 10, 64)
	if err != nil || n < least || n > Max {
		p.at = from
		return 0, p.fail(fmt.Sprintf("want a number from %d to %d", least, int64(Max)))
	}
	return n, nil
}

func (p *parser) set() Set {
	slices.SortStableFunc(p.read, source.compare)
	var out []source
	for _, s := range p.read {
		if n := len(out); n > 0 && out[n-1].compare(s) == 0 {
			out[n-1].runs = append(out[n-1].runs, s.runs...)
		} else {
			out = append(out, s)
		}
	}
	for i := range out {
		out[i].runs = normal(out[i].runs)
	}
	return Set{out}
}

func digit(c byte) bool { return '0' <= c && c <= '9' }

func tagStart(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' || c == '_' }

func hexadecimal(c byte) bool { return digit(c) || 'a' <= c|0x20 && c|0x20 <= 'f' }

// String is the set as mysqld prints it: UUIDs and tags ascending, what has no tag first, parts apart by a comma and a line end.
func (s Set) String() string {
	var b strings.Builder
	for i, src := range s.sources {
		if i == 0 || src.uuid != s.sources[i-1].uuid {
			if i > 0 {
				b.WriteString(",\n")
			}
			b.WriteString(src.uuid.String())
		}
		if src.tag != "" {
			b.WriteByte(':')
			b.WriteString(src.tag)
		}
		for _, r := range src.runs {
			b.WriteByte(':')
			b.WriteString(strconv.FormatInt(r.First, 10))
			if r.Last > r.First {
				b.WriteByte('-')
				b.WriteString(strconv.FormatInt(r.Last, 10))
			}
		}
	}
	return b.String()
}

// MarshalText is String, so that a set is a string in JSON.
func (s Set) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText is Parse.
func (s *Set) UnmarshalText(text []byte) (err error) {
	*s, err = Parse(string(text))
	return err
}
