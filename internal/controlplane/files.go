package controlplane

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/huker/huker/internal/pki"
)

// Admin is the content of the administrator's file, from which the CLI on this host takes its address and password.
type Admin struct {
	Endpoint string `json:"endpoint"`
	Username string `json:"username"`
	Password string `json:"password"`
	Project  string `json:"project"`
	Region   string `json:"region"`
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

// adminFile reads the administrator's file, or makes it with a random password. It is written before the password is used: then a crash
// never leaves a password that nobody knows.
func adminFile(c *Config) (Admin, error) {
	path := c.path(AdminFile)
	a := Admin{Username: "admin", Project: "admin"}
	data, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		secret := make([]byte, 18)
		if _, err := rand.Read(secret); err != nil {
			return a, fmt.Errorf("making the administrator's password: %w", err)
		}
		a.Password = base64.RawURLEncoding.EncodeToString(secret)
	case err != nil:
		return a, fmt.Errorf("reading the administrator's file: %w", err)
	default:
		if err := json.Unmarshal(data, &a); err != nil {
			return a, fmt.Errorf("reading %s: %w", path, err)
		}
	}
	a.Endpoint, a.Region = c.Endpoint(), c.Region
	want, err := json.MarshalIndent(a, "", "  ")
	if err != nil || string(want) == string(data) {
		return a, err
	}
	return a, pki.WriteFile(path, want, 0o600)
}

// Endpoint is where clients on this host reach the API.
func (c *Config) Endpoint() string {
	if c.PublicURL != "" {
		return c.PublicURL
	}
	return "http://" + dialable(c.Listen)
}

// installGuests puts the guests' programs where containers mount them. The agent's name carries its content, so that a newer one can stand beside
// one that runs; the supervisor's name is fixed in every container, and a running one keeps the file that it was started from.
func installGuests(from, to string) (agent string, err error) {
	if err := os.MkdirAll(to, 0o755); err != nil { //nolint:gosec // mysqld's user reads it, and it holds no secret
		return "", fmt.Errorf("making the guests' bin directory: %w", err)
	}
	if err := os.Chmod(to, 0o755); err != nil { //nolint:gosec // as above, whatever the umask
		return "", fmt.Errorf("making the guests' bin directory: %w", err)
	}
	supervisor, err := os.ReadFile(filepath.Join(from, "huker-supervisor"))
	if err != nil {
		return "", fmt.Errorf("finding the guests' programs: %w", err)
	}
	program, err := os.ReadFile(filepath.Join(from, "huker-guestagent"))
	if err != nil {
		return "", fmt.Errorf("finding the guests' programs: %w", err)
	}
	sum := sha256.Sum256(program)
	agent = "huker-guestagent-" + hex.EncodeToString(sum[:6])
	for name, data := range map[string][]byte{"huker-supervisor": supervisor, agent: program} {
		if err := installProgram(filepath.Join(to, name), data); err != nil {
			return "", err
		}
	}
	return agent, nil
}

func installProgram(path string, data []byte) error {
	if there, err := os.ReadFile(path); err == nil && string(there) == string(data) {
		return nil
	}
	if err := pki.WriteFile(path, data, 0o755); err != nil {
		return fmt.Errorf("installing %s: %w", filepath.Base(path), err)
	}
	return nil
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
