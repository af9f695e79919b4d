package etcd

import (
	"context"
	"errors"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/huker/huker/internal/coord"
)

// Pauses before a watch that broke is made again.
const (
	watchRetry = 100 * time.Millisecond
	// deniedRetry is longer: rights rarely come back.
	deniedRetry = 2 * time.Second
)

// Change is what happened in a range: events in the order of their revisions, those of one transaction never apart.
type Change struct {
	Events []*clientv3.Event
	// Gap means that events were lost: read the range again. Events that follow are newer than what was there when Gap was sent.
	Gap bool
	// Since, where it is not 0, is the revision after which a Follow from now on begins.
	Since int64
}

// Watch implements coord.Store.
func (s *Store) Watch(ctx context.Context, prefix string) (<-chan coord.Event, error) {
	if err := checkPrefix(prefix); err != nil {
		return nil, err
	}
	r := within(prefix)
	revision, err := s.revision(ctx, r)
	if err != nil {
		return nil, err
	}
	out := make(chan coord.Event, 16)
	changes := s.Follow(ctx, r, revision+1)
	s.wg.Go(func() {
		defer close(out)
		send := func(e coord.Event) {
			select {
			case out <- e:
			case <-ctx.Done():
			case <-s.ctx.Done():
			}
		}
		for change := range changes {
			if change.Gap {
				send(coord.Event{Resync: true})
			}
			for _, e := range change.Events {
				send(event(e))
			}
		}
	})
	return out, nil
}

func event(e *clientv3.Event) coord.Event {
	ev := coord.Event{Key: decode(e.Kv.Key)}
	if e.Type == clientv3.EventTypePut {
		en := entry(e.Kv)
		ev.Entry = &en
	}
	return ev
}

// revision is the store's newest revision, asked with the rights that a watch of r needs.
func (s *Store) revision(ctx context.Context, r Range) (int64, error) {
	var resp *clientv3.GetResponse
	err := s.Do(ctx, "watch "+r.From, func(ctx context.Context) (err error) {
		resp, err = s.client.Get(ctx, r.From, clientv3.WithRange(r.To), clientv3.WithCountOnly())
		return err
	})
	if err != nil {
		return 0, err
	}
	return resp.Header.Revision, nil
}

// Follow gives all changes of a range from revision from on, until ctx ends or the store is closed; then the channel is closed. With from 0 it begins now, and
// says first when that was: etcd looks for events of the past every 100 ms only, so that who waits for what is still to come hears of it sooner.
func (s *Store) Follow(ctx context.Context, r Range, from int64) <-chan Change {
	out := make(chan Change)
	s.wg.Go(func() {
		defer close(out)
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(s.ctx, cancel)() //nolint:contextcheck // ends with the store as well as with ctx
		for ctx.Err() == nil {
			var err error
			if from, err = s.follow(ctx, r, from, out); err == nil {
				continue
			}
			if !s.isGap(ctx, r, err) {
				pause(ctx, watchRetry)
				continue
			}
			if from = s.bridge(ctx, r); from != 0 {
				sendChange(ctx, out, Change{Gap: true})
			}
		}
	})
	return out
}

// follow passes events on until the watch breaks; it gives the revision to go on from.
func (s *Store) follow(ctx context.Context, r Range, from int64, out chan<- Change) (int64, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for resp := range s.client.Watch(ctx, r.From, clientv3.WithRange(r.To), clientv3.WithRev(from), clientv3.WithCreatedNotify()) {
		if err := resp.Err(); err != nil {
			return from, err
		}
		if resp.Created && from == 0 {
			from = resp.Header.Revision + 1
			sendChange(ctx, out, Change{Since: resp.Header.Revision})
		}
		if len(resp.Events) == 0 {
			continue
		}
		from = resp.Events[len(resp.Events)-1].Kv.ModRevision + 1
		sendChange(ctx, out, Change{Events: resp.Events})
	}
	return from, errors.New("watch ended")
}

// isGap tells that the watch cannot go on where it was: the history is compacted away, or the right to read it was taken. Of the
// latter a broken watch brings no more than words, so it is asked for.
func (s *Store) isGap(ctx context.Context, r Range, err error) bool {
	if errors.Is(err, rpctypes.ErrCompacted) {
		return true
	}
	_, err = s.revision(ctx, r)
	return errors.Is(err, coord.ErrDenied)
}

// bridge waits until the range can be read again, and gives the revision after that.
func (s *Store) bridge(ctx context.Context, r Range) int64 {
	for ctx.Err() == nil {
		revision, err := s.revision(ctx, r)
		if err == nil {
			return revision + 1
		}
		retry := watchRetry
		if errors.Is(err, coord.ErrDenied) {
			retry = deniedRetry
		}
		pause(ctx, retry)
	}
	return 0
}

func sendChange(ctx context.Context, out chan<- Change, c Change) {
	select {
	case out <- c:
	case <-ctx.Done():
	}
}
