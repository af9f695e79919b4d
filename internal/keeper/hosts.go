package keeper

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/huker/huker/internal/coord"
	"github.com/huker/huker/internal/metastore"
	"github.com/huker/huker/internal/model"
	"github.com/huker/huker/internal/protocol"
)

// subnetBits is the size of a host's subnet: room for 244 databases.
const subnetBits = 24

// tellConcurrency bounds how many hosts are told their place at once.
const tellConcurrency = 16

// errNoSubnet says that a host cannot have a subnet of its own: the operator must act.
var errNoSubnet = errors.New("no subnet for a host's databases")

// heard has the hosts looked at.
func (k *Keeper) heard() {
	select {
	case k.hosts <- struct{}{}:
	default:
	}
}

// register keeps the rows of hosts in line with what they say of themselves, and tells each its place among the others.
func (k *Keeper) register(ctx context.Context) error {
	tick := time.NewTicker(k.cfg.Resync)
	defer tick.Stop()
	for {
		err := k.registerAll(ctx)
		if over(err) {
			return err
		}
		if err != nil && ctx.Err() == nil {
			k.log.Warn("registering the hosts; trying again", "op", "hosts", "error", err)
		}
		select {
		case <-k.hosts:
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

func (k *Keeper) registerAll(ctx context.Context) error {
	alive := k.view.alive()
	var s survey
	err := k.update(ctx, func(tx metastore.Tx) error {
		rows, err := tx.Hosts().List(ctx)
		if err != nil {
			return err
		}
		if err := k.dropGone(ctx, alive, rows); err != nil {
			return err
		}
		s = surveyed(rows, alive, k.cfg.Range, k.now().UTC())
		for _, h := range s.changed {
			if err := tx.Hosts().Put(ctx, h); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("writing down the hosts: %w", err)
	}
	for _, h := range s.changed {
		k.log.Info("host", "op", "hosts", "host", h.ID, "up", h.Up, "subnet", h.Subnet, "address", h.Address)
	}
	gone := map[string]bool{}
	for id, h := range s.rows {
		if h.Removed {
			gone[id] = true
			delete(alive, id) // it is told nothing any more
		}
	}
	k.view.setGone(gone)
	k.toAdmit(s.rows)
	errs := append(s.troubles, k.offer(ctx, alive), k.equip(ctx, alive))
	return errors.Join(append(errs, k.tell(ctx, alive, s.rows))...)
}

// dropGone forgets what was heard of hosts that have no row and are not there any more. Removing a host takes its keys first and its row after them, and what this process has heard
// may be of before: the host would be written down as a new one, and let in.
func (k *Keeper) dropGone(ctx context.Context, alive map[string]protocol.HostStatus, rows []model.Host) error {
	for id := range alive {
		if slices.ContainsFunc(rows, func(h model.Host) bool { return h.ID == id }) {
			continue
		}
		_, err := k.e.Coord.Get(ctx, protocol.HostAliveKey(id))
		switch {
		case errors.Is(err, coord.ErrNotFound):
			delete(alive, id)
		case err != nil:
			return fmt.Errorf("asking whether host %s is there: %w", id, err)
		}
	}
	return nil
}

// tell has every living host know its place among the others.
func (k *Keeper) tell(ctx context.Context, alive map[string]protocol.HostStatus, rows map[string]model.Host) error {
	return each(alive, tellConcurrency, func(id string) error {
		want := k.hostConfig(id, rows)
		if want.Subnet == "" || alive[id].Config == want.Hash() {
			return nil
		}
		return k.host(ctx, id, protocol.KindHost, protocol.HostRequest{Term: k.term, HostConfig: want}, nil)
	})
}

// each does something for every one of some hosts, for several at once: one that does not answer holds up nobody else.
func each[T any](hosts map[string]T, concurrency int, do func(id string) error) error {
	var mu sync.Mutex
	var errs []error
	var wg sync.WaitGroup
	slots := make(chan struct{}, concurrency)
	for id := range hosts {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			if err := do(id); err != nil {
				mu.Lock()
				defer mu.Unlock()
				errs = append(errs, err)
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// equip tells hosts that lack what guests run which other hosts have it.
func (k *Keeper) equip(ctx context.Context, alive map[string]protocol.HostStatus) error {
	return each(alive, tellConcurrency, func(id string) error {
		from := programSources(id, alive)
		if len(from) == 0 {
			return nil
		}
		return k.host(ctx, id, protocol.KindPrograms, protocol.ProgramsRequest{Term: k.term, Sources: from}, nil)
	})
}

// programSources are the depots of hosts that have something that a host lacks.
func programSources(id string, alive map[string]protocol.HostStatus) []string {
	var from []string
	for other, status := range alive {
		if other != id && status.Depot != "" && slices.ContainsFunc(alive[id].Lacks, func(p protocol.Program) bool { return slices.Contains(status.Programs, p) }) {
			from = append(from, status.Depot)
		}
	}
	slices.Sort(from)
	return from
}

// hostConfig is a host's place. Hosts that are down keep their part in it: they come back, and their databases with them.
func (k *Keeper) hostConfig(id string, rows map[string]model.Host) protocol.HostConfig {
	c := protocol.HostConfig{Subnet: rows[id].Subnet, Range: k.cfg.Range, Egress: k.cfg.Egress}
	for _, other := range rows {
		if other.ID != id && !other.Removed && other.Subnet != "" && other.Address != "" {
			c.Peers = append(c.Peers, protocol.Peer{Subnet: other.Subnet, Address: other.Address})
		}
	}
	slices.SortFunc(c.Peers, func(a, b protocol.Peer) int { return cmp.Compare(a.Subnet, b.Subnet) })
	return c
}

// offer puts the versions whose images hosts have into the catalogue.
func (k *Keeper) offer(ctx context.Context, alive map[string]protocol.HostStatus) error {
	if k.cfg.Offer == nil {
		return nil
	}
	var versions []model.DatastoreVersion
	for _, id := range slices.Sorted(maps.Keys(alive)) {
		for _, i := range alive[id].Images {
			versions = append(versions, model.DatastoreVersion{Engine: i.Engine, Name: i.Version, Image: i.Ref, Created: k.now().UTC()})
		}
	}
	return k.cfg.Offer(ctx, versions)
}

// survey is what follows for the rows of hosts from what they say of themselves.
type survey struct {
	rows     map[string]model.Host
	changed  []model.Host
	troubles []error
}

func surveyed(before []model.Host, alive map[string]protocol.HostStatus, within string, now time.Time) survey {
	s := survey{rows: map[string]model.Host{}}
	was := map[string]model.Host{}
	for _, h := range before {
		s.rows[h.ID], was[h.ID] = h, h
	}
	// Those that have a subnet first: nobody else can be given it then.
	ids := slices.SortedFunc(maps.Keys(alive), func(a, b string) int {
		return cmp.Or(cmp.Compare(min(len(alive[b].Subnet), 1), min(len(alive[a].Subnet), 1)), cmp.Compare(a, b))
	})
	for _, id := range ids {
		status := alive[id]
		h := s.rows[id]
		if h.Removed {
			continue
		}
		if h.ID == "" {
			h = model.Host{ID: id, Name: id, Created: now}
		}
		h.Labels, h.CPUs, h.RAMMB, h.DiskGB = status.Labels, status.CPUs, status.RAMMB, status.DiskGB
		h.Address, h.Version, h.Engine = status.Address, status.Version, status.Engine
		if !h.Up {
			h.Up, h.Since = true, now
		}
		var troubles []string
		if h.Subnet == "" {
			var err error
			if h.Subnet, err = subnetFor(status, s.rows, within); err != nil {
				s.troubles, troubles = append(s.troubles, fmt.Errorf("host %s: %w", id, err)), append(troubles, err.Error())
			}
		}
		if status.Trouble != "" {
			s.troubles, troubles = append(s.troubles, fmt.Errorf("host %s: %s", id, status.Trouble)), append(troubles, status.Trouble)
		}
		h.Trouble = cut(strings.Join(troubles, "; "), model.MostTrouble)
		s.rows[id] = h
	}
	for _, id := range slices.Sorted(maps.Keys(s.rows)) {
		h := s.rows[id]
		if _, lives := alive[id]; !lives && h.Up {
			h.Up, h.Since = false, now
			s.rows[id] = h
		}
		if !sameHost(h, was[id]) {
			s.changed = append(s.changed, h)
		}
	}
	return s
}

// cut bounds what a host says, in bytes; a character that does not fit whole is left out.
func cut(text string, most int) string {
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "")
}

func sameHost(a, b model.Host) bool {
	labels := maps.Equal(a.Labels, b.Labels)
	a.Labels, b.Labels = nil, nil
	return labels && a.ID == b.ID && a.Name == b.Name && a.CPUs == b.CPUs && a.RAMMB == b.RAMMB && a.DiskGB == b.DiskGB && a.Drained == b.Drained && a.Removed == b.Removed &&
		a.Address == b.Address && a.Subnet == b.Subnet && a.Up == b.Up && a.Since.Equal(b.Since) && a.Version == b.Version && a.Engine == b.Engine && a.Trouble == b.Trouble &&
		a.Created.Equal(b.Created)
}

// subnetFor is the subnet that a new host has already, or else a free one: databases' addresses are theirs for life, so a host keeps its subnet for
// ever, and no two have the same.
func subnetFor(status protocol.HostStatus, rows map[string]model.Host, within string) (string, error) {
	var taken []netip.Prefix
	for _, h := range rows {
		p, err := netip.ParsePrefix(h.Subnet)
		if err != nil {
			continue // has none yet
		}
		taken = append(taken, p)
	}
	overlaps := func(p netip.Prefix) bool { return slices.ContainsFunc(taken, p.Overlaps) }
	if status.Subnet != "" {
		p, err := netip.ParsePrefix(status.Subnet)
		if err != nil {
			return "", fmt.Errorf("%w: %q is none", errNoSubnet, status.Subnet)
		}
		if overlaps(p) {
			return "", fmt.Errorf("%w: %s, which it has, is another host's: remove its databases' network (docker network rm) and start its sysmgr again", errNoSubnet, p)
		}
		return status.Subnet, nil
	}
	pool, err := netip.ParsePrefix(within)
	if err != nil || !pool.Addr().Is4() || pool.Bits() > subnetBits {
		return "", fmt.Errorf("%w: the range %q gives none", errNoSubnet, within)
	}
	for a := pool.Masked().Addr(); pool.Contains(a); {
		p := netip.PrefixFrom(a, subnetBits)
		last := pool.Bits() < subnetBits && !pool.Contains(after(p)) // endpoints' addresses are of that one
		if !overlaps(p) && !last {
			return p.String(), nil
		}
		a = after(p)
	}
	return "", fmt.Errorf("%w: all of %s is taken", errNoSubnet, within)
}

// after is the first address behind a subnet.
func after(p netip.Prefix) netip.Addr {
	b := p.Addr().As4()
	if b[2]++; b[2] == 0 {
		if b[1]++; b[1] == 0 {
			b[0]++
		}
	}
	return netip.AddrFrom4(b)
}
