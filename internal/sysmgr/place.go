package sysmgr

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/huker/huker/internal/protocol"
	"github.com/huker/huker/network"
	"github.com/huker/huker/runtime"
)

// placeFile, among the guests' folders, keeps what this host was told of itself: it takes its place again before anybody tells it.
const placeFile = "place.json"

// place is what a host remembers of the deployment.
type place struct {
	Term   int64               `json:"term"` // the newest nodekeeper's that was heard of
	Config protocol.HostConfig `json:"config"`
}

// Place has a host take its place among others. It must be repeatable.
type Place interface {
	Join(ctx context.Context, c protocol.HostConfig) error
}

// Ground is the host's own network as a Place.
type Ground struct {
	Networks runtime.Networks
	Network  string // the databases'
	Labels   map[string]string
	Firewall interface {
		SetEgress(egress []network.Egress) error
		SetLeaders(addresses []string) error
	}
	// Endpoints is told where this host's databases are, and what leads to clusters; nil: there are none.
	Endpoints interface {
		Place(subnet, databases, endpoints string) error
	}
}

// Join has the databases' network be there, with the subnet, the way to the other hosts' databases be known, and ours let out to them and to the
// engines.
func (g Ground) Join(ctx context.Context, c protocol.HostConfig) error {
	there, err := g.Networks.EnsureNetwork(ctx, g.Network, c.Subnet, g.Labels)
	if err != nil {
		return fmt.Errorf("making the databases' network: %w", err)
	}
	if there.Subnet != c.Subnet {
		return fmt.Errorf("network %s has subnet %s, but this host's databases are to be in %s: remove it (docker network rm %s) when no database is in it",
			g.Network, there.Subnet, c.Subnet, g.Network)
	}
	egress, err := egressOf(ctx, c)
	if err != nil {
		return err
	}
	leaders, err := leadersOf(c)
	if err != nil {
		return err
	}
	if err := errors.Join(g.Firewall.SetEgress(egress), g.Firewall.SetLeaders(leaders)); err != nil {
		return err
	}
	if err := g.placeEndpoints(c); err != nil {
		return err
	}
	if len(c.Peers) == 0 {
		return nil
	}
	var routes []network.Route
	for _, p := range c.Peers {
		routes = append(routes, network.Route{Subnet: p.Subnet, Via: p.Address})
	}
	return network.SetRoutes(c.Range, routes)
}

func (g Ground) placeEndpoints(c protocol.HostConfig) error {
	if g.Endpoints == nil || c.Range == "" {
		return nil
	}
	within, err := network.EndpointSubnet(c.Range)
	if err != nil {
		return fmt.Errorf("endpoints of clusters: %w", err)
	}
	return g.Endpoints.Place(c.Subnet, c.Range, within)
}

// leadersOf are the addresses that the other hosts have among their databases: by these they lead clients of clusters here.
func leadersOf(c protocol.HostConfig) ([]string, error) {
	var leaders []string
	for _, p := range c.Peers {
		gateway, err := network.Gateway(p.Subnet)
		if err != nil {
			return nil, fmt.Errorf("the databases of host %s: %w", p.Address, err)
		}
		leaders = append(leaders, gateway)
	}
	slices.Sort(leaders)
	return leaders, nil
}

// egressOf resolves names now: the firewall knows addresses only. What cannot be resolved is an error: databases could not reach it.
func egressOf(ctx context.Context, c protocol.HostConfig) ([]network.Egress, error) {
	var egress []network.Egress
	for _, target := range c.Egress {
		host, port, err := net.SplitHostPort(target)
		if err != nil {
			return nil, fmt.Errorf("reading %q: %w", target, err)
		}
		number, err := strconv.Atoi(port)
		if err != nil {
			return nil, fmt.Errorf("reading %q: %w", target, err)
		}
		ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip4", host)
		if err != nil {
			return nil, fmt.Errorf("looking up %s, which databases must reach: %w", host, err)
		}
		for _, ip := range ips {
			egress = append(egress, network.Egress{To: ip.Unmap().String(), Port: number})
		}
	}
	for _, p := range c.Peers {
		egress = append(egress, network.Egress{To: p.Subnet, Port: network.Port})
	}
	slices.SortFunc(egress, func(a, b network.Egress) int { return strings.Compare(a.To, b.To) })
	return egress, nil
}

