package sysmgr

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/huker/huker/runtime"
)

func TestBackoff(t *testing.T) {
	start := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	lived := func(from, to time.Duration) runtime.State {
		return runtime.State{Phase: runtime.PhaseExited, Started: start.Add(from), Finished: start.Add(to)}
	}
	type look struct {
		at   time.Duration
		s    runtime.State
		want time.Duration
	}
	absent := runtime.State{}
	for name, looks := range map[string][]look{
		"ever more slowly, up to a bound": {
			{0, absent, 0}, {0, absent, 500 * time.Millisecond}, {200 * time.Millisecond, absent, 300 * time.Millisecond},
			{500 * time.Millisecond, absent, 0}, {501 * time.Millisecond, absent, 999 * time.Millisecond},
			{2 * time.Second, absent, 0}, {2 * time.Second, absent, 2 * time.Second},
			{4 * time.Second, absent, 0}, {8 * time.Second, absent, 0}, {16 * time.Second, absent, 0}, {32 * time.Second, absent, 0},
			{32 * time.Second, absent, 30 * time.Second}, {time.Hour, absent, 0}, {time.Hour, absent, 30 * time.Second},
		},
		"dead soon after its start": {
			{0, lived(-time.Second, 0), 0}, {time.Second, lived(0, time.Second), 0}, {time.Second, lived(time.Second, time.Second), time.Second},
		},
		"forgiven after it ran for long": {
			{0, absent, 0}, {time.Second, absent, 0}, {3 * time.Second, absent, 0}, {3 * time.Second, absent, 2 * time.Second},
			{40 * time.Second, lived(4*time.Second, 40*time.Second), 0}, {40 * time.Second, lived(4*time.Second, 40*time.Second), 500 * time.Millisecond},
		},
		"forgiven in the middle of a pause": {
			{0, absent, 0}, {time.Second, absent, 0}, {3 * time.Second, absent, 0}, {7 * time.Second, absent, 0}, {15 * time.Second, absent, 0},
			{31 * time.Second, absent, 0}, {32 * time.Second, lived(-time.Second, 32*time.Second), 0},
		},
		"forgiven once: it ran for long, and now its start fails": {
			{0, lived(-time.Hour, 0), 0}, {500 * time.Millisecond, lived(-time.Hour, 0), 0}, {500 * time.Millisecond, lived(-time.Hour, 0), time.Second},
			{1500 * time.Millisecond, lived(-time.Hour, 0), 0}, {1500 * time.Millisecond, lived(-time.Hour, 0), 2 * time.Second},
		},
	} {
		b := &backoff{}
		for i, l := range looks {
			require.Equal(t, l.want, b.wait(start.Add(l.at), l.s), "%s: look %d, at %s", name, i, l.at)
		}
	}
}
