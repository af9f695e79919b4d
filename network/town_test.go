package network_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	goruntime "runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/huker/huker/internal/testenv"
	"github.com/huker/huker/network"
)

// town is a fleet of network namespaces: a street with a client on it, and hosts, each with a database on its bridge and a client on another bridge. Hosts have the
// rules that Docker makes: nothing is forwarded but what bridges let out, and that is masqueraded.
type town struct {
	street *place
	hosts  []*townHost
}

const (
	townRange     = "10.87.0.0/16"
	townEndpoints = "10.87.255.0/24"
	townStreet    = "172.30.255"
	townBridge    = "hk-town"
	townAway      = "away0"
)

// townHost is one of them.
type townHost struct {
	*place
	n        int
	address  string // on the street
	subnet   string // of its databases
	db       string // its database, which listens at 3306
	server   *place // that it is in
	away     *place // a client on its other bridge
	firewall *network.Firewall
	balancer *network.Balancer
}

// place is a network namespace, and a thread that is in it.
type place struct {
	work chan func()
	path string
}

func newPlace(t *testing.T) *place {
	t.Helper()
	p := &place{work: make(chan func())}
	made := make(chan error)
	go func() {
		goruntime.LockOSThread() // for good: the thread ends with the goroutine
		err := unix.Unshare(unix.CLONE_NEWNET)
		p.path = fmt.Sprintf("/proc/%d/task/%d/ns/net", os.Getpid(), unix.Gettid())
		made <- err
		for f := range p.work {
			f()
		}
	}()
	t.Cleanup(func() { close(p.work) })
	if err := <-made; err != nil {
		t.Skipf("SKIPPED, NOT TESTED: no network namespace: %v", err)
	}
	p.up(t, "lo", "")
	return p
}

// do runs f in the place.
func (p *place) do(f func()) {
	done := make(chan struct{})
	p.work <- func() { defer close(done); f() }
	<-done
}

// must runs what must not fail. Nothing in it may end the test's goroutine: it is another one's.
func (p *place) must(t *testing.T, f func() error) {
	t.Helper()
	var err error
	p.do(func() { err = f() })
	require.NoError(t, err)
}

// up gives an interface an address, unless it is "", and brings it up.
func (p *place) up(t *testing.T, link, address string) {
	t.Helper()
	p.must(t, func() error {
		l, err := netlink.LinkByName(link)
		if err != nil {
			return err
		}
		if address != "" {
			a, err := netlink.ParseAddr(address)
			if err != nil {
				return err
			}
			if err := netlink.AddrAdd(l, a); err != nil {
				return err
			}
		}
		return netlink.LinkSetUp(l)
	})
}

func (p *place) bridge(t *testing.T, name, address string) {
	t.Helper()
	p.must(t, func() error { return netlink.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: name}}) })
	p.up(t, name, address)
}

// join plugs another place into one of this one's bridges, with an interface eth0 there.
func (p *place) join(t *testing.T, bridge, port string, other *place, address string) {
	t.Helper()
	p.must(t, func() error {
		there, err := os.Open(other.path)
		if err != nil {
			return err
		}
		defer func() { _ = there.Close() }()
		veth := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: port}, PeerName: "eth0", PeerNamespace: netlink.NsFd(int(there.Fd()))} //nolint:gosec // a file's number fits
		if err := netlink.LinkAdd(veth); err != nil {
			return err
		}
		b, err := netlink.LinkByName(bridge)
		if err != nil {
			return err
		}
		return netlink.LinkSetMaster(veth, b)
	})
	p.up(t, port, "")
	other.up(t, "eth0", address)
}

func (p *place) route(t *testing.T, to, via string) {
	t.Helper()
	p.must(t, func() error {
		_, subnet, err := net.ParseCIDR(to)
		if err != nil {
			return err
		}
		return netlink.RouteReplace(&netlink.Route{Dst: subnet, Gw: net.ParseIP(via)})
	})
}

// listen answers every connection with a name and the address that it has come from, and then with what it is told.
func (p *place) listen(t *testing.T, name string) {
	t.Helper()
	var l net.Listener
	p.must(t, func() (err error) {
		l, err = (&net.ListenConfig{}).Listen(context.Background(), "tcp4", "0.0.0.0:3306")
		return err
	})
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			host, _, _ := net.SplitHostPort(c.RemoteAddr().String())
			_, _ = fmt.Fprintf(c, "%s %s\n", name, host)
			go func() { _, _ = io.Copy(c, c); _ = c.Close() }()
		}
	}()
}

// dial connects from the place, and gives the connection with what was answered: "NAME FROM", "refused" or "dropped".
func (p *place) dial(t *testing.T, address string) (net.Conn, string) {
	t.Helper()
	return p.dialFrom(t, "", address)
}

