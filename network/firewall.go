package network

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"sync"

	"github.com/coreos/go-iptables/iptables"
)

const (
	// table is the only one that Huker has rules in, so far.
	table = "filter"
	// forward is what all traffic passes that the host forwards. Docker has it ask dockerUser before its own chains, which keep
	// bridges apart, and leaves dockerUser as it is when it restarts.
	forward    = "FORWARD"
	dockerUser = "DOCKER-USER"
)

// Firewall keeps one deployment's chain in the host's iptables. It may be used by several goroutines, beside firewalls of other
// deployments on the same host.
type Firewall struct {
	ipt    *iptables.IPTables
	chain  string
	bridge string

	mu      sync.Mutex
	egress  []Egress
	leaders []string
	rules   string   // what was last asked for; empty: nothing yet
	listed  []string // how iptables lists that
}

// NewFirewall finds iptables on the host. Nothing is changed before Set.
func NewFirewall(deployment, bridge string) (*Firewall, error) {
	ipt, err := iptables.New(iptables.IPFamily(iptables.ProtocolIPv4), iptables.Timeout(10))
	if err != nil {
		return nil, fmt.Errorf("network: finding iptables: %w", err)
	}
	return &Firewall{ipt: ipt, chain: ChainName(deployment), bridge: bridge}, nil
}

// SetEgress says what databases may reach, from the next Set on.
func (f *Firewall) SetEgress(egress []Egress) error {
	if _, err := Render(f.chain, f.bridge, Rules{Egress: egress}); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.egress = slices.Clone(egress)
	return nil
}

// SetLeaders says from which addresses other hosts lead clients of endpoints here, from the next Set on. These were judged there.
func (f *Firewall) SetLeaders(addresses []string) error {
	if _, err := Render(f.chain, f.bridge, Rules{Leaders: addresses}); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.leaders = slices.Clone(addresses)
	return nil
}

// Set replaces the rules in one step, and puts back what others flushed. It runs nothing but listings when all is in place. When it
// fails the former rules stand.
func (f *Firewall) Set(ctx context.Context, access []Access) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	rules, err := Render(f.chain, f.bridge, Rules{Access: access, Egress: f.egress, Leaders: f.leaders})
	if err != nil {
		return err
	}
	_, err = f.apply(ctx, rules)
	return err
}

// Ensure puts back what others changed since Set. Before the first Set there is nothing to put back.
func (f *Firewall) Ensure(ctx context.Context) (changed bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.rules == "" {
		return false, nil
	}
	return f.apply(ctx, f.rules)
}

// apply hands iptables the chain and the jumps to it as one batch, of which all or nothing is done, if anything differs.
func (f *Firewall) apply(ctx context.Context, rules string) (changed bool, err error) {
	parents, err := f.parents()
	if err != nil {
		return false, err
	}
	var jumps []string
	for i, p := range parents {
		jumps = append(jumps, p.moves(f.chain, i == 0)...)
	}
	same := rules == f.rules && f.intact()
	if same && len(jumps) == 0 {
		return false, nil
	}
	var batch []string
	if !same {
		batch = append(batch, rules)
	}
	if err := restore(ctx, append(batch, jumps...)); err != nil {
		return false, err
	}
	if f.listed, err = f.ipt.List(table, f.chain); err != nil {
		return true, fmt.Errorf("network: reading back %s: %w", f.chain, err)
	}
	f.rules = rules
	return true, nil
}

// intact says whether the chain still holds what was put there.
func (f *Firewall) intact() bool {
	now, err := f.ipt.List(table, f.chain)
	return err == nil && slices.Equal(now, f.listed)
}

// parent is a chain that may have a jump to Huker's.
type parent struct {
	name  string
	rules []string // as iptables lists them, without the chain itself
}

// parents gives the chains that may have the jump, the one that shall have it first.
func (f *Firewall) parents() ([]parent, error) {
	var all []parent
	for _, name := range []string{dockerUser, forward} {
		there, err := f.ipt.ChainExists(table, name)
		if err != nil {
			return nil, fmt.Errorf("network: looking for %s: %w", name, err)
		}
		if !there {
			continue
		}
		rules, err := f.ipt.List(table, name)
		if err != nil {
			return nil, fmt.Errorf("network: listing %s: %w", name, err)
		}
		all = append(all, parent{name: name, rules: rules[1:]}) // the first line declares the chain
	}
	// Without Docker, or where somebody took Docker's jump out, nothing comes by DOCKER-USER.
	if len(all) == 2 && !slices.Contains(all[1].rules, jump(forward, dockerUser)) {
		slices.Reverse(all)
	}
	return all, nil
}

func jump(from, to string) string { return fmt.Sprintf("-A %s -j %s", from, to) }

// moves gives what is to be done in a parent for it to ask chain before anybody's rules (once) if wanted, and else never.
func (p parent) moves(chain string, wanted bool) []string {
	want, count, first := jump(p.name, chain), 0, false
	for i, r := range p.rules {
		if r != want {
			continue
		}
		count++
		// Chains of other deployments judge other bridges: they may come before.
		if count == 1 && !slices.ContainsFunc(p.rules[:i], func(r string) bool { return !strings.HasPrefix(r, jump(p.name, chainPrefix)) }) {
			first = true
		}
	}
	if wanted && first && count == 1 || !wanted && count == 0 {
		return nil
	}
	// By what the rules say, not by their numbers: these change while others are at work.
	moves := slices.Repeat([]string{fmt.Sprintf("-D %s -j %s", p.name, chain)}, count)
	if wanted {
		moves = append(moves, fmt.Sprintf("-I %s 1 -j %s", p.name, chain))
	}
	return moves
}

// Remove takes the chain and the jumps to it away; no error when there are none.
func (f *Firewall) Remove(ctx context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rules, f.listed = "", nil
	there, err := f.ipt.ChainExists(table, f.chain)
	if err != nil {
		return fmt.Errorf("network: looking for %s: %w", f.chain, err)
	}
	if !there {
		return nil // nothing can jump to what is not there
	}
	parents, err := f.parents()
	if err != nil {
		return err
	}
	var batch []string
	for _, p := range parents {
		batch = append(batch, p.moves(f.chain, false)...)
	}
	return restore(ctx, append(batch, "-F "+f.chain, "-X "+f.chain))
}

// restore hands lines to iptables-restore, which does all of them or none.
func restore(ctx context.Context, lines []string) error { return restoreTable(ctx, table, lines) }

func restoreTable(ctx context.Context, table string, lines []string) error {
	cmd := exec.CommandContext(ctx, "iptables-restore", "--noflush", "-w", "10")
	cmd.Stdin = strings.NewReader("*" + table + "\n" + strings.TrimSpace(strings.Join(lines, "\n")) + "\nCOMMIT\n")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Run(); err != nil {
		return errors.Join(fmt.Errorf("network: iptables-restore: %w: %s", err, strings.TrimSpace(stderr.String())), ctx.Err())
	}
	return nil
}
