package api

import (
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/huker/huker/internal/model"
	"github.com/huker/huker/internal/protocol"
)

// Limits of MySQL, in characters. Source: its manual, "Identifier Length Limits". The guest checks names too, and has the last word;
// here they are checked because a new instance's are needed long after the request was answered.
const (
	maxDatabaseName = 64
	maxUserName     = 32
	maxHostName     = 255
	maxPassword     = 255 // bytes
)

// anyHost is the host of a user who may come from everywhere.
const anyHost = "%"

// reservedDatabases are the server's own, and files of its that are beside the databases' directories.
var reservedDatabases = []string{"mysql", "information_schema", "performance_schema", "sys", "lost+found", "ibdata1", "ibtmp1", "ib_buffer_pool",
	"undo_001", "undo_002"}

var (
	hostPattern    = regexp.MustCompile(`^[A-Za-z0-9._:%/-]+$`)
	charsetPattern = regexp.MustCompile(`^[A-Za-z0-9_]*$`)
)

// identifier reports whether MySQL can take s as a name at all.
func identifier(s string) bool { return storable(s) && strings.TrimSpace(s) == s && s != "" }

// storable reports whether a name of MySQL's can be s. Asked for anything else it fails, rather than finding nothing.
func storable(s string) bool {
	for _, r := range s {
		if r > 0xFFFF || r == utf8.RuneError || unicode.IsControl(r) {
			return false
		}
	}
	return true
}

func checkDatabaseName(name string) error {
	switch {
	case !identifier(name):
		return badRequest("'%s' is not a valid database name: MySQL does not allow a character of it.", clip(name))
	case utf8.RuneCountInString(name) > maxDatabaseName:
		return badRequest("Database name '%s' is too long. Max length = %d.", clip(name), maxDatabaseName)
	case strings.ContainsAny(name, `/\.`):
		return badRequest(`'%s' is not a valid database name: it has one of / \ . in it.`, clip(name))
	case slices.ContainsFunc(reservedDatabases, func(r string) bool { return strings.EqualFold(r, name) }),
		strings.HasPrefix(strings.ToLower(name), "#mysql50#"):
		return badRequest("Database '%s' is reserved.", clip(name))
	}
	return nil
}

func checkUserName(name string) error {
	lower := strings.ToLower(name)
	switch {
	case !identifier(name):
		return badRequest("'%s' is not a valid user name: MySQL does not allow a character of it.", clip(name))
	case utf8.RuneCountInString(name) > maxUserName:
		return badRequest("User name '%s' is too long. Max length = %d.", clip(name), maxUserName)
	case lower == "root", lower == "os_admin", lower == "huker", strings.HasPrefix(lower, "huker_"), strings.HasPrefix(lower, "mysql."):
		return badRequest("User '%s' is reserved.", clip(name))
	}
	return nil
}

func checkHost(host string) error {
	if host != "" && (len(host) > maxHostName || !hostPattern.MatchString(host)) {
		return badRequest("'%s' is not a valid host for a user.", clip(host))
	}
	return nil
}

// checkPassword never quotes it.
func checkPassword(password string) error {
	if password == "" || len(password) > maxPassword || strings.ContainsRune(password, 0) {
		return badRequest("A password must have 1 to %d bytes, and no NUL.", maxPassword)
	}
	return nil
}

// newDatabases checks what is to be made.
func newDatabases(in []Database) ([]model.Database, error) {
	out := make([]model.Database, 0, len(in))
	seen := map[string]bool{}
	for i := range in {
		d := model.Database{Name: in[i].Name, CharacterSet: in[i].CharacterSet, Collate: in[i].Collate}
		if err := checkDatabaseName(d.Name); err != nil {
			return nil, err
		}
		if seen[d.Name] {
			return nil, badRequest("Two or more databases share the same name: '%s'.", d.Name)
		}
		seen[d.Name] = true
		if err := checkCharset(d); err != nil {
			return nil, err
		}
		out = append(out, d)
	}
	return out, nil
}

// charsets of MySQL 8 and 9, and the alias that old clients use. Collations are named after them.
var charsets = strings.Fields(`armscii8 ascii big5 binary cp1250 cp1251 cp1256 cp1257 cp850 cp852 cp866 cp932 dec8 eucjpms euckr
	gb18030 gb2312 gbk geostd8 greek hebrew hp8 keybcs2 koi8r koi8u latin1 latin2 latin5 latin7 macce macroman sjis swe7 tis620 ucs2
	ujis utf16 utf16le utf32 utf8 utf8mb3 utf8mb4`)

func checkCharset(d model.Database) error {
	set, collation := strings.ToLower(d.CharacterSet), strings.ToLower(d.Collate)
	switch {
	case set != "" && !slices.Contains(charsets, set):
		return badRequest("'%s' is not a valid character set.", clip(d.CharacterSet))
	case collation == "":
		return nil
	case !charsetPattern.MatchString(collation):
		return badRequest("'%s' is not a valid collation.", clip(d.Collate))
	}
	of, _, _ := strings.Cut(collation, "_")
	alias := func(s string) string {
		if s == "utf8" {
			return "utf8mb3"
		}
		return s
	}
	switch {
	case !slices.Contains(charsets, of):
		return badRequest("'%s' is not a valid collation.", clip(d.Collate))
	case set != "" && alias(set) != alias(of):
		return badRequest("'%s' is not a valid collation for character set '%s'.", clip(d.Collate), d.CharacterSet)
	}
	return nil
}

// newUsers checks who is to be made.
func newUsers(in []NewUser) ([]model.User, error) {
	out := make([]model.User, 0, len(in))
	seen := map[[2]string]bool{}
	for i := range in {
		u := model.User{Name: in[i].Name, Host: in[i].Host, Password: in[i].Password}
		if err := checkUserName(u.Name); err != nil {
			return nil, err
		}
		if err := checkHost(u.Host); err != nil {
			return nil, err
		}
		if err := checkPassword(u.Password); err != nil {
			return nil, err
		}
		key := [2]string{u.Name, strings.ToLower(orDefault(u.Host, anyHost))}
		if seen[key] {
			return nil, badRequest("Two or more users share the same name and host: '%s'@'%s'.", key[0], key[1])
		}
		seen[key] = true
		for _, d := range in[i].Databases {
			if err := checkDatabaseName(d.Name); err != nil {
				return nil, err
			}
			if slices.Contains(u.Databases, d.Name) {
				return nil, badRequest("Database '%s' is listed twice for user '%s'.", d.Name, u.Name)
			}
			u.Databases = append(u.Databases, d.Name)
		}
		out = append(out, u)
	}
	return out, nil
}

// existing is a user to ask a guest for; 404 for what no user's name can be.
func existing(name, host string) (protocol.UserRequest, error) {
	if !storable(name) || !storable(host) {
		return protocol.UserRequest{}, notFound("There is no user %s.", clip(name))
	}
	return protocol.UserRequest{Name: name, Host: host}, nil
}

// userOf reads a user as paths name him: "name", "name@host", or "name@" for one whose name ends so. A name may hold an @, a host not.
func userOf(segment string) (name, host string) {
	i := strings.LastIndexByte(segment, '@')
	if i < 0 || i == len(segment)-1 {
		return segment, anyHost
	}
	return segment[:i], segment[i+1:]
}
