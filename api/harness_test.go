package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/huker/huker/api"
	"github.com/huker/huker/api/openapitest"
	"github.com/huker/huker/internal/identity"
	"github.com/huker/huker/internal/metastore"
	"github.com/huker/huker/internal/metastore/sqlite"
	"github.com/huker/huker/internal/model"
	"github.com/huker/huker/internal/protocol"
)

// Projects and tokens of the tests.
const (
	mine   = "11111111111111111111111111111111"
	theirs = "22222222222222222222222222222222"
	ops    = "99999999999999999999999999999999" // the administrator's own project

	alice  = "token-alice"  // member of mine
	bob    = "token-bob"    // member of theirs
	reader = "token-reader" // reader of mine
	admin  = "token-admin"
)

// tokens authenticates by a table.
type tokens map[string]identity.Caller

func (t tokens) Authenticate(_ context.Context, r *http.Request) (identity.Caller, error) {
	switch token := r.Header.Get("X-Auth-Token"); token {
	case "limited":
		return identity.Caller{}, &identity.LimitedError{RetryAfter: 90 * time.Second}
	case "unavailable":
		return identity.Caller{}, identity.ErrUnavailable
	case "forbidden":
		return identity.Caller{}, identity.ErrForbidden
	case "panic":
		panic("as the test wants")
	default:
		if c, ok := t[token]; ok {
			return c, nil
		}
		return identity.Caller{}, identity.ErrUnauthorized
	}
}

func people() tokens {
	return tokens{
		alice:      {AccountID: "a1", AccountName: "alice", ProjectID: mine, Roles: []string{"member"}},
		bob:        {AccountID: "b1", AccountName: "bob", ProjectID: theirs, Roles: []string{"member"}},
		reader:     {AccountID: "r1", AccountName: "rita", ProjectID: mine, Roles: []string{"reader"}},
		admin:      {AccountID: "x1", AccountName: "root-admin", ProjectID: ops, Roles: []string{"Admin"}},
		"unscoped": {AccountID: "a1", AccountName: "alice", Roles: []string{"member"}},
	}
}

// world is an API on a real store, with guests, clock and bus of the test's own.
type world struct {
	t       *testing.T
	handler http.Handler
	server  *httptest.Server
	store   metastore.Store
	guests  *guests
	log     *bytes.Buffer

	mu      sync.Mutex
	now     time.Time
	kicks   []protocol.Kick
	kickErr error

	document *openapitest.Document // that the API serves
}

func newWorld(t *testing.T, change ...func(*api.Config)) *world {
	t.Helper()
	store, err := sqlite.Open(t.Context(), filepath.Join(storeDir(t), "meta.db"))
	require.NoError(t, err)
	t.Cleanup(func() { _ = store.Close() })
	w := &world{t: t, store: store, guests: newGuests(), now: time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC), log: &bytes.Buffer{}}
	w.fill()
	cfg := api.Config{
		Store: store, Guests: w.guests, Auth: people(), Kick: w.kick, Clock: w.clock, PublicURL: "http://huker.test:8779/",
		NetworkID: "c0ffee00-0000-4000-8000-000000000001", Log: slog.New(slog.NewJSONHandler(&lockedWriter{w: w.log, mu: &w.mu}, nil)),
		DefaultQuota: &model.Quota{Instances: 5, RAMMB: 4096, VolumesGB: 50, Backups: 3},
	}
	for _, c := range change {
		c(&cfg)
	}
	h, err := api.New(cfg)
	require.NoError(t, err)
	w.handler = h
	w.server = httptest.NewServer(h)
	t.Cleanup(w.server.Close)
	w.document = openapitest.Load(t, []byte(w.call("", "GET", "/openapi.json", "").text))
	return w
}

type lockedWriter struct {
	mu *sync.Mutex
	w  io.Writer
}

func (l *lockedWriter) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(b)
}

func (w *world) logged() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.log.String()
}

func (w *world) kick(_ context.Context, k protocol.Kick) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.kicks = append(w.kicks, k)
	return w.kickErr
}

// clock goes on by a second with each look, so that what is created later is newer.
func (w *world) clock() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(time.Second)
	return w.now
}

// fill makes what an installation has: flavors, a datastore, versions.
func (w *world) fill() {
	w.update(func(tx metastore.Tx) error {
		c := tx.Catalogue()
		for _, f := range []model.Flavor{
			{ID: "1", Name: "small", RAMMB: 512, VCPUs: 0.5}, {ID: "2", Name: "medium", RAMMB: 1024, VCPUs: 1},
			{ID: "x-large", Name: "large", RAMMB: 8192, VCPUs: 4},
		} {
			require.NoError(w.t, c.PutFlavor(w.t.Context(), f))
		}
		require.NoError(w.t, c.PutDatastore(w.t.Context(), model.Datastore{ID: datastoreID, Name: "mysql", DefaultVersionID: versionID}))
		for _, v := range []model.DatastoreVersion{
			{ID: versionID, DatastoreID: datastoreID, Name: "9.7.4", Engine: "mysql", Image: "huker/mysql:9.7.4", Active: true, Created: w.now},
			{ID: newerID, DatastoreID: datastoreID, Name: "9.8.0", Engine: "mysql", Image: "huker/mysql:9.8.0", Active: true, Created: w.now},
			{ID: retiredID, DatastoreID: datastoreID, Name: "8.4.0", Engine: "mysql", Image: "huker/mysql:8.4.0", Created: w.now},
		} {
			require.NoError(w.t, c.PutVersion(w.t.Context(), v))
		}
		return nil
	})
}

