package fleet

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"

	"golang.org/x/sys/unix"
)

const (
	// DirVariable names the environment's variable with another place than DefaultDir.
	DirVariable = "HUKER_FLEET_DIR"
	// DefaultDir is where fleets and their images are kept. It is the machine's, not a checkout's, so that whoever comes next finds what is left; and
	// short, as the path of a socket has 107 characters at most.
	DefaultDir = "/var/lib/huker-fleet"
)

// names leave room for linkPrefix in the 15 characters of an interface's name.
var names = regexp.MustCompile(`^[a-z][a-z0-9-]{0,10}$`)

// BaseDir is where fleets and their images are kept.
func BaseDir() string {
	if dir := os.Getenv(DirVariable); dir != "" {
		return dir
	}
	return DefaultDir
}

func fleetsDir() string              { return filepath.Join(BaseDir(), "fleets") }
func fleetDir(name string) string    { return filepath.Join(fleetsDir(), name) }
func switchScript(dir string) string { return filepath.Join(dir, "switch.sh") }

// state is what a fleet's directory says of it, for those who find it.
type state struct {
	Name    string      `json:"name"`
	Subnet  string      `json:"subnet"`         // a /16
	Keep    bool        `json:"keep,omitempty"` // it is to stay when its maker has ended
	NoRoute bool        `json:"no_routes,omitempty"`
	Hosts   []hostState `json:"hosts"`
	Cuts    []cut       `json:"cuts,omitempty"`
}

type hostState struct {
	Name     string    `json:"name"`
	Subnet   string    `json:"subnet"`
	Slow     int       `json:"slow,omitempty"` // bits per second; 0: as fast as it goes
	Programs []Program `json:"programs,omitempty"`
}

func readState(dir string) (state, error) {
	var s state
	data, err := os.ReadFile(filepath.Join(dir, "state.json"))
	if err == nil {
		err = json.Unmarshal(data, &s)
	}
	if err != nil {
		return state{}, fmt.Errorf("reading what is known of a fleet: %w", err)
	}
	return s, nil
}

func writeState(dir string, s state) error {
	data, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return fmt.Errorf("writing down the fleet: %w", err)
	}
	path := filepath.Join(dir, "state.json")
	if err := os.WriteFile(path+".new", data, 0o600); err != nil {
		return fmt.Errorf("writing down the fleet: %w", err)
	}
	return os.Rename(path+".new", path)
}

// lock takes a lock that ends with this process, at the latest; ErrTaken when somebody has it and wait is false.
func lock(path string, wait bool) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("locking: %w", err)
	}
	how := unix.LOCK_EX
	if !wait {
		how |= unix.LOCK_NB
	}
	for {
		err = unix.Flock(int(f.Fd()), how)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err == nil {
		return f, nil
	}
	_ = f.Close()
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil, ErrTaken
	}
	return nil, fmt.Errorf("locking %s: %w", path, err)
}

// registry is held while fleets are looked for, are taken over, come and go: who finds a fleet's directory finds its lock in it.
func registry() (*os.File, error) {
	if err := os.MkdirAll(fleetsDir(), 0o700); err != nil {
		return nil, fmt.Errorf("making the fleets' directory: %w", err)
	}
	return lock(filepath.Join(BaseDir(), "lock"), true)
}

// claim makes the directory of a fleet and takes its lock. The registry must be held.
func claim(name string) (dir string, own *os.File, err error) {
	dir = fleetDir(name)
	if err := os.Mkdir(dir, 0o700); errors.Is(err, os.ErrExist) {
		return "", nil, fmt.Errorf("fleet %s: %w", name, ErrTaken)
	} else if err != nil {
		return "", nil, fmt.Errorf("making the fleet's directory: %w", err)
	}
	own, err = lock(filepath.Join(dir, "lock"), false)
	return dir, own, err
}

// take takes the lock of a fleet that is there. The registry must be held.
func take(name string) (*os.File, error) {
	dir := fleetDir(name)
	if _, err := os.Stat(dir); err != nil || !names.MatchString(name) {
		return nil, fmt.Errorf("fleet %q: %w", name, ErrNotFound)
	}
	own, err := lock(filepath.Join(dir, "lock"), false)
	if err != nil {
		return nil, fmt.Errorf("fleet %s: %w", name, err)
	}
	return own, nil
}

// known gives the states of all fleets whose state can be read.
func known() ([]state, error) {
	entries, err := os.ReadDir(fleetsDir())
	if err != nil {
		return nil, fmt.Errorf("looking for fleets: %w", err)
	}
	var all []state
	for _, e := range entries {
		if s, err := readState(fleetDir(e.Name())); err == nil {
			all = append(all, s)
		}
	}
	return all, nil
}
