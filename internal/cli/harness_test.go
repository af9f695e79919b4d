package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/huker/huker/api"
	"github.com/huker/huker/api/keystone"
	"github.com/huker/huker/internal/identity"
	"github.com/huker/huker/internal/metastore"
	"github.com/huker/huker/internal/metastore/sqlite"
	"github.com/huker/huker/internal/model"
	"github.com/huker/huker/internal/protocol"
)

// service is the real API on a real store. Databases and nodekeeper are the test's own.
type service struct {
	t       *testing.T
	store   metastore.Store
	guests  *guests
	dataDir string
	url     string
	project string

	mu       sync.Mutex
	requests []string // method and path
	stuck    bool     // nodekeeper does nothing
	broken   string   // why nodekeeper puts instances into ERROR

	refuseTurn string // why no change of primary comes about
}

const adminPassword = "it's a secret"

func newService(t *testing.T) *service {
	t.Helper()
	ctx := t.Context()
	store, err := sqlite.Open(ctx, filepath.Join(t.TempDir(), "huker.db"))
	require.NoError(t, err)
	t.Cleanup(func() { _ = store.Close() })
	s := &service{t: t, store: store, guests: newGuests(), dataDir: t.TempDir()}
	ident, err := identity.New(store, identity.Config{Params: identity.Params{MemoryKiB: 64, Time: 1, Threads: 1}})
	require.NoError(t, err)
	seeded, err := ident.Seed(ctx, identity.Seed{Password: adminPassword})
	require.NoError(t, err)
	s.project = seeded.Project.ID
	s.update(s.fill)
	front, err := keystone.New(keystone.Config{Service: ident})
	require.NoError(t, err)
	trove, err := api.New(api.Config{Store: store, Guests: s.guests, Auth: ident.Tokens(), Kick: s.kick, Log: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.requests = append(s.requests, r.Method+" "+r.URL.Path)
		s.mu.Unlock()
		switch {
		case strings.HasPrefix(r.URL.Path, "/identity"), strings.HasPrefix(r.URL.Path, "/v3"):
			front.ServeHTTP(w, r)
		case r.URL.Path == "/healthz":
			_, _ = w.Write([]byte(`{"metadata":"ok","runtime":"ok"}`))
		default:
			trove.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(server.Close)
	s.url = server.URL
	admin, err := json.Marshal(localAdmin{Endpoint: s.url, Username: "admin", Password: adminPassword, Project: "admin", Region: "RegionOne"})
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(s.dataDir, adminFile), admin, 0o600))
	return s
}

func (s *service) fill(tx metastore.Tx) error {
	ctx := s.t.Context()
	for _, f := range []model.Flavor{{ID: "1", Name: "db.micro", RAMMB: 512, VCPUs: 1}, {ID: "2", Name: "db.small", RAMMB: 1024, VCPUs: 0.5}} {
		if err := tx.Catalogue().PutFlavor(ctx, f); err != nil {
			return err
		}
	}
	if err := tx.Catalogue().PutDatastore(ctx, model.Datastore{ID: "ds", Name: "mysql", DefaultVersionID: "dv"}); err != nil {
		return err
	}
	return tx.Catalogue().PutVersion(ctx, model.DatastoreVersion{ID: "dv", DatastoreID: "ds", Name: "9.7.4", Engine: "mysql", Image: "i", Active: true, Created: time.Now()})
}

func (s *service) update(fn func(metastore.Tx) error) {
	s.t.Helper()
	require.NoError(s.t, s.store.Update(s.t.Context(), fn))
}

// kick is nodekeeper: what is asked for is done at once.
func (s *service) kick(ctx context.Context, k protocol.Kick) error {
	s.mu.Lock()
	stuck, broken := s.stuck, s.broken
	s.mu.Unlock()
	if stuck {
		return nil
	}
	if k.Cluster != "" {
		if broken != "" {
			return nil
		}
		return s.store.Update(ctx, func(tx metastore.Tx) error { return s.keepCluster(ctx, tx, k.Cluster) })
	}
	return s.store.Update(ctx, func(tx metastore.Tx) error {
		i, err := tx.Instances().Get(ctx, k.Instance)
		if err != nil {
			return err
		}
		if i.Desired == model.DesiredDeleted {
			return tx.Instances().Delete(ctx, i.ID)
		}
		if i.Address == "" {
			taken, err := tx.Instances().Addresses(ctx)
			if err != nil {
				return err
			}
			i.HostID, i.Address = "local", fmt.Sprintf("10.88.0.%d", 7+len(taken))
		}
		i.Status, i.OperatingStatus = model.StatusActive, model.OperatingHealthy
		if broken != "" {
			i.Status, i.OperatingStatus, i.Fault = model.StatusError, model.OperatingError, &model.Fault{Message: broken, Created: time.Now()}
		}
		i.ObservedGeneration, i.ObservedRestart = i.Generation, i.RestartSerial
		if i.Bootstrap != nil {
			s.guests.bootstrap(i.Bootstrap)
		}
		i.Bootstrap = nil
		if err := tx.Secrets().Put(ctx, i.ID, "ca.pem", []byte(testCA)); err != nil {
			return err
		}
		return tx.Instances().Update(ctx, &i)
	})
}

// keepCluster has whatever is asked of a cluster done at once. Its first primary is the oldest member, and the next one the oldest of the others.
func (s *service) keepCluster(ctx context.Context, tx metastore.Tx, id string) error {
	c, err := tx.Clusters().Get(ctx, id)
	if err != nil {
		return err
	}
	members, err := tx.Instances().List(ctx, metastore.InstanceFilter{ClusterID: id})
	if err != nil {
		return err
	}
	if c.Desired == model.DesiredDeleted {
		for i := range members {
			if err := tx.Instances().Delete(ctx, members[i].ID); err != nil {
				return err
			}
		}
		return tx.Clusters().Delete(ctx, id)
	}
	slices.Reverse(members)
	if c.PrimaryID == "" {
		c.PrimaryID = members[0].ID
	}
	if !c.Implicit && c.ReadWrite == "" {
		all, err := tx.Clusters().List(ctx, metastore.ClusterFilter{Explicit: true})
		if err != nil {
			return err
		}
		c.ReadWrite, c.ReadOnly, c.ReadWritePort, c.ReadOnlyPort = fmt.Sprintf("10.99.%d.1", len(all)), fmt.Sprintf("10.99.%d.2", len(all)), 13306, 13307
	}
	if w := c.Switchover; w != nil && !w.Finished {
		done := *w
		done.Finished, done.Fault = true, s.refuseTurn
		c.Switchover, c.ObservedSwitchover = &done, w.Serial
		to := w.To
		for i := 0; to == ""; i++ {
			if members[i].ID != c.PrimaryID {
				to = members[i].ID
			}
		}
		if s.refuseTurn == "" {
			c.PrimaryID = to
			turn := model.Turn{ClusterID: id, Epoch: c.Epoch + 1, Kind: "switchover", From: w.From, To: to, Reason: "it was asked for",
				Seen: []string{"everybody is well"}, Began: time.Date(2026, 3, 4, 5, 6, 7, 417e6, time.UTC), Gap: 31400 * time.Microsecond,
				Phases: []model.Phase{{Name: "stopping", Took: 12 * time.Millisecond}, {Name: "opening", Took: 19400 * time.Microsecond, Note: "of the endpoint, too"}}}
			if err := tx.Clusters().AppendTurn(ctx, &turn); err != nil {
				return err
			}
		}
	}
	c.Founded, c.Epoch, c.Status, c.ObservedGeneration, c.ObservedRestart = true, c.Epoch+1, model.StatusActive, c.Generation, c.RestartSerial
	for i := range members {
		m := &members[i]
		m.Role = model.RoleReplica
		if m.ID == c.PrimaryID {
			m.Role = model.RolePrimary
		}
		if m.Detaching {
			m.Detaching, m.ClusterID, m.Role, m.ObservedGeneration = false, "", "", m.Generation
		}
		s.guests.describe(m, c)
		if err := tx.Instances().Update(ctx, m); err != nil {
			return err
		}
	}
	return tx.Clusters().Update(ctx, &c)
}

func (s *service) set(stuck bool, broken string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stuck, s.broken = stuck, broken
}

// asked gives the requests since the last time.
func (s *service) asked() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := s.requests
	s.requests = nil
	return all
}

