package keeper

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/huker/huker/internal/coord"
	"github.com/huker/huker/internal/model"
	"github.com/huker/huker/internal/protocol"
)

// admitConcurrency bounds how many hosts are given their queues at once. It is mostly waiting: a new queue of RabbitMQ's rests for seconds before it counts.
const admitConcurrency = 64

// toAdmit hands over the hosts that are known, in place of those of before.
func (k *Keeper) toAdmit(hosts map[string]model.Host) {
	select {
	case <-k.known:
	default:
	}
	k.known <- hosts
}

// admitHosts gives hosts their rights, once a term: a host that an operator has added can come from then on. From one that is removed they are taken. It takes long
// where there are many hosts or an engine is slow, and holds up nothing else.
func (k *Keeper) admitHosts(ctx context.Context) error {
	var mu sync.Mutex
	admitted := map[string]bool{}
	var keys sync.Mutex // hosts share a prefix that they read: two that change who reads it get into each other's way
	for {
		missing, removed := map[string]model.Host{}, map[string]model.Host{}
		select {
		case <-ctx.Done():
			return nil
		case hosts := <-k.known:
			for id, h := range hosts {
				switch {
				case h.Removed:
					delete(admitted, id)
					removed[id] = h
				case k.cfg.AdmitHosts && !admitted[id]:
					missing[id] = h
				}
			}
		}
		err := each(missing, admitConcurrency, func(id string) error {
			if err := k.admitHost(ctx, id, &keys); err != nil {
				return fmt.Errorf("admitting host %s: %w", id, err)
			}
			k.log.Info("host admitted", "op", "hosts", "host", id)
			mu.Lock()
			defer mu.Unlock()
			admitted[id] = true
			return nil
		})
		if err := errors.Join(err, each(removed, admitConcurrency, func(id string) error { return k.dismissHost(ctx, id, &keys) })); err != nil {
			if over(err) {
				return err
			}
			if ctx.Err() == nil {
				k.log.Warn("admitting hosts, and taking back rights; trying again", "op", "hosts", "error", err) // with the next look at them
			}
		}
	}
}

func (k *Keeper) admitHost(ctx context.Context, id string, keys *sync.Mutex) error {
	name := protocol.HostPrincipal(id)
	if err := k.e.Queues.Admit(ctx, name, []string{protocol.HostQueue(id)}); err != nil {
		return err
	}
	keys.Lock()
	defer keys.Unlock()
	return k.e.Keys.Admit(ctx, name, hostRights(id))
}

// hostRights are to a host's own keys, and to see all endpoints, which each host leads clients to.
func hostRights(host string) coord.Rights {
	return coord.Rights{Own: []string{protocol.HostPrefix(host)}, Read: []string{protocol.EndpointsKey}}
}
