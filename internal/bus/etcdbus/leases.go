package etcdbus

import (
	"context"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/huker/huker/internal/coord/etcd"
)

// leaseSlack is by how much a lease may outlast what hangs on it. The more, the more messages share a lease.
const leaseSlack = 30 * time.Second

// leases are what messages with a deadline, and replies, hang on, so that they go by themselves when nobody takes them. Nobody
// renews them; messages that end at about the same time share one.
type leases struct {
	store *etcd.Store
	turn  chan struct{} // one grant at a time

	mu   sync.Mutex
	pool []lease
}

type lease struct {
	id    clientv3.LeaseID
	until time.Time // it lasts at least as long
}

func newLeases(s *etcd.Store) *leases { return &leases{store: s, turn: make(chan struct{}, 1)} }

// covering gives a lease that lasts for d at least, and not much longer.
func (l *leases) covering(ctx context.Context, d time.Duration) (clientv3.LeaseID, error) {
	if id, ok := l.find(d); ok {
		return id, nil
	}
	select {
	case l.turn <- struct{}{}:
	case <-ctx.Done():
		return 0, etcd.MapError("grant lease", ctx.Err())
	}
	defer func() { <-l.turn }()
	if id, ok := l.find(d); ok { // made while we waited
		return id, nil
	}
	from := time.Now()
	id, ttl, err := l.store.Grant(ctx, d+leaseSlack)
	if err != nil {
		return 0, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pool = append(l.pool, lease{id: id, until: from.Add(ttl)})
	return id, nil
}

func (l *leases) find(d time.Duration) (clientv3.LeaseID, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	kept := l.pool[:0]
	var found clientv3.LeaseID
	for _, le := range l.pool {
		left := le.until.Sub(now)
		if left <= time.Second {
			continue
		}
		kept = append(kept, le)
		if left >= d && left <= d+2*leaseSlack {
			found = le.id
		}
	}
	l.pool = kept
	return found, found != 0
}

// forget drops leases that etcd no longer knows.
func (l *leases) forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pool = nil
}