// result is what a run of the program leaves.
type result struct {
	out, err string
	code     int
	failure  error
}

// run is the program as somebody types it.
type run struct {
	stdin    string
	terminal bool   // stdin is one, and stdin's text is what is typed
	typed    string // on the terminal that the program was started on, while stdin is something else
	env      map[string]string
}

func (s *service) run(args ...string) result { return s.with(run{}, args...) }

func (s *service) with(r run, args ...string) result {
	s.t.Helper()
	return execute(s.t, r, append([]string{"--data-dir", s.dataDir}, args...)...)
}

func execute(t *testing.T, r run, args ...string) result {
	t.Helper()
	var out, errs bytes.Buffer
	in := strings.NewReader(r.stdin)
	a := &app{
		version: "test", pollEvery: 5 * time.Millisecond,
		getenv:       func(name string) string { return r.env[name] },
		isTerminal:   func(stream any) bool { return r.terminal && stream == any(in) },
		readPassword: firstLine,
		openTerminal: func() (io.ReadCloser, error) {
			if r.typed == "" {
				return nil, os.ErrNotExist
			}
			return io.NopCloser(strings.NewReader(r.typed)), nil
		},
	}
	root := newRoot(a)
	root.SetArgs(args)
	root.SetIn(in)
	root.SetOut(&out)
	root.SetErr(&errs)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	err := root.ExecuteContext(ctx)
	return result{out: out.String(), err: errs.String(), code: ExitCode(err), failure: err}
}

