package admin

import (
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Limits of MySQL, in characters. Source: its manual, "Identifier Length Limits"; passwords: caching_sha2_password.
const (
	maxDatabaseName = 64
	maxUserName     = 32
	maxHostName     = 255
	maxPassword     = 255 // bytes
	maxFileName     = 255 // bytes, of the file system below
)

// AnyHost is the host of a user who may come from everywhere.
const AnyHost = "%"

// agentDatabase is the agents' own: a primary writes there what proves that it is one (package replication).
const agentDatabase = "huker"

// systemDatabases are the server's own: neither shown nor touched.
var systemDatabases = []string{"mysql", "information_schema", "performance_schema", "sys", "lost+found", agentDatabase}

// rawFileName marks a name that MySQL takes as a directory's name, undecoded: the way around every other rule.
const rawFileName = "#mysql50#"

func isSystemDatabase(name string) bool {
	for _, s := range systemDatabases {
		if strings.EqualFold(name, s) {
			return true
		}
	}
	return strings.HasPrefix(strings.ToLower(name), rawFileName)
}

// isReservedUser reports whether a name belongs to the server or to Huker: not shown and not touched through the API. Compared without
// case, so that nobody makes a "Root" that looks like one.
func isReservedUser(name string) bool {
	n := strings.ToLower(name)
	return n == "" || n == "root" || n == "os_admin" || n == "huker" || strings.HasPrefix(n, "huker_") || strings.HasPrefix(n, "mysql.")
}

// checkNewDatabase refuses what MySQL would refuse, what Trove refuses because of files and paths, and the server's own.
func checkNewDatabase(name string) error {
	switch {
	case name == "":
		return failf(ErrInvalid, "a database needs a name")
	case utf8.RuneCountInString(name) > maxDatabaseName:
		return failf(ErrInvalid, "the name of a database has at most %d characters", maxDatabaseName)
	case !plain(name):
		return failf(ErrInvalid, "the name of database %q has a character that MySQL does not allow", name)
	case strings.ContainsAny(name, `/\.`):
		return failf(ErrInvalid, `the name of database %q has one of / \ . in it`, name)
	case strings.TrimSpace(name) != name:
		return failf(ErrInvalid, "the name of database %q starts or ends with a space", name)
	case isSystemDatabase(name):
		return failf(ErrInvalid, "the name %q is reserved", name)
	case fileNameLength(name) > maxFileName:
		return failf(ErrInvalid, "the name of database %q is too long as a directory's name", name)
	}
	return nil
}

// fileNameLength is the most bytes that MySQL's encoding of file names makes of a name.
func fileNameLength(name string) int {
	n := 0
	for _, r := range name {
		if r < 0x80 && (unicode.IsLetter(r) || unicode.IsDigit(r) || r == '_') {
			n++
		} else {
			n += len("@0000")
		}
	}
	return n
}

// plain reports whether s can be an identifier at all: UTF-8 within the Basic Multilingual Plane, no control characters.
func plain(s string) bool {
	if !utf8.ValidString(s) {
		return false
	}
	for _, r := range s {
		if r > 0xFFFF || unicode.IsControl(r) {
			return false
		}
	}
	return true
}

func checkNewUser(name string) error {
	switch {
	case name == "":
		return failf(ErrInvalid, "a user needs a name")
	case utf8.RuneCountInString(name) > maxUserName:
		return failf(ErrInvalid, "the name of a user has at most %d characters", maxUserName)
	case !plain(name):
		return failf(ErrInvalid, "the name of user %q has a character that MySQL does not allow", name)
	case strings.TrimSpace(name) != name:
		return failf(ErrInvalid, "the name of user %q starts or ends with a space", name)
	case isReservedUser(name):
		return failf(ErrInvalid, "the name %q is reserved", name)
	}
	return nil
}

// hostPattern: addresses, networks with / and a mask, names, with % and _ as wildcards.
var hostPattern = regexp.MustCompile(`^[a-z0-9._:%/-]+$`)

// cleanHost gives a host as MySQL stores it: lower case, "%" when nothing is said.
func cleanHost(host string) (string, error) {
	if host == "" {
		return AnyHost, nil
	}
	host = strings.ToLower(host)
	if len(host) > maxHostName || !hostPattern.MatchString(host) {
		return "", failf(ErrInvalid, "%q is not a host that a user can come from", host)
	}
	return host, nil
}

func checkPassword(password string) error {
	switch {
	case password == "":
		return failf(ErrInvalid, "a password is needed")
	case len(password) > maxPassword:
		return failf(ErrInvalid, "a password has at most %d bytes", maxPassword)
	case !utf8.ValidString(password) || strings.ContainsRune(password, 0):
		return failf(ErrInvalid, "a password is UTF-8 text")
	}
	return nil
}

// ident quotes an identifier.
func ident(name string) string { return "`" + strings.ReplaceAll(name, "`", "``") + "`" }

// quote writes a string constant. Sessions made by Dial run without NO_BACKSLASH_ESCAPES and ANSI_QUOTES.
func quote(s string) string { return "'" + escapeString.Replace(s) + "'" }

var (
	escapeString  = strings.NewReplacer(`\`, `\\`, `'`, `''`)
	numberPattern = regexp.MustCompile(`^-?[0-9]+(\.[0-9]+)?$`)
)

// Wildcards in the database's name of a GRANT, and how they are taken literally.
var (
	escapeWildcards   = strings.NewReplacer(`\`, `\\`, `_`, `\_`, `%`, `\%`)
	unescapeWildcards = strings.NewReplacer(`\\`, `\`, `\_`, `_`, `\%`, `%`)
)

// grantName is how exactly this database is named in a GRANT: _ and % are wildcards there, unless the server runs with
// partial_revokes, where they and the backslash stand for themselves.
func grantName(database string, partialRevokes bool) string {
	if partialRevokes {
		return database
	}
	return escapeWildcards.Replace(database)
}

// grantedDatabase is the reverse: the database that a row of mysql.db is about.
func grantedDatabase(row string, partialRevokes bool) string {
	if partialRevokes {
		return row
	}
	return unescapeWildcards.Replace(row)
}
