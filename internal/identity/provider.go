package identity

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// Provider says whose accounts and tokens count.
type Provider string

// Providers. The zero value is for ChooseProvider to decide.
const (
	ProviderBuiltin  Provider = "builtin"  // Huker's own
	ProviderKeystone Provider = "keystone" // an external Keystone's, in place of Huker's own
	ProviderBoth     Provider = "both"
)

// Builtin reports whether people sign in at Huker itself.
func (p Provider) Builtin() bool { return p != ProviderKeystone }

// ChooseProvider fills the default in: a Keystone that is given stands in the place of Huker's own accounts. It refuses what contradicts
// itself. k is nil when nothing was said of a Keystone.
func ChooseProvider(given Provider, k *KeystoneConfig, noAuth bool) (Provider, error) {
	p := given
	if p == "" {
		p = ProviderBuiltin
		if k != nil {
			p = ProviderKeystone
		}
	}
	var errs []error
	switch {
	case p != ProviderBuiltin && p != ProviderKeystone && p != ProviderBoth:
		return p, fmt.Errorf("identity-provider %q: want %s, %s or %s", p, ProviderBuiltin, ProviderKeystone, ProviderBoth)
	case k == nil && p != ProviderBuiltin:
		errs = append(errs, fmt.Errorf("identity-provider %s needs keystone-url", p))
	case k != nil && k.URL == "":
		errs = append(errs, errors.New("keystone-ca means nothing without keystone-url"))
	case k != nil && p == ProviderBuiltin:
		errs = append(errs, fmt.Errorf("keystone-url is given, but identity-provider %s does not ask it: want %s or %s", p, ProviderKeystone, ProviderBoth))
	case k != nil:
		_, err := k.base()
		errs = append(errs, err)
	}
	if noAuth && p == ProviderKeystone {
		errs = append(errs, errors.New("no-auth makes everybody on this machine an administrator, past the Keystone: give one of them"))
	}
	return p, errors.Join(errs...)
}

// base gives the URL of Keystone's v3.
func (c KeystoneConfig) base() (*url.URL, error) {
	u, err := url.Parse(c.URL)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return nil, fmt.Errorf("identity: Keystone's URL %q is not http(s)://host[:port]/v3", c.URL)
	}
	if u.User != nil { // it is shown to everybody who has to sign in
		return nil, errors.New("identity: Keystone's URL must not hold a user or password")
	}
	path := strings.TrimRight(u.Path, "/")
	if !strings.HasSuffix(path, "/v3") {
		path += "/v3"
	}
	return &url.URL{Scheme: u.Scheme, Host: u.Host, Path: path}, nil
}

// AuthURL is where clients sign in: OS_AUTH_URL. Empty when URL is none.
func (c KeystoneConfig) AuthURL() string {
	u, err := c.base()
	if err != nil {
		return ""
	}
	return u.String()
}
