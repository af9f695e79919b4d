package zk

import (
	"context"

	"github.com/huker/huker/internal/coord"
)

// Prepare is the first half of Apply: what a process has in its hands when it is paused before it writes.
func (s *Store) Prepare(ctx context.Context, ops ...coord.Op) (commit func(context.Context) error, err error) {
	sess, err := s.sessionOf(ops)
	if err != nil {
		return nil, err
	}
	for {
		l, err := s.link(ctx)
		if err != nil {
			return nil, err
		}
		p, err := s.plan(ctx, l, ops, sess, true)
		if err != nil || !p.again {
			return func(ctx context.Context) error { return mapError("commit", s.commit(ctx, p, sess)) }, err
		}
	}
}

// WatchesSet is how many watches are set on the link of the moment.
func (s *Store) WatchesSet() int {
	s.mu.Lock()
	l := s.main
	s.mu.Unlock()
	l.arms.mu.Lock()
	defer l.arms.mu.Unlock()
	return len(l.arms.set)
}
