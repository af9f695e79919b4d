package network

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/vishvananda/netlink"
)

// endpointProtocol marks the route to endpoints' addresses, as routeProtocol does those to databases.
const endpointProtocol netlink.RouteProtocol = 105

// Balancer leads connections to endpoints' addresses to the servers behind them, in the kernel of this host: there is no hop between, and a server on this host sees
// the client's address, as its answer comes back through here by itself. One on another host sees this host's. Connections to who is no target any more are forgotten at once, so that
// their clients are told so with the next packet. It may be used by several goroutines.
type Balancer struct {
	chains chainNames
	bridge string

	mu        sync.Mutex
	site      site
	endpoints []Endpoint
	rules     map[string]map[string][]string // as asked for last; nil: nothing yet
	listed    listing                        // how iptables-save listed that when it was last looked at
	rewritten map[[2]string]bool             // tables' chains that were written since
}

// NewBalancer makes one for a deployment, whose databases are on a bridge. Nothing is changed before Set.
func NewBalancer(deployment, bridge string) *Balancer {
	return &Balancer{chains: chainsOf(deployment), bridge: bridge}
}

// Place says where this host's databases are, all databases, and what endpoints' addresses are taken from, from the next Set on. It has the kernel know a way to these.
func (b *Balancer) Place(subnet, databases, endpoints string) error {
	for _, p := range []string{subnet, databases, endpoints} {
		if _, err := netip4(p); err != nil {
			return err
		}
	}
	b.mu.Lock()
	b.site = site{subnet: subnet, databases: databases, within: endpoints, bridge: b.bridge}
	b.mu.Unlock()
	return errors.Join(b.route(endpoints), b.loopback())
}

// route leads to the bridge, where none of the addresses is: without a way the kernel would say that there is none before it asks our rules.
func (b *Balancer) route(endpoints string) error {
	p, err := netip4(endpoints)
	if err != nil {
		return err
	}
	link, err := netlink.LinkByName(b.bridge)
	if err != nil {
		return fmt.Errorf("network: looking for %s: %w", b.bridge, err)
	}
	err = netlink.RouteReplace(&netlink.Route{LinkIndex: link.Attrs().Index, Dst: ipNet(p), Protocol: endpointProtocol, Scope: netlink.SCOPE_LINK})
	if err != nil {
		return fmt.Errorf("network: adding the route to endpoints: %w", err)
	}
	return nil
}

// loopback has the kernel let connections from loopback addresses of this host out to databases, and their answers in.
func (b *Balancer) loopback() error {
	const all = "/proc/sys/net/ipv4/conf/all/route_localnet"
	if now, err := os.ReadFile(all); err == nil && strings.TrimSpace(string(now)) == "1" {
		return nil
	}
	if err := os.WriteFile(all, []byte("1"), 0o600); err != nil && !errors.Is(err, syscall.EROFS) {
		return fmt.Errorf("network: endpoints at 127.0.0.1: %w", err)
	}
	return nil
}

// Set replaces all endpoints. Only what differs is written, in one step for each table; when that fails the former rules stand. Clients wait for it, so it does not look
// at what others did to the rest: Ensure is to follow soon.
func (b *Balancer) Set(ctx context.Context, endpoints []Endpoint) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.site.subnet == "" {
		return fmt.Errorf("%w: endpoints before the host's place is known", ErrInvalid)
	}
	rules, err := renderEndpoints(b.chains, b.site, endpoints)
	if err != nil {
		return err
	}
	if err := b.apply(ctx, rules, b.rules == nil); err != nil {
		return err
	}
	was := b.endpoints
	b.endpoints = slices.Clone(endpoints)
	return b.forget(was)
}

// Ensure puts back what others changed.
func (b *Balancer) Ensure(ctx context.Context) (changed bool, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.rules == nil {
		return false, nil
	}
	now, err := b.list(ctx)
	if err != nil {
		return false, err
	}
	if now.inPlace && now.same(b.listed, b.rewritten) && b.whole(now) {
		b.listed, b.rewritten = now, nil
		return false, nil
	}
	return true, b.apply(ctx, b.rules, true)
}

// whole says whether chains that were written and not looked at yet have as many rules as they were given: how iptables-save writes those is not known before.
func (b *Balancer) whole(now listing) bool {
	for c := range b.rewritten {
		if len(now.rules[c[0]][c[1]]) != len(b.rules[c[0]][c[1]]) {
			return false
		}
	}
	return true
}

