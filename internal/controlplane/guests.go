package controlplane

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/huker/huker/internal/pki"
	"github.com/huker/huker/internal/protocol"
)

// What databases' containers run.
const (
	agentProgram      = "huker-guestagent"
	supervisorProgram = "huker-supervisor"
)

// guestSums are the SHA-256 of the two that belong to this build: "agent,supervisor", in hex. `make build` sets it. Empty in a program that was built
// otherwise: then both are beside it, or it does not start.
var guestSums string

// guests are the programs that databases' containers run, in the folder that these mount. The agent's name carries its content, so that a newer one can stand
// beside one that runs; the supervisor's name is the same in every container, and a running one keeps the file that it was started from.
type guests struct {
	dir    string
	wanted []protocol.Program
	fetch  func(ctx context.Context, sum, path string, sources []string) error

	mu   sync.Mutex
	here map[string]string // SHA-256 -> path
}

// installGuests takes the programs from a folder, where they are in it; those that are not have to be fetched from other hosts, and can be if it is known
// which ones belong to this build.
func installGuests(from, to string) (*guests, error) {
	if err := os.MkdirAll(to, 0o755); err != nil { //nolint:gosec // mysqld's user reads it, and it holds no secret
		return nil, fmt.Errorf("making the guests' bin directory: %w", err)
	}
	if err := os.Chmod(to, 0o755); err != nil { //nolint:gosec // as above, whatever the umask
		return nil, fmt.Errorf("making the guests' bin directory: %w", err)
	}
	g := &guests{dir: to, here: map[string]string{}}
	stamped := strings.Split(guestSums+",", ",")
	for n, name := range []string{agentProgram, supervisorProgram} {
		p := protocol.Program{Name: name}
		data, err := os.ReadFile(filepath.Join(from, name)) //nolint:gosec // the operator's choice
		switch {
		case err == nil:
			p.Sum = sumOf(data)
			if err := installProgram(g.path(p), data); err != nil {
				return nil, err
			}
		case errors.Is(err, fs.ErrNotExist) && len(stamped[n]) == hex.EncodedLen(sha256.Size):
			p.Sum = stamped[n]
		default:
			return nil, fmt.Errorf("finding what guests run: %w", err)
		}
		g.wanted = append(g.wanted, p)
	}
	return g, g.look()
}

func sumOf(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

func (g *guests) path(p protocol.Program) string {
	if p.Name == agentProgram {
		return filepath.Join(g.dir, agentProgram+"-"+p.Sum[:12])
	}
	return filepath.Join(g.dir, p.Name)
}

// look reads what is in the folder, and removes what a transfer left that died.
func (g *guests) look() error {
	files, err := os.ReadDir(g.dir)
	if err != nil {
		return fmt.Errorf("looking at the guests' programs: %w", err)
	}
	for _, f := range files {
		path := filepath.Join(g.dir, f.Name())
		if strings.HasPrefix(f.Name(), ".") {
			if err := os.Remove(path); err != nil {
				return fmt.Errorf("removing a part of a program: %w", err)
			}
			continue
		}
		data, err := os.ReadFile(path) //nolint:gosec // this program's own folder
		if err != nil {
			return fmt.Errorf("looking at the guests' programs: %w", err)
		}
		g.here[sumOf(data)] = path
	}
	return nil
}

// find says where the program with a SHA-256 is; empty: not here.
func (g *guests) find(sum string) string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.here[sum]
}

// Agent is the agent's file; empty while one of the two is not here.
func (g *guests) Agent() string {
	if len(g.Lacking()) > 0 {
		return ""
	}
	return filepath.Base(g.path(g.wanted[0]))
}

// Here are the programs of this build, as far as they are here.
func (g *guests) Here() []protocol.Program {
	return slices.DeleteFunc(slices.Clone(g.wanted), func(p protocol.Program) bool { return g.find(p.Sum) == "" })
}

// Lacking are those that have still to be fetched.
func (g *guests) Lacking() []protocol.Program {
	return slices.DeleteFunc(slices.Clone(g.wanted), func(p protocol.Program) bool { return g.find(p.Sum) != "" })
}

// Fetch gets those from other hosts.
func (g *guests) Fetch(ctx context.Context, sources []string) error {
	for _, p := range g.Lacking() {
		if err := g.fetch(ctx, p.Sum, g.path(p), sources); err != nil {
			return err
		}
		g.mu.Lock()
		maps.DeleteFunc(g.here, func(_, path string) bool { return path == g.path(p) }) // the one before, whose place it has taken
		g.here[p.Sum] = g.path(p)
		g.mu.Unlock()
	}
	return nil
}

func installProgram(path string, data []byte) error {
	if there, err := os.ReadFile(path); err == nil && string(there) == string(data) { //nolint:gosec // this program's own folder
		return nil
	}
	if err := pki.WriteFile(path, data, 0o755); err != nil {
		return fmt.Errorf("installing %s: %w", filepath.Base(path), err)
	}
	return nil
}