// dialFrom is dial from one of the place's addresses.
func (p *place) dialFrom(t *testing.T, own, address string) (net.Conn, string) {
	t.Helper()
	var c net.Conn
	var err error
	p.do(func() {
		d := net.Dialer{Timeout: 1500 * time.Millisecond}
		if own != "" {
			d.LocalAddr = &net.TCPAddr{IP: net.ParseIP(own)}
		}
		c, err = d.DialContext(context.Background(), "tcp4", address)
	})
	switch {
	case err != nil && strings.Contains(err.Error(), "refused"):
		return nil, "refused"
	case err != nil:
		return nil, "dropped"
	}
	t.Cleanup(func() { _ = c.Close() })
	require.NoError(t, c.SetDeadline(time.Now().Add(10*time.Second)))
	line := make([]byte, 100)
	n, err := c.Read(line)
	if err != nil {
		return c, err.Error()
	}
	return c, strings.TrimSpace(string(line[:n]))
}

func (p *place) reach(t *testing.T, address string) string {
	t.Helper()
	_, got := p.dial(t, address)
	return got
}

func newTown(t *testing.T, hosts int) *town {
	t.Helper()
	testenv.RequireRoot(t)
	testenv.RequireBinary(t, "iptables")
	w := &town{street: newPlace(t)}
	w.street.bridge(t, "street0", townStreet+".1/24")
	var peers []string
	for n := 1; n <= hosts; n++ {
		peers = append(peers, fmt.Sprintf("10.87.%d.1", n))
	}
	for n := 1; n <= hosts; n++ {
		w.hosts = append(w.hosts, w.build(t, n, peers))
	}
	for _, h := range w.hosts {
		w.street.route(t, h.subnet, h.address)
		for _, other := range w.hosts {
			if other != h {
				h.route(t, other.subnet, other.address)
			}
		}
	}
	return w
}

func (w *town) build(t *testing.T, n int, gateways []string) *townHost {
	t.Helper()
	h := &townHost{
		place: newPlace(t), n: n, server: newPlace(t), away: newPlace(t), address: fmt.Sprintf("%s.%d", townStreet, 10+n),
		subnet: fmt.Sprintf("10.87.%d.0/24", n), db: fmt.Sprintf("10.87.%d.10", n),
	}
	w.street.join(t, "street0", fmt.Sprintf("h%d", n), h.place, h.address+"/24")
	h.bridge(t, townBridge, fmt.Sprintf("10.87.%d.1/24", n))
	h.bridge(t, townAway, fmt.Sprintf("192.168.%d.1/24", n))
	h.join(t, townBridge, "db", h.server, h.db+"/24")
	h.server.route(t, "0.0.0.0/0", fmt.Sprintf("10.87.%d.1", n))
	h.server.listen(t, fmt.Sprintf("db%d", n))
	h.join(t, townAway, "away", h.away, fmt.Sprintf("192.168.%d.2/24", n))
	h.away.route(t, "0.0.0.0/0", fmt.Sprintf("192.168.%d.1", n))
	h.must(t, func() error { return os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0o600) })
	for _, rule := range []string{
		"-P FORWARD DROP", "-N DOCKER-USER", "-A DOCKER-USER -j RETURN", "-A FORWARD -j DOCKER-USER",
		"-A FORWARD -o " + townBridge + " -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
		"-A FORWARD -o " + townAway + " -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
		"-A FORWARD -i " + townBridge + " ! -o " + townBridge + " -j ACCEPT", "-A FORWARD -i " + townAway + " ! -o " + townAway + " -j ACCEPT",
		"-t nat -A POSTROUTING -s " + h.subnet + " ! -o " + townBridge + " -j MASQUERADE",
		fmt.Sprintf("-t nat -A POSTROUTING -s 192.168.%d.0/24 ! -o %s -j MASQUERADE", n, townAway),
	} {
		h.do(func() { iptables(t, strings.Fields(rule)...) })
	}
	var err error
	h.firewall, err = network.NewFirewall("town", townBridge)
	require.NoError(t, err)
	var others []string
	var out []network.Egress
	for i, g := range gateways {
		if i+1 != n {
			others, out = append(others, g), append(out, network.Egress{To: g + "/24", Port: network.Port})
		}
	}
	require.NoError(t, errors.Join(h.firewall.SetLeaders(others), h.firewall.SetEgress(out)))
	h.balancer = network.NewBalancer("town", townBridge)
	h.must(t, func() error { return h.balancer.Place(h.subnet, townRange, townEndpoints) })
	return h
}

// admit says who may reach each database, on its own host and, by the endpoint, on all others.
func (w *town) admit(t *testing.T, e network.Endpoint, access network.Access) {
	t.Helper()
	e.Members = nil
	for _, h := range w.hosts {
		a := access
		a.Address = h.db
		e.Members = append(e.Members, a)
		h.must(t, func() error { return h.firewall.Set(context.Background(), []network.Access{a}) })
	}
	for _, h := range w.hosts {
		h.must(t, func() error { return h.balancer.Set(context.Background(), []network.Endpoint{e}) })
	}
}
