package agent

import (
	"log/slog"
	"maps"
	"path/filepath"
	"sync"

	"github.com/huker/huker/internal/protocol"
)

// roster is where the members of this guest's cluster are. It is kept on the volume, so that they find each other while coordination is away.
type roster struct {
	path    string
	log     *slog.Logger
	changed func()

	mu      sync.Mutex
	members map[string]protocol.Member // nil: this guest is in no cluster of several
}

func newRoster(dir, cluster string, log *slog.Logger, changed func()) *roster {
	r := &roster{path: filepath.Join(dir, "roster."+cluster+".json"), log: log, changed: changed}
	var kept protocol.Roster
	if found, err := readJSON(r.path, &kept); err != nil {
		log.Error("the roster on the volume cannot be read", "op", "roster.load", "err", err)
	} else if found {
		r.members = kept.Members
	}
	return r
}

// take takes a roster in.
func (r *roster) take(now protocol.Roster) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if now.Members == nil || maps.Equal(now.Members, r.members) {
		return
	}
	r.members = now.Members
	if err := writeJSON(r.path, now); err != nil {
		r.log.Error("the roster cannot be kept on the volume", "op", "roster.save", "err", err)
	}
	r.changed()
}

// peers are the members by instance, this one among them.
func (r *roster) peers() map[string]protocol.Member {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.members // is replaced, never changed
}

// several says whether this guest is in a cluster, of which nodekeeper keeps a record.
func (r *roster) several() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.members != nil
}
