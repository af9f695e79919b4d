package network

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"sync"

	"github.com/coreos/go-iptables/iptables"
)

// table is the only one that Huker has rules in, so far.
const table = "filter"

// Firewall keeps one deployment's chain in the host's iptables.
type Firewall struct {
	ipt     *iptables.IPTables
	chain   string
	bridge  string
	mu      sync.Mutex
	applied string // what the chain was last set to
	listed  []string
}

// NewFirewall finds iptables on the host. Nothing is changed before Set.
func NewFirewall(deployment, bridge string) (*Firewall, error) {
	ipt, err := iptables.New(iptables.IPFamily(iptables.ProtocolIPv4), iptables.Timeout(10))
	if err != nil {
		return nil, fmt.Errorf("network: finding iptables: %w", err)
	}
	return &Firewall{ipt: ipt, chain: ChainName(deployment), bridge: bridge}, nil
}

// Set replaces the rules in one step, and puts back what others flushed. It runs nothing but two listings when all is in place.
func (f *Firewall) Set(ctx context.Context, access []Access) error {
	rules, err := Render(f.chain, f.bridge, access)
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if rules != f.applied || !f.intact() {
		if err := restore(ctx, rules); err != nil {
			return err
		}
		if f.listed, err = f.ipt.List(table, f.chain); err != nil {
			return fmt.Errorf("network: reading back %s: %w", f.chain, err)
		}
		f.applied = rules
	}
	return f.jump()
}

// intact says whether the chain still holds what was put there.
func (f *Firewall) intact() bool {
	now, err := f.ipt.List(table, f.chain)
	return err == nil && strings.Join(now, "\n") == strings.Join(f.listed, "\n")
}

// jump has the chain asked first for everything that the host forwards. Docker's own isolation of bridges comes after DOCKER-USER, which
// survives Docker's restarts; without Docker there is FORWARD.
func (f *Firewall) jump() error {
	parent, err := f.parent()
	if err != nil {
		return err
	}
	rules, err := f.ipt.List(table, parent)
	if err != nil {
		return fmt.Errorf("network: listing %s: %w", parent, err)
	}
	want := fmt.Sprintf("-A %s -j %s", parent, f.chain)
	for _, r := range rules[1:] { // the first line declares the chain
		if r == want {
			return nil
		}
		if !strings.Contains(r, "-j HUKER-") {
			break // somebody's rule comes before ours: go to the front
		}
	}
	// In front first, then away with the old one: at no moment is there none.
	if err := f.ipt.Insert(table, parent, 1, "-j", f.chain); err != nil {
		return fmt.Errorf("network: putting %s into %s: %w", f.chain, parent, err)
	}
	return f.dropOld(parent)
}

// dropOld removes all jumps but the first.
func (f *Firewall) dropOld(parent string) error {
	rules, err := f.ipt.List(table, parent)
	if err != nil {
		return fmt.Errorf("network: listing %s: %w", parent, err)
	}
	want := fmt.Sprintf("-A %s -j %s", parent, f.chain)
	seen := 0
	for n := len(rules) - 1; n >= 1; n-- {
		if rules[n] == want {
			seen++
		}
	}
	for n := len(rules) - 1; n >= 1 && seen > 1; n-- {
		if rules[n] != want {
			continue
		}
		if err := f.ipt.Delete(table, parent, fmt.Sprint(n)); err != nil {
			return fmt.Errorf("network: removing an old jump to %s: %w", f.chain, err)
		}
		seen--
	}
	return nil
}

func (f *Firewall) parent() (string, error) {
	ok, err := f.ipt.ChainExists(table, "DOCKER-USER")
	if err != nil {
		return "", fmt.Errorf("network: looking for DOCKER-USER: %w", err)
	}
	if ok {
		return "DOCKER-USER", nil
	}
	return "FORWARD", nil
}

// Remove takes the chain and the jumps to it away; no error when there are none.
func (f *Firewall) Remove(context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.applied, f.listed = "", nil
	var errs []error
	for _, parent := range []string{"DOCKER-USER", "FORWARD"} {
		for {
			ok, err := f.ipt.ChainExists(table, parent)
			if err == nil && ok {
				ok, err = f.ipt.Exists(table, parent, "-j", f.chain)
			}
			if isMissing(err) || (err == nil && !ok) {
				break
			}
			if err == nil {
				err = f.ipt.Delete(table, parent, "-j", f.chain)
			}
			if err != nil {
				errs = append(errs, err)
				break
			}
		}
	}
	if ok, err := f.ipt.ChainExists(table, f.chain); err != nil || ok {
		errs = append(errs, err, f.ipt.ClearAndDeleteChain(table, f.chain))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("network: removing %s: %w", f.chain, err)
	}
	return nil
}

// isMissing: iptables says so when a rule names a chain that is not there.
func isMissing(err error) bool {
	var e *iptables.Error
	return errors.As(err, &e) && (e.IsNotExist() || e.ExitStatus() == 2)
}

// restore hands rules to iptables-restore, which commits all of them or none.
func restore(ctx context.Context, rules string) error {
	cmd := exec.CommandContext(ctx, "iptables-restore", "--noflush", "-w", "10")
	cmd.Stdin = strings.NewReader(rules)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("network: iptables-restore: %w: %s", err, strings.TrimSpace(stderr.String()))
	}
	return nil
}
