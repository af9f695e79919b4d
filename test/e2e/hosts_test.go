package e2e

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// noticeDeadline is within how long it is known that a host has vanished.
const noticeDeadline = 3 * time.Second

// hostsOfAFleet: databases are spread over the hosts and reach each other; a host that takes no more is passed over; one that is cut off, or loses its
// power, is shown as down, and its databases are there again when it is.
func hostsOfAFleet(t *testing.T) {
	p := newPlane(t)
	p.start()
	var ids []string
	on := map[string]string{} // host -> the instance on it
	for n := range p.hosts {
		id := p.create(fmt.Sprintf("spread-%d", n), 1)
		db := open(t, address(p.awaitActive(id)), nil)
		run(t, db, "CREATE TABLE kept (v INT PRIMARY KEY)")
		run(t, db, "INSERT INTO kept VALUES (?)", n)
		ids = append(ids, id)
		on[p.hostOf(id)] = id
	}
	require.Len(t, on, len(p.hosts), "one on each host: %v", on)

	t.Run("they reach each other", func(t *testing.T) {
		for _, from := range ids {
			for n, to := range ids {
				_, i := p.show(to)
				login := fmt.Sprintf("[client]\nuser=%s\npassword=%s\n", testUser, testPassword)
				got, err := p.engineOf(from).Exec(t.Context(), p.container(from).Name, []string{
					"mysql", "--defaults-file=/dev/stdin", "--protocol=tcp", "-h", address(i), "-P", "3306", "-N", "-B", "-e", "SELECT v FROM shop.kept",
				}, strings.NewReader(login))
				require.NoError(t, err)
				require.Equal(t, fmt.Sprintln(n), string(got.Stdout), "from %s to %s: %s", p.hostOf(from), p.hostOf(to), got.Stderr)
			}
		}
	})
	t.Run("one is drained", func(t *testing.T) {
		name := p.hosts[0]
		p.order(name, "drain")
		var more []string
		for n := range 3 {
			id := p.create(fmt.Sprintf("elsewhere-%d", n), 1)
			p.awaitActive(id)
			require.NotEqual(t, name, p.hostOf(id))
			more = append(more, id)
		}
		require.True(t, answers(t, address(p.awaitActive(on[name])), slices.Index(ids, on[name])), "what is there stays")
		p.order(name, "undrain")
		id := p.create("here-again", 1)
		p.awaitActive(id)
		require.Equal(t, name, p.hostOf(id), "the emptiest")
		for _, id := range append(more, id) {
			code, _ := p.call(http.MethodDelete, p.path(id), nil)
			require.Equal(t, http.StatusAccepted, code)
			p.awaitGone(id)
		}
	})
	back := func(t *testing.T, id string) {
		t.Helper()
		_, i := p.show(id)
		require.Eventually(t, func() bool { return answers(t, address(i), slices.Index(ids, id)) }, readyDeadline, 100*time.Millisecond)
		p.awaitActive(id)
	}
	t.Run("one is cut off", func(t *testing.T) {
		host := onSite.Fleet.Hosts[1]
		require.NoError(t, host.Cut(t.Context()))
		p.awaitHost(host.Name, false)
		others := p.create("meanwhile", 1)
		p.awaitActive(others)
		require.NotEqual(t, host.Name, p.hostOf(others))
		require.NoError(t, host.Heal(t.Context()))
		p.awaitHost(host.Name, true)
		back(t, on[host.Name])
	})
	t.Run("one loses its power", func(t *testing.T) {
		host := onSite.Fleet.Hosts[2]
		require.NoError(t, host.Lose(t.Context()))
		p.awaitHost(host.Name, false)
		require.NoError(t, host.Heal(t.Context()))
		p.launch()
		p.awaitHost(host.Name, true)
		back(t, on[host.Name])
	})
	t.Run("one is gone for good", func(t *testing.T) {
		host := onSite.Fleet.Hosts[2]
		require.NoError(t, host.Lose(t.Context()))
		path, id := "/v1.0/"+p.project+"/mgmt/hosts/"+host.Name, on[host.Name]
		refused, answer := p.call(http.MethodDelete, path, nil)
		require.Equal(t, http.StatusBadRequest, refused, "it is up, or has a database: %v", answer)
		p.awaitHost(host.Name, false)
		refused, answer = p.call(http.MethodDelete, path, nil)
		require.Equal(t, http.StatusBadRequest, refused, "%v", answer)
		require.Contains(t, fmt.Sprint(answer), id)
		code, _ := p.call(http.MethodDelete, p.path(id), nil)
		require.Equal(t, http.StatusAccepted, code)
		code, _ = p.call(http.MethodDelete, path, nil)
		require.Equal(t, http.StatusAccepted, code)
		p.awaitGone(id)
		gone := func() bool { code, _ := p.call(http.MethodGet, path, nil); return code == http.StatusNotFound }
		require.Eventually(t, gone, time.Minute, 50*time.Millisecond, "it is listed still")

		// It comes back all the same, and has no rights until it is added again.
		require.NoError(t, host.Heal(t.Context()))
		p.launch()
		require.Never(t, func() bool { return !gone() }, 5*time.Second, 100*time.Millisecond, "nobody has added it again")
		code, answer = p.call(http.MethodPost, "/v1.0/"+p.project+"/mgmt/hosts", map[string]any{"host": map[string]any{"name": host.Name}})
		require.Equal(t, http.StatusCreated, code, "%v", answer)
		p.awaitHost(host.Name, true)
	})
}

// hostOf names the host that has an instance's container.
func (p *plane) hostOf(id string) string {
	p.t.Helper()
	return p.hosts[slices.Index(p.engines, p.engineOf(id))]
}

func (p *plane) order(host, action string) {
	p.t.Helper()
	code, answer := p.call(http.MethodPost, "/v1.0/"+p.project+"/mgmt/hosts/"+host+"/action", map[string]any{action: map[string]any{}})
	require.Equal(p.t, http.StatusAccepted, code, "%v", answer)
}

// awaitHost waits until a host is shown as up or down: it is known soon when one has vanished.
func (p *plane) awaitHost(host string, up bool) {
	p.t.Helper()
	began, deadline := time.Now(), time.Minute
	if !up {
		deadline = noticeDeadline
	}
	for {
		code, answer := p.call(http.MethodGet, "/v1.0/"+p.project+"/mgmt/hosts/"+host, nil)
		require.Equal(p.t, http.StatusOK, code, "%v", answer)
		if dig[bool](answer, "host", "up") == up {
			break
		}
		require.Less(p.t, time.Since(began), deadline, "%v", answer)
		time.Sleep(20 * time.Millisecond)
	}
	p.t.Logf("%s is shown as up=%t after %s", host, up, time.Since(began).Round(time.Millisecond))
}
