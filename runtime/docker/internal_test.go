package docker

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/events"
	"github.com/stretchr/testify/require"

	"github.com/huker/huker/runtime"
)

func TestErrorsGetTheirSentinels(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		err  error
		want error
	}{
		{errdefs.ErrNotFound.WithMessage("No such container: a"), runtime.ErrNotFound},
		{errdefs.ErrNotFound.WithMessage("No such image: a:latest"), runtime.ErrNoImage},
		{errdefs.ErrInvalidArgument.WithMessage("bad"), runtime.ErrInvalid},
		{errdefs.ErrUnavailable.WithMessage("daemon is shutting down"), runtime.ErrUnavailable},
		{fmt.Errorf("reading: %w", io.ErrUnexpectedEOF), runtime.ErrUnavailable},
		{errors.New("mkdir /var/lib/docker/x: no space left on device"), runtime.ErrNoSpace},
		{errdefs.ErrPermissionDenied.WithMessage("Address already in use"), runtime.ErrInUse},
		{errdefs.ErrPermissionDenied.WithMessage("network n has active endpoints"), runtime.ErrInUse},
		{errdefs.ErrPermissionDenied.WithMessage("Pool overlaps with other one on this address space"), errOverlap},
	} {
		got := mapError("doing", test.err)
		require.ErrorIs(t, got, test.want, "%v", test.err)
		require.ErrorIs(t, got, test.err, "the engine's own error is kept")
	}
	require.NoError(t, mapError("doing", nil))
	other := mapError("doing", errors.New("something else"))
	for _, s := range []error{runtime.ErrNotFound, runtime.ErrUnavailable, runtime.ErrExists, runtime.ErrInUse} {
		require.NotErrorIs(t, other, s)
	}
}

func TestParseRoutes(t *testing.T) {
	t.Parallel()
	const table = `Iface	Destination	Gateway 	Flags	RefCnt	Use	Metric	Mask		MTU	Window	IRTT
eth0	00000000	010200C0	0003	0	0	0	00000000	0	0	0
tun0	0000580A	00000000	0001	0	0	0	0000FFFF	0	0	0
docker0	000011AC	00000000	0001	0	0	0	0000FFFF	0	0	0
odd	zz	x
`
	require.Equal(t, []netip.Prefix{netip.MustParsePrefix("10.88.0.0/16"), netip.MustParsePrefix("172.17.0.0/16")}, parseRoutes(table))
}

func TestFirstFree(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		pool  string
		taken []string
		want  string // empty: none
	}{
		{"10.88.0.0/16", nil, "10.88.0.0/24"},
		{"10.88.0.0/16", []string{"10.88.0.0/24", "10.88.1.128/25", "10.88.3.0/24"}, "10.88.2.0/24"},
		{"10.88.0.0/15", []string{"10.88.0.0/16"}, "10.89.0.0/24"},
		{"10.88.7.0/24", []string{"10.88.7.3/32"}, ""},
		{"10.88.0.0/16", []string{"10.0.0.0/8"}, ""},
		{"255.255.254.0/23", []string{"255.255.254.0/24", "255.255.255.0/24"}, ""},
	} {
		var taken []netip.Prefix
		for _, p := range test.taken {
			taken = append(taken, netip.MustParsePrefix(p))
		}
		got, err := firstFree(netip.MustParsePrefix(test.pool), taken)
		if test.want == "" {
			require.Error(t, err, "%+v", test)
			continue
		}
		require.NoError(t, err)
		require.Equal(t, test.want, got.String())
	}
}

func TestLimitsComeBackAsGiven(t *testing.T) {
	t.Parallel()
	for _, l := range []runtime.Limits{
		{}, {CPUs: 0.01}, {CPUs: 0.1, MemoryMB: 6, Pids: 1}, {CPUs: 0.7}, {CPUs: 1.5, MemoryMB: 1536}, {CPUs: 128, MemoryMB: 1 << 20, Pids: 4096},
	} {
		require.Equal(t, l, limitsOf(resources(l)))
		require.Equal(t, l, limitsOf(liftable(l)))
		if l.MemoryMB > 0 {
			require.Equal(t, resources(l).Memory, resources(l).MemorySwap, "never swap")
		}
	}
}

func TestEventOf(t *testing.T) {
	t.Parallel()
	m := events.Message{Action: events.ActionDie, TimeNano: 5e9, Actor: events.Actor{Attributes: map[string]string{
		"name": "a", "image": "i", "exitCode": "137", "io.huker.owner": "o", "x": "1",
	}}}
	e, ok := eventOf(m)
	require.True(t, ok)
	require.Equal(t, runtime.Event{
		Name: "a", Kind: runtime.EventDied, ExitCode: 137, Time: time.Unix(5, 0).UTC(), Labels: map[string]string{"io.huker.owner": "o", "x": "1"},
	}, e)
	for _, a := range []events.Action{"exec_start: /guest echo", events.ActionCreate, events.ActionStop, "health_status: healthy"} {
		m.Action = a
		_, ok := eventOf(m)
		require.False(t, ok, a)
	}
}

// A reader that is too slow for the engine's events is told so, before it is told of anything newer.
func TestSlowReaderIsToldToListAgain(t *testing.T) {
	t.Parallel()
	out := make(chan runtime.Event, 2)
	l := listener{out: out}
	for i := range 5 {
		l.pass(runtime.Event{Kind: runtime.EventStarted, ExitCode: i})
	}
	require.Equal(t, 0, (<-out).ExitCode)
	l.pass(runtime.Event{Kind: runtime.EventStarted, ExitCode: 5})
	require.Equal(t, 1, (<-out).ExitCode)
	require.Equal(t, runtime.EventResync, (<-out).Kind)
	l.pass(runtime.Event{Kind: runtime.EventDied, ExitCode: 6})
	require.Equal(t, runtime.EventResync, (<-out).Kind, "number 5 was lost, too")
	require.Equal(t, 6, (<-out).ExitCode)

	for range 3 { // and also when nothing newer comes
		l.pass(runtime.Event{Kind: runtime.EventStarted})
	}
	for len(out) > 0 {
		<-out
	}
	l.resync()
	require.Equal(t, runtime.EventResync, (<-out).Kind)
	l.resync()
	require.Empty(t, out, "once is enough")
}