// jumps are from where our chains are asked, by table: before anybody else's rules.
func (b *Balancer) jumps() map[string][][2]string {
	c := b.chains
	return map[string][][2]string{
		natTable:    {{"PREROUTING", c.fronts}, {"OUTPUT", c.fronts}, {"POSTROUTING", c.back}},
		filterTable: {{"OUTPUT", c.refuse}, {forward, c.refuse}, {forward, c.pass}, {"INPUT", c.refuse}, {"INPUT", c.guard}},
	}
}

// apply hands iptables what differs from before; everything, if that is not to be trusted.
func (b *Balancer) apply(ctx context.Context, rules map[string]map[string][]string, everything bool) error {
	saved := map[string][]string{}
	if everything {
		var err error
		if saved, err = save(ctx); err != nil {
			return err
		}
	}
	for _, table := range []string{natTable, filterTable} {
		batch := b.batch(table, rules[table], saved[table], everything)
		if len(batch) == 0 {
			continue
		}
		if err := restoreTable(ctx, table, batch); err != nil {
			return err
		}
	}
	if everything {
		b.rules = rules
		var err error
		b.listed, err = b.list(ctx)
		b.rewritten = nil
		return err
	}
	if b.rewritten == nil {
		b.rewritten = map[[2]string]bool{}
	}
	for _, table := range []string{natTable, filterTable} {
		for _, chain := range slices.Concat(slices.Collect(maps.Keys(rules[table])), slices.Collect(maps.Keys(b.rules[table]))) {
			if !slices.Equal(b.rules[table][chain], rules[table][chain]) {
				b.rewritten[[2]string{table, chain}] = true
			}
		}
	}
	b.rules = rules
	return nil
}

// batch is what iptables-restore is told for one table. Chains are there before anybody asks them, and those that nobody asks any more go last.
func (b *Balancer) batch(table string, rules map[string][]string, saved []string, everything bool) []string {
	var chains, lines, jumps, gone []string
	for _, chain := range slices.Sorted(maps.Keys(rules)) {
		before, known := b.rules[table][chain]
		if everything || !known || !slices.Equal(before, rules[chain]) {
			chains = append(chains, ":"+chain+" - [0:0]")
			lines = append(lines, rules[chain]...)
		}
	}
	if everything {
		for _, j := range slices.Backward(b.jumps()[table]) { // each becomes the first
			if firstOf(saved, j) {
				continue
			}
			for _, line := range saved { // it may be there, behind others' rules
				if line == jump(j[0], j[1]) {
					jumps = append(jumps, fmt.Sprintf("-D %s -j %s", j[0], j[1]))
				}
			}
			jumps = append(jumps, fmt.Sprintf("-I %s 1 -j %s", j[0], j[1]))
		}
	}
	old := map[string]bool{}
	for chain := range b.rules[table] {
		old[chain] = true
	}
	for _, line := range saved {
		if name, ok := strings.CutPrefix(line, ":"); ok {
			name, _, _ = strings.Cut(name, " ")
			old[name] = b.ours(name)
		}
	}
	for _, chain := range slices.Sorted(maps.Keys(old)) {
		if _, wanted := rules[chain]; old[chain] && !wanted {
			gone = append(gone, "-F "+chain, "-X "+chain)
		}
	}
	return slices.Concat(chains, lines, jumps, gone)
}

// firstOf says whether a jump is there, once, and before the rules of anybody but Huker's deployments.
func firstOf(lines []string, j [2]string) bool {
	want, there := jump(j[0], j[1]), 0
	foreign := false
	for _, line := range lines {
		switch {
		case !strings.HasPrefix(line, "-A "+j[0]+" "):
		case line == want && foreign:
			return false
		case line == want:
			there++
		case !strings.HasPrefix(line, jump(j[0], chainPrefix)):
			foreign = true
		}
	}
	return there == 1
}

// ours says whether a chain is one of this deployment's endpoints.
func (b *Balancer) ours(chain string) bool {
	c := b.chains
	return slices.Contains([]string{c.fronts, c.back, c.refuse, c.guard, c.pass, c.judge}, chain) || strings.HasPrefix(chain, c.prefix)
}

// listing is our chains' rules, and the jumps to them, as iptables-save writes them.
type listing struct {
	rules   map[string]map[string][]string // by table, and by the chain that they are in
	inPlace bool                           // each jump is there, once, and before the rules of others
}

// same says whether two listings have the same rules, but for chains that were rewritten.
func (l listing) same(other listing, rewritten map[[2]string]bool) bool {
	for _, table := range []string{natTable, filterTable} {
		for _, chain := range slices.Concat(slices.Collect(maps.Keys(l.rules[table])), slices.Collect(maps.Keys(other.rules[table]))) {
			if !slices.Equal(l.rules[table][chain], other.rules[table][chain]) && !rewritten[[2]string{table, chain}] {
				return false
			}
		}
	}
	return true
}

