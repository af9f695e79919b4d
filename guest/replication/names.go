package replication

import (
	"fmt"
	"regexp"
	"strings"
	"unicode"

	"github.com/huker/huker/internal/gtid"
)

// Accounts. Their names are among those that users can neither see nor take (package admin).
const (
	accountPrefix = "huker_r_"
	accountDigits = 22 // of the instance: a user's name has at most 32 characters
	accountHost   = "%"
	// cloneUser is who clones a server's data: any member of the cluster, in the record or not, as whoever is cloned to has no part in it.
	cloneUser = "huker_clone"
)

// Account is the replication account of an instance. It has no password: what lets a member in is its certificate, of which Subject is demanded.
func Account(instance string) (string, error) {
	if _, err := gtid.ParseUUID(instance); err != nil {
		return "", fmt.Errorf("%w: %q", ErrInstance, instance)
	}
	return accountPrefix + strings.ToLower(strings.ReplaceAll(instance, "-", ""))[:accountDigits], nil
}

// Subject is what the certificate of an instance says of it, as MySQL writes that.
func Subject(instance string) string { return "/CN=" + instance }

// instances knows which instance an account is of, among those given.
type instances map[string]string

func namesOf(ids ...[]string) instances {
	known := instances{}
	for _, list := range ids {
		for _, id := range list {
			if a, err := Account(id); err == nil {
				known[a] = id
			}
		}
	}
	return known
}

// of is the instance of an account; that of a stranger is its name.
func (n instances) of(account string) string {
	if id, ok := n[account]; ok {
		return id
	}
	return account
}

// sourceNote is where the instance is noted that a receiver is pointed at: in an option of the channel's which nothing reads where there is TLS, so that
// it changes with the address in one step, and is durable with it.
const sourceNote = "/huker/source/"

// owners are the threads in @@GLOBAL.gtid_owned, sources its servers.
var (
	owners  = regexp.MustCompile(`#[0-9]+`)
	sources = regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`)
)

// parseOwned reads @@GLOBAL.gtid_owned: "uuid:5#22:4#21". The next source follows with nothing between a thread's last digit and its first one (seen on
// 9.7.4), so sources are told apart by where a UUID ends.
func parseOwned(text string) (gtid.Set, error) {
	apart := owners.ReplaceAllString(sources.ReplaceAllString(text, " $0"), "")
	return gtid.Parse(strings.Join(strings.FieldsFunc(apart, func(r rune) bool { return r == ',' || unicode.IsSpace(r) }), ","))
}
