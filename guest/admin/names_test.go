package admin

import (
	"errors"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestNewDatabaseNames(t *testing.T) {
	for _, ok := range []string{"a", "my_db", "my-db", "a b", "db%", "b`tick", "x'y", `q"q`, "ünïcode", strings.Repeat("a", 64), "1", "mysql2", "select"} {
		if err := checkNewDatabase(ok); err != nil {
			t.Errorf("%q: %v", ok, err)
		}
	}
	for _, bad := range []string{
		"", "huker", "Huker", "mysql", "MySQL", "information_schema", "performance_schema", "sys", "lost+found", strings.Repeat("a", 65), "a/b", `a\b`, "a.b", "..",
		"a ", " a", "a\x00", "a\nb", "\xff", "😀", "#mysql50#a", strings.Repeat("ü", 60),
	} {
		if err := checkNewDatabase(bad); !errors.Is(err, ErrInvalid) {
			t.Errorf("%q: %v, want ErrInvalid", bad, err)
		}
	}
}

func TestNewUserNames(t *testing.T) {
	for _, ok := range []string{"a", "joe", "o'brien", "a@b", "root2", "hukerx", strings.Repeat("u", 32), "ü", "a`b", `a\b`} {
		if err := checkNewUser(ok); err != nil {
			t.Errorf("%q: %v", ok, err)
		}
	}
	for _, bad := range []string{"", "root", "ROOT", "os_admin", "huker", "huker_agent", "Huker_x", "mysql.sys", "mysql.x", strings.Repeat("u", 33), "a ", "\x01", "\xff", "😀"} {
		if err := checkNewUser(bad); !errors.Is(err, ErrInvalid) {
			t.Errorf("%q: %v, want ErrInvalid", bad, err)
		}
	}
}

func TestHosts(t *testing.T) {
	for in, want := range map[string]string{"": "%", "%": "%", "10.0.0.1": "10.0.0.1", "10.0.%": "10.0.%", "10.0.0.0/255.255.0.0": "10.0.0.0/255.255.0.0", "Web.Example": "web.example", "::1": "::1"} {
		if got, err := cleanHost(in); err != nil || got != want {
			t.Errorf("%q: %q, %v", in, got, err)
		}
	}
	for _, bad := range []string{"a b", "a'b", "a@b", "a`b", "a\\b", strings.Repeat("a", 256), "ü"} {
		if _, err := cleanHost(bad); !errors.Is(err, ErrInvalid) {
			t.Errorf("%q: %v, want ErrInvalid", bad, err)
		}
	}
}

func TestGrantNames(t *testing.T) {
	for _, c := range []struct{ name, wild, partial string }{
		{"a_b", `a\_b`, "a_b"}, {"a%", `a\%`, "a%"}, {"plain", "plain", "plain"}, {`b\s`, `b\\s`, `b\s`},
	} {
		if got := grantName(c.name, false); got != c.wild {
			t.Errorf("%q: %q, want %q", c.name, got, c.wild)
		}
		if got := grantName(c.name, true); got != c.partial {
			t.Errorf("%q with partial_revokes: %q, want %q", c.name, got, c.partial)
		}
	}
}

// lexIdent reads a quoted identifier the way MySQL's lexer does, and gives what is left.
func lexIdent(s string) (name, rest string, ok bool) {
	if !strings.HasPrefix(s, "`") {
		return "", s, false
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		if s[i] != '`' {
			b.WriteByte(s[i])
			continue
		}
		if i+1 < len(s) && s[i+1] == '`' {
			b.WriteByte('`')
			i++
			continue
		}
		return b.String(), s[i+1:], true
	}
	return "", "", false
}

// lexString reads a string constant the way MySQL's lexer does with backslash escapes on.
func lexString(s string) (value, rest string, ok bool) {
	if !strings.HasPrefix(s, "'") {
		return "", s, false
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == '\\' && i+1 < len(s):
			i++
			b.WriteByte(s[i])
		case s[i] == '\'' && i+1 < len(s) && s[i+1] == '\'':
			b.WriteByte('\'')
			i++
		case s[i] == '\'':
			return b.String(), s[i+1:], true
		default:
			b.WriteByte(s[i])
		}
	}
	return "", "", false
}

func FuzzQuoting(f *testing.F) {
	for _, s := range []string{"", "a", "`", "``", "a`.* to b", "'", `\`, `\'`, `'; drop database x; -- `, "a_b%c", "ü", "\x00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if got, rest, ok := lexIdent(ident(s) + " tail"); !ok || got != s || rest != " tail" {
			t.Fatalf("ident(%q) is read as %q, %q", s, got, rest)
		}
		if got, rest, ok := lexString(quote(s) + " tail"); !ok || got != s || rest != " tail" {
			t.Fatalf("quote(%q) is read as %q, %q", s, got, rest)
		}
		for _, partial := range []bool{false, true} {
			if got := grantedDatabase(grantName(s, partial), partial); got != s {
				t.Fatalf("grantName(%q, %v) comes back as %q", s, partial, got)
			}
		}
		if p := grantName(s, false); !matchesOnly(p, s) {
			t.Fatalf("grantName(%q) = %q has a live wildcard", s, p)
		}
	})
}

// matchesOnly reports whether a pattern of LIKE without live wildcards stands for exactly s.
func matchesOnly(pattern, s string) bool {
	var b strings.Builder
	for i := 0; i < len(pattern); i++ {
		switch pattern[i] {
		case '\\':
			i++
			if i == len(pattern) {
				return false
			}
		case '_', '%':
			return false
		}
		b.WriteByte(pattern[i])
	}
	return b.String() == s
}

func FuzzNames(f *testing.F) {
	for _, s := range []string{"", "a", "root", "huker_x", "mysql.sys", "a.b", "#mysql50#x", "\xff", strings.Repeat("ü", 64)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if checkNewDatabase(s) == nil && (!utf8.ValidString(s) || isSystemDatabase(s) || utf8.RuneCountInString(s) > 64 || strings.ContainsAny(s, "/\\.\x00") || len(s) == 0) {
			t.Fatalf("database %q is allowed", s)
		}
		if checkNewUser(s) == nil && (!utf8.ValidString(s) || isReservedUser(s) || utf8.RuneCountInString(s) > 32 || strings.Contains(s, "\x00") || len(s) == 0) {
			t.Fatalf("user %q is allowed", s)
		}
		if h, err := cleanHost(s); err == nil && (h == "" || strings.ContainsAny(h, "'`\\@\" ")) {
			t.Fatalf("host %q is allowed", h)
		}
	})
}
