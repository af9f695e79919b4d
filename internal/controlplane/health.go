package controlplane

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"maps"
	"net/http"
	"sync"
	"time"

	"github.com/huker/huker/internal/bus"
	"github.com/huker/huker/internal/coord"
	"github.com/huker/huker/internal/protocol"
)

// healthDeadline bounds one look at all that a process needs.
const healthDeadline = 5 * time.Second

// Paths of health.
const (
	healthzPath = "/healthz"
	readyzPath  = "/readyz"
)

// check says whether something answers.
type check func(ctx context.Context) error

// health answers /healthz and /readyz: the process lives; and all that it needs answers too. Both give 200 or 503, and say what is how.
type health struct {
	own   map[string]check // what lives in this process: without it a restart may help
	needs map[string]check // what it needs of others: a restart does not help
	log   *slog.Logger
}

func (h *health) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), healthDeadline)
	defer cancel()
	checks := maps.Clone(h.own)
	if checks == nil {
		checks = map[string]check{}
	}
	if r.URL.Path == readyzPath {
		maps.Copy(checks, h.needs)
	}
	state, code := map[string]string{"process": "ok"}, http.StatusOK
	// All at once: one that does not answer takes the time that there is, and the others are not to be blamed for it.
	var mu sync.Mutex
	var asking sync.WaitGroup
	for name, answers := range checks {
		asking.Go(func() {
			err := answers(ctx)
			mu.Lock()
			defer mu.Unlock()
			if state[name] = "ok"; err != nil {
				state[name], code = "does not answer", http.StatusServiceUnavailable
				h.log.Warn("unhealthy", "op", "health", "part", name, "error", err)
			}
		})
	}
	asking.Wait()
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(state)
}

// handler serves nothing else.
func (h *health) handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET "+healthzPath, h)
	mux.Handle("GET "+readyzPath, h)
	return mux
}

// reads checks that coordination answers, by a key that a principal may read.
func reads(s coord.Store, key string) check {
	return func(ctx context.Context) error {
		_, err := s.Get(ctx, key)
		if errors.Is(err, coord.ErrNotFound) {
			return nil
		}
		return err
	}
}

// pinger is what a bus may offer beyond its interface.
type pinger interface {
	Ping(ctx context.Context) error
}

// carries checks that the bus answers. One that lives on coordination is well when that is.
func carries(b bus.Bus) check {
	return func(ctx context.Context) error {
		if p, ok := b.(pinger); ok {
			return p.Ping(ctx)
		}
		return nil
	}
}

// healthKey is read by those who may read everything.
const healthKey = protocol.HostsKey
