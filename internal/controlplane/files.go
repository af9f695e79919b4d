package controlplane

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/huker/huker/internal/identity"
	"github.com/huker/huker/internal/pki"
)

// Admin is the content of the administrator's file, from which the CLI on this host takes its address and password.
type Admin struct {
	Endpoint string `json:"endpoint"`
	Region   string `json:"region"`

	// Of Huker's own first account. Absent where another Keystone has all accounts; kept, unused, where it took over from Huker's own.
	Username string `json:"username,omitempty"`
	Password string `json:"password,omitempty"`
	Project  string `json:"project,omitempty"`

	// Operator is there only where another Keystone has all accounts.
	Operator *Operator `json:"operator,omitempty"`
}

// Operator is how root on this host works with the API where another Keystone has all accounts: with a token that is taken from this host only.
type Operator struct {
	Endpoint string `json:"endpoint"` // on this host, whatever the public one is
	Token    string `json:"token"`
	Project  string `json:"project"`  // of what `huker up` makes
	AuthURL  string `json:"auth_url"` // where people sign in
}

// AdminFile is in the data directory, 0600.
const AdminFile = "admin.json"

// subnetFile keeps the databases' subnet: their addresses are theirs for life, and Docker's network may be removed meanwhile.
const subnetFile = "network.json"

type subnet struct {
	Subnet string `json:"subnet"`
}

// lock makes sure that no other control plane works on the same data.
func lock(dir string) (unlock func(), err error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("locking the data directory: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil { //nolint:gosec // a descriptor fits
		return nil, errors.Join(fmt.Errorf("another control plane is running on %s", dir), f.Close())
	}
	return func() { _ = f.Close() }, nil
}

// adminFile reads the administrator's file, or makes it with random secrets. It is written before they are used: then a crash
// never leaves one that nobody knows.
func adminFile(c *Config) (Admin, error) {
	path := c.path(AdminFile)
	var a Admin
	data, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return a, fmt.Errorf("reading the administrator's file: %w", err)
	default:
		if err := json.Unmarshal(data, &a); err != nil {
			return a, fmt.Errorf("reading %s: %w", path, err)
		}
	}
	a.Endpoint, a.Region = c.Endpoint(), c.Region
	if err := a.fill(c); err != nil {
		return a, fmt.Errorf("making the administrator's secrets: %w", err)
	}
	want, err := json.MarshalIndent(a, "", "  ")
	if err != nil || string(want) == string(data) {
		return a, err
	}
	return a, pki.WriteFile(path, want, 0o600)
}

// fill makes the secrets that are missing and forgets those that open nothing. A password of Huker's own account is not forgotten: it is valid
// again when the other Keystone goes.
func (a *Admin) fill(c *Config) (err error) {
	if c.Provider.Builtin() {
		a.Operator = nil
		if a.Username == "" {
			a.Username, a.Project = identity.AdminName, identity.AdminName
		}
		if a.Password == "" {
			a.Password, err = randomText(18)
		}
		return err
	}
	if a.Operator == nil {
		a.Operator = &Operator{}
	}
	o := a.Operator
	o.Endpoint, o.Project, o.AuthURL = "http://"+dialable(c.Listen), identity.OperatorProject, c.Keystone.AuthURL()
	if o.Token == "" {
		o.Token, err = randomText(32)
	}
	return err
}

// randomText gives n random bytes as text.
func randomText(n int) (string, error) {
	b := make([]byte, n)
	if _, err := rand.Read(b); err != nil {
		return "", err
	}
	return base64.RawURLEncoding.EncodeToString(b), nil
}

// Endpoint is where clients on this host reach the API.
func (c *Config) Endpoint() string {
	if c.PublicURL != "" {
		return c.PublicURL
	}
	return "http://" + dialable(c.Listen)
}

func readSubnet(c *Config) (string, error) {
	var s subnet
	data, err := os.ReadFile(c.path(subnetFile))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err == nil {
		err = json.Unmarshal(data, &s)
	}
	if err != nil {
		return "", fmt.Errorf("reading %s: %w", c.path(subnetFile), err)
	}
	return s.Subnet, nil
}

func writeSubnet(c *Config, value string) error {
	data, err := json.Marshal(subnet{Subnet: value})
	if err != nil {
		return err
	}
	return pki.WriteFile(c.path(subnetFile), data, 0o600)
}
