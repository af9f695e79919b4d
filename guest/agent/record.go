package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"github.com/huker/huker/internal/durability"
	"log/slog"
	"path/filepath"
	"reflect"
	"sync"

	"github.com/huker/huker/internal/coord"
	"github.com/huker/huker/internal/protocol"
)

const recordFile = "record.json"

// records keeps the newest cluster record: of the guest's configuration, of the volume, and of coordination. A record takes effect only
// after it is durable on the volume, so that no later start of this agent falls back behind it.
type records struct {
	cluster string
	path    string
	log     *slog.Logger
	changed func()

	mu      sync.Mutex
	current *durability.Record // nil: none that can be trusted
	unsaved *durability.Record // newer than current, could not be written
}

func newRecords(g protocol.GuestConfig, dir string, log *slog.Logger, changed func()) *records {
	r := &records{cluster: g.Record.Cluster, path: filepath.Join(dir, recordFile), log: log, changed: changed}
	var kept durability.Record
	found, err := readJSON(r.path, &kept)
	switch {
	case err != nil:
		// What it said may be newer than the configuration. Only coordination can tell now.
		log.Error("the record on the volume cannot be read", "op", "record.load", "err", err)
		return r
	case found && kept.Cluster == r.cluster:
		r.current = &kept
	case found: // it has left that cluster: nodekeeper says so in its configuration, and only once the cluster goes on without it
		log.Warn("the record on the volume is of a cluster that this guest has left", "op", "record.load", "cluster", kept.Cluster)
	}
	r.offer(g.Record, "configuration")
	return r
}

// offer considers a record; it takes effect if it is newer than what is in effect.
func (r *records) offer(rec durability.Record, from string) {
	if rec.Cluster == "" || rec.Cluster != r.cluster {
		r.log.Error("a record of another cluster is refused", "op", "record.offer", "from", from, "cluster", rec.Cluster)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.current != nil {
		switch {
		case rec.Epoch < r.current.Epoch:
			r.log.Info("an older record is refused", "op", "record.offer", "from", from, "epoch", rec.Epoch, "newest", r.current.Epoch)
			return
		case rec.Epoch == r.current.Epoch:
			if !equalRecords(rec, *r.current) {
				r.log.Error("two records of one epoch: the first stays", "op", "record.offer", "from", from, "epoch", rec.Epoch)
			}
			return
		}
	}
	if r.unsaved != nil && r.unsaved.Epoch > rec.Epoch {
		return
	}
	r.unsaved = &rec
	r.save(from)
}

// save makes the unsaved record durable and has it take effect. The caller holds mu.
func (r *records) save(from string) {
	if err := writeJSON(r.path, *r.unsaved); err != nil {
		r.log.Error("a newer record cannot be kept on the volume", "op", "record.save", "epoch", r.unsaved.Epoch, "err", err)
		return
	}
	r.current, r.unsaved = r.unsaved, nil
	r.log.Info("a record takes effect", "op", "record.save", "from", from, "epoch", r.current.Epoch, "primary", r.current.Primary)
	r.changed()
}

// newest gives the record that is in effect. One that is known and could not be kept has it be unknown: neither it nor an older one may open
// the database.
func (r *records) newest() (*durability.Record, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.unsaved != nil {
		r.save("again")
	}
	if r.unsaved != nil {
		return nil, fmt.Errorf("the role of epoch %d cannot be kept on the volume: is it full?", r.unsaved.Epoch)
	}
	return r.current, nil
}

// epoch is that of the record in effect; 0 when there is none.
func (r *records) epoch() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.current == nil {
		return 0
	}
	return r.current.Epoch
}

func equalRecords(a, b durability.Record) bool {
	if len(a.Members) == 0 && len(b.Members) == 0 {
		a.Members, b.Members = nil, nil
	}
	return reflect.DeepEqual(a, b)
}

// recordLoop follows the record in coordination, for ever.
func (a *Agent) recordLoop(ctx context.Context) {
	var again retry
	for ctx.Err() == nil {
		if err := a.followRecord(ctx, &again); err != nil && ctx.Err() == nil {
			a.log.Debug("the record cannot be followed", "op", "record.follow", "err", err)
		}
		again.wait(ctx)
	}
}

// followRecord reads the record and watches it until the watch ends.
func (a *Agent) followRecord(ctx context.Context, again *retry) error {
	cluster := a.cfg.Guest.Record.Cluster
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	events, err := a.cfg.Store.Watch(ctx, protocol.ClusterPrefix(cluster)) // before Get: nothing is missed between the two
	if err != nil {
		return err
	}
	if err := a.readCluster(ctx, cluster); err != nil {
		return err
	}
	again.reset()
	for e := range events {
		switch {
		case e.Resync:
			if err := a.readCluster(ctx, cluster); err != nil {
				return err
			}
		case e.Key == protocol.RecordKey(cluster) && e.Entry != nil:
			a.takeRecord(e.Entry.Value)
		case e.Key == protocol.RosterKey(cluster) && e.Entry != nil:
			a.takeRoster(e.Entry.Value)
		}
	}
	return errors.New("the watch ended")
}

// readCluster reads the record and the roster. Where none is published, what the configuration said stays.
func (a *Agent) readCluster(ctx context.Context, cluster string) error {
	for key, take := range map[string]func([]byte){protocol.RosterKey(cluster): a.takeRoster, protocol.RecordKey(cluster): a.takeRecord} {
		e, err := a.cfg.Store.Get(ctx, key)
		if errors.Is(err, coord.ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		take(e.Value)
	}
	return nil
}

func (a *Agent) takeRecord(value []byte) {
	rec, err := durability.Parse(value)
	if err != nil {
		a.log.Error("the record in coordination cannot be gone by", "op", "record.take", "err", err)
		return
	}
	a.records.offer(rec, "coordination")
}

func (a *Agent) takeRoster(value []byte) {
	var r protocol.Roster
	if err := json.Unmarshal(value, &r); err != nil {
		a.log.Error("the roster in coordination cannot be read", "op", "roster.take", "err", err)
		return
	}
	a.roster.take(r)
}