// heed refuses a nodekeeper that another one has taken over from, and remembers the newest.
func (h *Host) heed(term int64) error {
	h.placeMu.Lock()
	defer h.placeMu.Unlock()
	switch {
	case term < h.place.Term:
		return coded(protocol.CodeTermOver, "term %d is over: nodekeeper's term %d has begun", term, h.place.Term)
	case term == h.place.Term:
		return nil
	}
	next := h.place
	next.Term = term
	return h.keepPlace(next)
}

// configure takes a place among the other hosts. When that fails the host says why where nodekeeper and operators look.
func (h *Host) configure(ctx context.Context, r protocol.HostRequest) error {
	if err := h.heed(r.Term); err != nil {
		return err
	}
	h.placeMu.Lock()
	defer h.placeMu.Unlock()
	err := h.join(ctx, r.HostConfig)
	if err == nil {
		err = h.setFirewall(ctx) // it lets other hosts' clients in, and ours out to them
	}
	if err == nil && r.Hash() != h.place.Config.Hash() {
		next := h.place
		next.Config = r.HostConfig
		err = h.keepPlace(next)
	}
	h.trouble = ""
	if err != nil {
		h.trouble = err.Error()
	}
	h.reannounce()
	return explain(err)
}

func (h *Host) join(ctx context.Context, c protocol.HostConfig) error {
	if h.cfg.Place == nil || c.Subnet == "" {
		return nil
	}
	return h.cfg.Place.Join(ctx, c)
}

// rejoin takes the place again that was last told: routes and networks go with a reboot.
func (h *Host) rejoin(ctx context.Context) error {
	h.placeMu.Lock()
	defer h.placeMu.Unlock()
	return h.join(ctx, h.place.Config)
}

func (h *Host) keepPlace(p place) error {
	data, err := json.Marshal(p)
	if err != nil {
		return fmt.Errorf("encoding the host's place: %w", err)
	}
	if err := h.writeFile(filepath.Join(h.cfg.GuestsDir, placeFile), data, false); err != nil {
		return err
	}
	h.place = p
	return nil
}

func (h *Host) recallPlace() error {
	data, err := os.ReadFile(filepath.Join(h.cfg.GuestsDir, placeFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = json.Unmarshal(data, &h.place)
	}
	if err != nil {
		return fmt.Errorf("reading the host's place: %w", err)
	}
	return nil
}

// reannounce has the host's status written again.
func (h *Host) reannounce() {
	select {
	case h.changed <- struct{}{}:
	default:
	}
}

// hostStatus is what the host says of itself now.
func (h *Host) hostStatus(ctx context.Context) protocol.HostStatus {
	h.placeMu.Lock()
	config, trouble := h.place.Config, h.trouble
	h.placeMu.Unlock()
	s := protocol.HostStatus{
		Host: h.cfg.Host, Version: h.cfg.Version, CPUs: h.capacity.CPUs, RAMMB: h.capacity.RAMMB, DiskGB: h.capacity.DiskGB,
		Engine: h.capacity.Engine, Since: h.since, Labels: h.cfg.Labels, Address: h.cfg.Address, Depot: h.cfg.Depot,
		Subnet: config.Subnet, Config: config.Hash(), Trouble: trouble,
	}
	s.Programs, s.Lacks = h.cfg.Programs.Here(), h.cfg.Programs.Lacking()
	if why := h.lacks(); why != "" && s.Trouble == "" {
		s.Trouble = why
	}
	if s.Subnet == "" {
		s.Subnet, s.Config = h.cfg.Subnet, ""
	}
	if h.cfg.Offers == nil {
		return s
	}
	images, err := h.cfg.Offers(ctx)
	if err != nil {
		h.log.Warn("listing the images of databases", "op", "announce", "error", err)
	}
	s.Images = images
	return s
}
