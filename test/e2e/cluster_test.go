package e2e

import (
	"context"
	"database/sql"
	"net/http"
	"os/exec"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func (p *plane) clusterPath(id string) string { return "/v1.0/" + p.project + "/clusters/" + id }

// createCluster asks for a cluster and gives its id.
func (p *plane) createCluster(name string, members int) string {
	p.t.Helper()
	code, answer := p.call(http.MethodPost, "/v1.0/"+p.project+"/clusters", clusterBody(name, members))
	require.Equal(p.t, http.StatusOK, code, "%v", answer)
	id := dig[string](answer, "cluster", "id")
	require.NotEmpty(p.t, id)
	return id
}

func clusterBody(name string, members int) map[string]any {
	var instances []map[string]any
	for range members {
		instances = append(instances, map[string]any{"flavorRef": "1", "volume": map[string]any{"size": 1}})
	}
	return map[string]any{"cluster": map[string]any{
		"name": name, "datastore": map[string]any{"type": "mysql", "version": "9.7.4"}, "instances": instances,
		"extended_properties": map[string]any{
			"databases": []map[string]any{{"name": "shop"}},
			"users":     []map[string]any{{"name": testUser, "password": testPassword, "databases": []map[string]any{{"name": "shop"}}}},
		},
	}}
}

func replicaBody(name, source string) map[string]any {
	return map[string]any{"instance": map[string]any{"name": name, "replica_of": source}}
}

// addressOf is where the instance's database answers.
func (p *plane) addressOf(id string) string {
	p.t.Helper()
	_, i := p.show(id)
	return address(i)
}

func (p *plane) showCluster(id string) (int, map[string]any) {
	p.t.Helper()
	code, answer := p.call(http.MethodGet, p.clusterPath(id), nil)
	return code, dig[map[string]any](answer, "cluster")
}

// awaitCluster polls until the cluster is as wanted.
func (p *plane) awaitCluster(id, what string, good func(code int, c map[string]any) bool) map[string]any {
	p.t.Helper()
	deadline := time.Now().Add(readyDeadline)
	for {
		code, c := p.showCluster(id)
		if good(code, c) {
			return c
		}
		require.Less(p.t, time.Now(), deadline, "cluster %s does not become %s: %d %v", id, what, code, c)
		time.Sleep(20 * time.Millisecond)
	}
}

// whole is a cluster for which there is nothing to do.
func whole(_ int, c map[string]any) bool {
	condition, _ := c["condition"].(string)
	alarms, _ := c["alarms"].([]any)
	return c["status"] == "ACTIVE" && condition == "" && len(alarms) == 0
}

// logGuests shows what the agents of all databases had to say, when a test has failed.
func (p *plane) logGuests() {
	if !p.t.Failed() {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	for _, e := range p.engines {
		all, err := e.List(ctx, nil)
		if err != nil {
			p.t.Logf("listing containers: %v", err)
		}
		for _, c := range all {
			out, _ := exec.CommandContext(ctx, "docker", "-H", p.host, "logs", "--tail", "150", c.Name).CombinedOutput()
			p.t.Logf("log of %s:\n%s", c.Name, out)
		}
	}
}

func primaryOf(c map[string]any) string {
	id, _ := c["primary"].(string)
	return id
}

// apart gives the members of a cluster, which are on as many hosts as there are.
func (p *plane) apart(c map[string]any) []string {
	p.t.Helper()
	var members []string
	for _, m := range dig[[]any](c, "instances") {
		members = append(members, dig[string](m, "id"))
	}
	require.NotEmpty(p.t, members)
	if len(p.hosts) == 0 {
		return members
	}
	on := map[string]string{}
	for _, id := range members {
		on[p.hostOf(id)] = id
	}
	require.Len(p.t, on, min(len(members), len(p.hosts)), "members of a cluster share a host: %v", on)
	return members
}

// ledger writes numbered rows through an address, one after the other, and remembers which were acknowledged, and the longest time without.
type ledger struct {
	mu    sync.Mutex
	acked []int
	last  time.Time
	gap   time.Duration
}

// keep writes until ctx ends; an error is followed by another attempt on a new connection, with the next number.
func (l *ledger) keep(ctx context.Context, db *sql.DB) {
	for n := 0; ctx.Err() == nil; n++ {
		attempt, cancel := context.WithTimeout(ctx, 5*time.Second)
		_, err := db.ExecContext(attempt, "INSERT INTO ledger (n) VALUES (?)", n)
		cancel()
		if err != nil {
			select {
			case <-time.After(5 * time.Millisecond):
			case <-ctx.Done():
			}
			continue
		}
		l.mu.Lock()
		now := time.Now()
		if !l.last.IsZero() {
			l.gap = max(l.gap, now.Sub(l.last))
		}
		l.last, l.acked = now, append(l.acked, n)
		l.mu.Unlock()
	}
}

// longest gives the longest gap since it was asked last, and how many were acknowledged so far.
func (l *ledger) longest() (time.Duration, int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	gap := max(l.gap, time.Since(l.last))
	l.gap, l.last = 0, time.Now()
	return gap, len(l.acked)
}

// lost gives the acknowledged rows that are not there.
func (l *ledger) lost(t *testing.T, db *sql.DB) []int {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), "SELECT n FROM ledger")
	require.NoError(t, err)
	defer func() { _ = rows.Close() }()
	there := map[int]bool{}
	for rows.Next() {
		var n int
		require.NoError(t, rows.Scan(&n))
		there[n] = true
	}
	require.NoError(t, rows.Err())
	l.mu.Lock()
	defer l.mu.Unlock()
	var lost []int
	for _, n := range l.acked {
		if !there[n] {
			lost = append(lost, n)
		}
	}
	return lost
}