// list gives what there is.
func (b *Balancer) list(ctx context.Context) (listing, error) {
	saved, err := save(ctx)
	if err != nil {
		return listing{}, err
	}
	l := listing{rules: map[string]map[string][]string{}, inPlace: true}
	for _, table := range []string{natTable, filterTable} {
		l.rules[table] = map[string][]string{}
		for _, line := range saved[table] {
			words := strings.Fields(line)
			if len(words) >= 2 && words[0] == "-A" && (b.ours(words[1]) || b.ours(words[len(words)-1])) {
				l.rules[table][words[1]] = append(l.rules[table][words[1]], line)
			}
		}
		for _, j := range b.jumps()[table] {
			l.inPlace = l.inPlace && firstOf(saved[table], j)
		}
	}
	return l, nil
}

// save lists what is in the tables that Huker has rules in.
func save(ctx context.Context) (map[string][]string, error) {
	out := map[string][]string{}
	for _, table := range []string{natTable, filterTable} {
		text, err := exec.CommandContext(ctx, "iptables-save", "-t", table).Output() // #nosec G204 -- constants
		if err != nil {
			return nil, errors.Join(fmt.Errorf("network: iptables-save: %w", err), ctx.Err())
		}
		out[table] = strings.Split(strings.TrimSpace(string(text)), "\n")
	}
	return out, nil
}

// forget has the kernel forget connections to endpoints that lead to somebody who is no target any more: to nobody, where there was an endpoint and is none.
func (b *Balancer) forget(was []Endpoint) error {
	f := &stale{address: map[string][]string{}, port: map[uint16][]string{}}
	for _, e := range was {
		f.note(e.ReadWrite, nil)
		f.note(e.ReadOnly, nil)
	}
	for _, e := range b.endpoints {
		f.note(e.ReadWrite, e.writers())
		f.note(e.ReadOnly, e.readers())
	}
	_, err := netlink.ConntrackDeleteFilters(netlink.ConntrackTable, netlink.FAMILY_V4, f)
	if err != nil && !errors.Is(err, syscall.ENOENT) {
		return fmt.Errorf("network: forgetting connections: %w", err)
	}
	return provoke(f.found)
}

// stale finds connections to endpoints whose server is none of the targets.
type stale struct {
	address map[string][]string
	port    map[uint16][]string
	found   []flow
}

// note says who the targets of a front are.
func (s *stale) note(front Front, targets []string) {
	if front.Address == "" {
		return
	}
	s.address[front.Address] = targets
	if front.Port > 0 {
		s.port[uint16(front.Port)] = targets //nolint:gosec // checked
	}
}

// MatchConntrackFlow implements netlink.CustomConntrackFilter.
func (s *stale) MatchConntrackFlow(c *netlink.ConntrackFlow) bool {
	if c.Forward.Protocol != syscall.IPPROTO_TCP {
		return false
	}
	targets, ours := s.address[c.Forward.DstIP.String()]
	if ours && c.Forward.DstPort != Port {
		return false
	}
	if !ours {
		if targets, ours = s.port[c.Forward.DstPort]; !ours || c.Reverse.SrcPort != Port {
			return false
		}
	}
	if slices.Contains(targets, c.Reverse.SrcIP.String()) {
		return false
	}
	client, knows := netip.AddrFromSlice(c.Forward.SrcIP.To4())
	front, leads := netip.AddrFromSlice(c.Forward.DstIP.To4())
	if knows && leads {
		s.found = append(s.found, flow{netip.AddrPortFrom(client, c.Forward.SrcPort), netip.AddrPortFrom(front, c.Forward.DstPort)})
	}
	return true
}

// Remove takes all of a deployment's chains away, and the route; no error when there are none.
func (b *Balancer) Remove(ctx context.Context) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.rules, b.listed, b.rewritten = nil, listing{}, nil
	saved, err := save(ctx)
	if err != nil {
		return err
	}
	for _, table := range []string{natTable, filterTable} {
		var batch, chains []string
		for _, line := range saved[table] {
			words := strings.Fields(line)
			switch {
			case strings.HasPrefix(line, ":") && b.ours(words[0][1:]):
				chains = append(chains, words[0][1:])
			case len(words) >= 2 && words[0] == "-A" && !b.ours(words[1]) && b.ours(words[len(words)-1]):
				batch = append(batch, "-D"+strings.TrimPrefix(line, "-A"))
			}
		}
		for _, c := range chains {
			batch = append(batch, "-F "+c)
		}
		for _, c := range chains {
			batch = append(batch, "-X "+c)
		}
		if len(batch) == 0 {
			continue
		}
		if err := restoreTable(ctx, table, batch); err != nil {
			return err
		}
	}
	return nil
}