const (
	datastoreID = "d0000000-0000-4000-8000-000000000001"
	versionID   = "e0000000-0000-4000-8000-000000000001"
	newerID     = "e0000000-0000-4000-8000-000000000002"
	retiredID   = "e0000000-0000-4000-8000-000000000003"
	unknownID   = "ffffffff-0000-4000-8000-00000000000f"
)

func (w *world) update(fn func(metastore.Tx) error) {
	w.t.Helper()
	require.NoError(w.t, w.store.Update(w.t.Context(), fn))
}

// row reads an instance as it is stored.
func (w *world) row(id string) (i model.Instance) {
	w.t.Helper()
	require.NoError(w.t, w.store.View(w.t.Context(), func(tx metastore.Tx) (err error) {
		i, err = tx.Instances().Get(w.t.Context(), id)
		return err
	}))
	return i
}

// edit changes an instance as nodekeeper would.
func (w *world) edit(id string, fn func(*model.Instance)) {
	w.t.Helper()
	w.update(func(tx metastore.Tx) error {
		i, err := tx.Instances().Get(w.t.Context(), id)
		if err != nil {
			return err
		}
		fn(&i)
		return tx.Instances().Update(w.t.Context(), &i)
	})
}

// activate is what nodekeeper does when all is well.
func (w *world) activate(id string) {
	w.t.Helper()
	w.edit(id, func(i *model.Instance) {
		i.HostID, i.Address = "host-1", orText(i.Address, "10.0.0."+itoa(len(i.Name)%200+1))
		i.Status, i.OperatingStatus, i.Bootstrap, i.Fault = model.StatusActive, model.OperatingHealthy, nil, nil
		i.ObservedGeneration, i.ObservedRestart = i.Generation, i.RestartSerial
	})
}

func orText(s, d string) string {
	if s == "" {
		return d
	}
	return s
}

func itoa(n int) string { b, _ := json.Marshal(n); return string(b) }

// create makes an instance and gives its id.
func (w *world) create(token, project, name string) string {
	w.t.Helper()
	r := w.call(token, "POST", "/v1.0/"+project+"/instances", `{"instance":{"name":"`+name+`","flavorRef":"1","volume":{"size":1}}}`)
	require.Equal(w.t, 200, r.status, r.text)
	return r.get("instance", "id").(string)
}

// active makes one that serves.
func (w *world) active(token, project, name string) string {
	w.t.Helper()
	id := w.create(token, project, name)
	w.activate(id)
	return id
}

// reply is an answer that fits the document.
type reply struct {
	t      *testing.T
	status int
	text   string
	header http.Header
	body   any
}

// get walks into the body by field names and list indices.
func (r reply) get(path ...any) any {
	r.t.Helper()
	v := r.body
	for _, p := range path {
		switch p := p.(type) {
		case string:
			m, ok := v.(map[string]any)
			require.True(r.t, ok, "%v in %s", path, r.text)
			v = m[p]
		case int:
			l, ok := v.([]any)
			require.True(r.t, ok && p < len(l), "%v in %s", path, r.text)
			v = l[p]
		}
	}
	return v
}

// fault checks an error answer and gives its message.
func (r reply) fault(status int, key string) string {
	r.t.Helper()
	require.Equal(r.t, status, r.status, r.text)
	m, ok := r.body.(map[string]any)
	require.True(r.t, ok, r.text)
	require.Len(r.t, m, 1, r.text)
	f, ok := m[key].(map[string]any)
	require.True(r.t, ok, "fault %s in %s", key, r.text)
	require.Len(r.t, f, 2, r.text)
	require.InDelta(r.t, status, f["code"], 0)
	require.NotEmpty(r.t, f["message"])
	return f["message"].(string)
}

// call sends a request, and checks the answer against the OpenAPI document that the API serves.
func (w *world) call(token, method, path, body string, headers ...string) reply {
	w.t.Helper()
	var reader io.Reader
	if body != "" {
		reader = strings.NewReader(body)
	}
	req, err := http.NewRequestWithContext(w.t.Context(), method, w.server.URL+path, reader)
	require.NoError(w.t, err)
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		req.Header.Set("X-Auth-Token", token)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := noRedirect.Do(req)
	require.NoError(w.t, err)
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	require.NoError(w.t, err)
	r := reply{t: w.t, status: resp.StatusCode, text: string(text), header: resp.Header}
	if len(text) > 0 {
		require.NoError(w.t, json.Unmarshal(text, &r.body), r.text)
		require.Equal(w.t, "application/json", resp.Header.Get("Content-Type"))
	}
	if w.document != nil {
		w.document.Check(w.t, req, r.status, r.header, text)
	}
	return r
}

var noRedirect = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}

// storeDir is in memory where there is such a place: these tests are not about surviving crashes.
func storeDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "huker-api-test-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}
