package e2e

import (
	"context"
	"database/sql"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/huker/huker/test/fleet"
	"github.com/huker/huker/test/site"
)

// otherBridge is a network of somebody else's on each host.
const otherBridge = "e2e-somebody"

// reached is a cluster whose endpoint is tried from everywhere.
type reached struct {
	*plane
	id, address string
	port        int
	members     []string
	tried       int
}

// try writes as a client, and gives who the primary takes the client for.
func (r *reached) try(t *testing.T, where string, dial func(context.Context, string, string) (net.Conn, error), address string) (string, error) {
	t.Helper()
	db := openBy(t, address, dial)
	defer func() { _ = db.Close() }()
	r.tried++
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if _, err := db.ExecContext(ctx, "INSERT INTO seen VALUES (?, ?)", r.tried, where); err != nil {
		return "", err
	}
	var who string
	err := db.QueryRowContext(ctx, "SELECT SUBSTRING_INDEX(USER(), '@', -1)").Scan(&who)
	return who, err
}

// inContainer writes from a container of a host.
func (r *reached) inContainer(t *testing.T, h *fleet.Host, bridge string) error {
	t.Helper()
	r.tried++
	_, err := h.Exec(t.Context(), "docker", "run", "--rm", "--network", bridge, "-e", "MYSQL_PWD="+testPassword, "--entrypoint", "mysql", site.Image(t),
		"--protocol=tcp", "--connect-timeout=3", "-h", r.address, "-P", "3306", "-u", testUser, "shop",
		"-e", fmt.Sprintf("INSERT INTO seen VALUES (%d, 'a container on %s')", r.tried, h.Name))
	return err
}

// byHosts has this machine, which is no host, write by way of each host.
func (r *reached) byHosts(t *testing.T, primary string) {
	t.Helper()
	for _, h := range onSite.Fleet.Hosts {
		require.NoError(t, h.RouteBy(r.address+"/32"))
		who, err := r.try(t, "no host", nil, r.address+":3306")
		require.NoError(t, err, "from no host by %s, primary on %s", h.Name, primary)
		if h.Name == primary {
			require.Equal(t, onSite.Fleet.Controller.Address, who, "the client's own address is kept where the primary is")
		}
		_, err = r.try(t, "no host", nil, fmt.Sprintf("%s:%d", h.Address, r.port))
		require.NoError(t, err, "from no host at the port of %s, primary on %s", h.Name, primary)
	}
}

// onHosts has each host itself write.
func (r *reached) onHosts(t *testing.T, primary string) {
	t.Helper()
	for _, h := range onSite.Fleet.Hosts {
		for _, address := range []string{r.address + ":3306", fmt.Sprintf("127.0.0.1:%d", r.port)} {
			_, err := r.try(t, h.Name, h.Dial, address)
			require.NoError(t, err, "from %s itself at %s, primary on %s", h.Name, address, primary)
		}
	}
}

// primaryHost is the host of the primary.
func (r *reached) primaryHost(t *testing.T) string {
	t.Helper()
	return r.hostOf(primaryOf(r.awaitCluster(r.id, "whole", whole)))
}

// switchOver has another member lead.
func (r *reached) switchOver(t *testing.T) {
	t.Helper()
	was := primaryOf(r.awaitCluster(r.id, "whole", whole))
	code, answer := r.call(http.MethodPost, r.clusterPath(r.id)+"/action", map[string]any{"switchover": map[string]any{}})
	require.Equal(t, http.StatusAccepted, code, "%v", answer)
	r.awaitCluster(r.id, "led by another one", func(code int, c map[string]any) bool { return whole(code, c) && primaryOf(c) != was })
}

// endpointsOfAFleet: a cluster is written to at its address from everywhere, by way of every host, wherever its primary is; and by nobody who may not.
func endpointsOfAFleet(t *testing.T) {
	p := newPlane(t)
	p.start()
	t.Cleanup(p.logGuests)
	r := &reached{plane: p, id: p.createCluster("reached", 3)}
	c := p.awaitCluster(r.id, "whole", whole)
	r.members = p.apart(c)
	r.address, r.port = dig[string](c, "endpoints", "read_write", "address"), int(dig[float64](c, "endpoints", "read_write", "host_port"))
	require.Positive(t, r.port)
	run(t, open(t, r.address, nil), "CREATE TABLE seen (n INT PRIMARY KEY, client VARCHAR(100))")
	for _, h := range onSite.Fleet.Hosts {
		_, err := h.Exec(t.Context(), "docker", "network", "create", otherBridge)
		require.NoError(t, err)
		t.Cleanup(func() { _, _ = h.Exec(context.WithoutCancel(t.Context()), "docker", "network", "rm", otherBridge) })
	}
	for range 2 {
		primary := r.primaryHost(t)
		r.onHosts(t, primary)
		r.byHosts(t, primary)
		for _, h := range onSite.Fleet.Hosts {
			for _, bridge := range []string{"bridge", otherBridge} {
				require.NoError(t, r.inContainer(t, h, bridge), "network %s of %s, primary on %s", bridge, h.Name, primary)
			}
		}
		r.switchOver(t)
	}
	t.Run("readers", func(t *testing.T) {
		for _, h := range onSite.Fleet.Hosts {
			db := openBy(t, dig[string](c, "endpoints", "read_only", "address")+":3306", h.Dial)
			require.Eventually(t, func() bool {
				var n int
				return db.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM seen").Scan(&n) == nil && n == r.tried
			}, time.Minute, 50*time.Millisecond, h.Name)
		}
	})
	t.Run("access", func(t *testing.T) {
		for _, id := range r.members {
			code, answer := p.call(http.MethodPut, p.path(id), map[string]any{"instance": map[string]any{"access": map[string]any{
				"is_public": false, "allowed_cidrs": []string{onSite.Fleet.Controller.Address + "/32"},
			}}})
			require.Equal(t, http.StatusAccepted, code, "%v", answer)
		}
		for _, id := range r.members {
			p.awaitActive(id)
		}
		for range 2 { // the members still have to reach each other for this
			primary := r.primaryHost(t)
			r.byHosts(t, primary)
			r.onHosts(t, primary)
			for _, h := range onSite.Fleet.Hosts {
				require.ErrorContains(t, r.inContainer(t, h, "bridge"), "Can't connect", "on %s, primary on %s", h.Name, primary)
			}
			r.switchOver(t)
		}
	})
	code, answer := p.call(http.MethodDelete, p.clusterPath(r.id), nil)
	require.Equal(t, http.StatusAccepted, code, "%v", answer)
	p.awaitCluster(r.id, "gone", func(code int, _ map[string]any) bool { return code == http.StatusNotFound })
	_, err := r.try(t, "nobody", nil, r.address+":3306")
	require.ErrorContains(t, err, "refused", strings.Join(r.members, " "))
	require.Eventually(t, func() bool { return len(p.leftovers()) == 0 }, time.Minute, 100*time.Millisecond, "left: %v", p.leftovers())
}

// openBy is open at HOST:PORT by way of a dialer; nil: from this machine.
func openBy(t *testing.T, address string, dial func(context.Context, string, string) (net.Conn, error)) *sql.DB {
	t.Helper()
	c := login(address)
	c.DialFunc = dial
	return pool(t, c)
}
