package fleet_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/huker/huker/internal/testenv"
	"github.com/huker/huker/runtime"
	"github.com/huker/huker/runtime/docker"
	"github.com/huker/huker/runtime/runtimetest"
	"github.com/huker/huker/test/fleet"
)

const (
	network = "databases"
	// patience is for what has to happen, and does so in much less; silence is how long nothing happens where nothing is to happen.
	patience = 30 * time.Second
	silence  = 700 * time.Millisecond
)

// site is a fleet with a program's image on all hosts.
type site struct {
	*fleet.Fleet
	t       *testing.T
	image   string
	drivers map[*fleet.Host]*docker.Driver
}

func newSite(t *testing.T, o fleet.Options) *site {
	t.Helper()
	testenv.RequireDocker(t)
	d, err := docker.Open(t.Context(), docker.Config{Owner: "fleet-test"})
	require.NoError(t, err)
	image := runtimetest.Image(t, d)
	require.NoError(t, d.Close())
	o.Images = []string{image}
	return &site{Fleet: fleet.ForTest(t, o), t: t, image: image, drivers: map[*fleet.Host]*docker.Driver{}}
}

func (s *site) docker(h *fleet.Host) *docker.Driver {
	s.t.Helper()
	if d := s.drivers[h]; d != nil {
		return d
	}
	d, err := h.Docker(s.t.Context(), "fleet-test")
	require.NoError(s.t, err)
	s.t.Cleanup(func() { _ = d.Close() })
	s.drivers[h] = d
	return d
}

// database is a container in the host's subnet that answers at 3306 with the address that it sees. It comes back with its engine. Others are let in, as
// sysmgr does it.
func (s *site) database(h *fleet.Host, name string, number int) string {
	s.t.Helper()
	d := s.docker(h)
	n, err := d.EnsureNetwork(s.t.Context(), network, h.Subnet(), nil)
	require.NoError(s.t, err)
	require.Equal(s.t, h.Subnet(), n.Subnet)
	s.open(h)
	address := netip.MustParsePrefix(h.Subnet()).Addr().As4()
	address[3] = byte(number)
	a := netip.AddrFrom4(address).String()
	s.container(h, runtime.Spec{
		Name: name, Args: []string{"listen", "0.0.0.0:3306"}, Network: network, Address: a, Restart: true, StopGrace: time.Second,
	})
	return a + ":3306"
}

func (s *site) container(h *fleet.Host, spec runtime.Spec) {
	s.t.Helper()
	spec.Image, spec.Entrypoint = s.image, []string{"/guest"}
	d := s.docker(h)
	require.NoError(s.t, d.Create(s.t.Context(), spec))
	require.NoError(s.t, d.Start(s.t.Context(), spec.Name))
}

func (s *site) open(h *fleet.Host) {
	s.t.Helper()
	_, err := h.Exec(s.t.Context(), "iptables", "-w", "10", "-I", "DOCKER-USER", "-d", h.Subnet(), "-j", "ACCEPT")
	require.NoError(s.t, err)
}

// holder has a program on the host that keeps connections.
func (s *site) holder(h *fleet.Host, again bool) (*fleet.Process, string) {
	s.t.Helper()
	address := net.JoinHostPort(h.Address, "7000")
	p, err := h.Start(fleet.Program{
		Name: "holder", Args: []string{os.Args[0]}, Env: []string{asVariable + "=" + asHolder, addressVariable + "=" + address}, Again: again,
	})
	require.NoError(s.t, err)
	s.becomes("open", func() string { return reach(s.t.Context(), dialer(), address, silence) })
	return p, address
}

// from says what becomes of a connection that a container begins: "open ADDRESS" with the address that is seen, "refused", or "dropped" when there is no
// answer in time.
func (s *site) from(h *fleet.Host, container, address string, in time.Duration) string {
	s.t.Helper()
	r, err := s.docker(h).Exec(s.t.Context(), container, []string{"/guest", "dial", address, strconv.FormatInt(in.Milliseconds(), 10)}, nil)
	require.NoError(s.t, err)
	return string(r.Stdout)
}

func (s *site) becomes(want string, state func() string) {
	s.t.Helper()
	last := ""
	require.Eventually(s.t, func() bool { last = state(); return last == want }, patience, 20*time.Millisecond, "it is %q for ever", &last)
}

type dial func(ctx context.Context, network, address string) (net.Conn, error)

func dialer() dial { return (&net.Dialer{}).DialContext }

// reach says what becomes of a connection: "open" when the other side says something, "refused", or "dropped" when there is no answer in time.
func reach(ctx context.Context, d dial, address string, in time.Duration) string {
	ctx, cancel := context.WithTimeout(ctx, in)
	defer cancel()
	c, err := d(ctx, "tcp4", address)
	if errors.Is(err, syscall.ECONNREFUSED) {
		return "refused"
	}
	if err != nil {
		return "dropped"
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	if _, err := c.Read(make([]byte, 1)); err != nil {
		return err.Error()
	}
	return "open"
}

// held is a connection to a holder.
func held(t *testing.T, d dial, address string) net.Conn {
	t.Helper()
	c, err := d(t.Context(), "tcp4", address)
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	require.NoError(t, c.SetDeadline(time.Now().Add(patience)))
	_, err = io.ReadFull(c, make([]byte, len("hello\n")))
	require.NoError(t, err)
	return c
}

// quiet says whether a connection hears nothing for a while, not even that it is over.
func quiet(t *testing.T, c net.Conn) {
	t.Helper()
	require.NoError(t, c.SetDeadline(time.Now().Add(silence)))
	_, err := c.Read(make([]byte, 1))
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
}

// machine is what there is of the machine that a fleet could change, with lines of others' left out.
func machine(t *testing.T, mine string) string {
	t.Helper()
	var b strings.Builder
	for _, args := range [][]string{{"ip", "-brief", "link"}, {"ip", "route", "show", "table", "all"}, {"ip", "netns", "list"}, {"cat", "/proc/self/mounts"},
		{"ps", "-eo", "args"}, {"find", "/sys/fs/cgroup", "-type", "d"}, {"find", fleet.BaseDir(), "-maxdepth", "2"}} {
		out, err := exec.Command(args[0], args[1:]...).Output()
		require.NoError(t, err, "%v", args)
		for line := range strings.Lines(string(out)) {
			if strings.Contains(line, mine) {
				b.WriteString(args[0] + ": " + line)
			}
		}
	}
	return b.String()
}
