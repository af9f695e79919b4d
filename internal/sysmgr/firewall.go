package sysmgr

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/huker/huker/internal/protocol"
	"github.com/huker/huker/network"
)

func (h *Host) accessOf(r protocol.EnsureRequest) network.Access {
	return network.Access{Address: r.Address, Public: r.Access.IsPublic, AllowedCIDRs: r.Access.AllowedCIDRs, Fenced: h.fenced(r.Instance)}
}

func accessList(m map[string]network.Access) []network.Access {
	list := make([]network.Access, 0, len(m))
	for _, a := range m {
		list = append(list, a)
	}
	slices.SortFunc(list, func(a, b network.Access) int { return strings.Compare(a.Address, b.Address) })
	return list
}

// ask notes who is to reach an instance, after the request was remembered. setFirewall makes it so.
func (h *Host) ask(instance string, a network.Access) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.asked != nil { // else it is read with the others
		h.asked[instance] = a
	}
}

// disallow notes that nobody is to reach an instance, after its removal was marked.
func (h *Host) disallow(instance string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.asked, instance)
}

// setFirewall tells the firewall who may reach each instance of this host, in one step, whether or not somebody flushed it. It never
// tells it of some instances only: that would shut the others out.
func (h *Host) setFirewall(ctx context.Context) error {
	h.wall.Lock()
	defer h.wall.Unlock()
	all, err := h.allAsked()
	if err != nil {
		return err
	}
	list := accessList(all)
	for i := range list {
		list[i].Peers = h.endpoints.peersOf(list[i].Address)
	}
	if err := h.firewall.Set(ctx, list); err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.admitted = all
	return nil
}

// allAsked is who may reach each instance. The first time it is read from what this host remembers. An instance whose request cannot
// be read is reached by nobody until it is asked for again.
func (h *Host) allAsked() (map[string]network.Access, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.asked != nil {
		return maps.Clone(h.asked), nil
	}
	ids, err := h.instances()
	if err != nil {
		return nil, err
	}
	asked := make(map[string]network.Access, len(ids))
	for _, id := range ids {
		r, ok, err := h.recall(id)
		if err != nil {
			h.log.Error("restoring the firewall; nobody may reach the instance", "op", "firewall", "instance", id, "error", err)
		}
		if ok {
			asked[id] = h.accessOf(r)
		}
	}
	h.asked = asked
	return maps.Clone(asked), nil
}

// isAdmitted tells that the firewall has the rules of an instance as asked for.
func (h *Host) isAdmitted(r protocol.EnsureRequest) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	now, ok := h.admitted[r.Instance]
	want := h.accessOf(r)
	return ok && now.Fenced == want.Fenced && now.Address == want.Address && now.Public == want.Public && slices.Equal(now.AllowedCIDRs, want.AllowedCIDRs)
}