// ok is a run that must succeed; it gives what was printed.
func (s *service) ok(args ...string) string {
	s.t.Helper()
	r := s.run(args...)
	require.NoError(s.t, r.failure, "huker %v: %s", args, r.err)
	return r.out
}

// refused is a run that must fail with the code; it gives why.
func (s *service) refused(code int, args ...string) string {
	s.t.Helper()
	r := s.run(args...)
	require.Error(s.t, r.failure, "huker %v: %s", args, r.out)
	require.Equal(s.t, code, r.code, r.failure)
	return r.failure.Error()
}

var (
	anyID    = regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{32}`)
	anyTime  = regexp.MustCompile(`\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\dZ`)
	anyPort  = regexp.MustCompile(`127\.0\.0\.1:\d+`)
	anyMade  = regexp.MustCompile(`[A-Z2-7]{26}`)
	anyReqID = regexp.MustCompile(`req-[0-9a-f-]+`)
)

// masked makes what differs from run to run the same, at the same width.
func masked(text string) string {
	text = anyReqID.ReplaceAllString(text, "REQUEST")
	text = anyID.ReplaceAllStringFunc(text, func(s string) string { return strings.Repeat("i", len(s)) })
	text = anyTime.ReplaceAllString(text, "2026-01-02 03:04:05Z")
	text = anyPort.ReplaceAllString(text, "127.0.0.1:8779")
	return anyMade.ReplaceAllString(text, strings.Repeat("P", 26))
}

// golden compares with a file; HUKER_UPDATE_GOLDEN=1 writes it.
func golden(t *testing.T, name, text string) {
	t.Helper()
	path := filepath.Join("testdata", name+".golden")
	text = masked(text)
	if os.Getenv("HUKER_UPDATE_GOLDEN") == "1" {
		require.NoError(t, os.MkdirAll("testdata", 0o755))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
		return
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, string(want), text)
}