// TestLifeOfACluster: made, written to while its primary is killed and changed, and deleted; nothing that was acknowledged is lost.
func TestLifeOfACluster(t *testing.T) {
	t.Parallel()
	p := newPlane(t)
	p.start()
	t.Cleanup(p.logGuests)
	began := time.Now()
	id := p.createCluster("shop", 3)
	c := p.awaitCluster(id, "whole", whole)
	t.Logf("a cluster of three is ready after %s", time.Since(began).Round(time.Millisecond))

	require.Len(t, p.apart(c), 3)

	address := dig[string](c, "endpoints", "read_write", "address")
	require.NotEmpty(t, address)
	db := open(t, address, nil)
	db.SetMaxOpenConns(1)
	run(t, db, "CREATE TABLE ledger (n INT PRIMARY KEY)")
	ctx, stop := context.WithCancel(t.Context())
	var l ledger
	var wg sync.WaitGroup
	wg.Go(func() { l.keep(ctx, db) })
	defer wg.Wait()
	defer stop()

	turn := func(what string, do func(primary string)) {
		require.Eventually(t, func() bool { _, n := l.longest(); return n > 0 }, time.Minute, 10*time.Millisecond, "nothing is written")
		l.longest()
		was := primaryOf(c)
		do(was)
		p.awaitCluster(id, "led by another one", func(_ int, c map[string]any) bool { return primaryOf(c) != was && primaryOf(c) != "" })
		gap, before := l.longest()
		require.Eventually(t, func() bool { l.mu.Lock(); defer l.mu.Unlock(); return len(l.acked) > before }, time.Minute, 10*time.Millisecond)
		c = p.awaitCluster(id, "whole again", whole)
		after, n := l.longest()
		t.Logf("%s: no write for %s; %d rows so far", what, max(gap, after).Round(time.Millisecond), n)
	}
	turn("switchover", func(string) {
		code, answer := p.call(http.MethodPost, p.clusterPath(id)+"/action", map[string]any{"switchover": map[string]any{}})
		require.Equal(t, http.StatusAccepted, code, "%v", answer)
	})
	turn("container killed", func(primary string) {
		require.NoError(t, p.engineOf(primary).Signal(t.Context(), p.container(primary).Name, "KILL"))
	})
	stop()
	wg.Wait()
	require.Empty(t, l.lost(t, db))

	code, answer := p.call(http.MethodDelete, p.clusterPath(id), nil)
	require.Equal(t, http.StatusAccepted, code, "%v", answer)
	p.awaitCluster(id, "gone", func(code int, _ map[string]any) bool { return code == http.StatusNotFound })
	require.Eventually(t, func() bool { return len(p.leftovers()) == 0 }, time.Minute, 100*time.Millisecond, "left: %v", p.leftovers())
}
