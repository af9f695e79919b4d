package keeper

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

var host16 = amount{CPUs: 4, RAMMB: 16384, DiskGB: 500}

func TestSchedule(t *testing.T) {
	small := amount{CPUs: 1, RAMMB: 1024, DiskGB: 10}
	for name, c := range map[string]struct {
		hosts   []candidate
		request request
		want    string
		refused string
	}{
		"the emptiest": {
			hosts: []candidate{{ID: "a", Has: host16, Used: amount{RAMMB: 8000}}, {ID: "b", Has: host16, Used: amount{RAMMB: 4000}}},
			want:  "b",
		},
		"by the resource that is shortest": {
			hosts: []candidate{{ID: "a", Has: host16, Used: amount{RAMMB: 2000, DiskGB: 450}}, {ID: "b", Has: host16, Used: amount{RAMMB: 8000}}},
			want:  "b",
		},
		"the same every time": {hosts: []candidate{{ID: "b", Has: host16}, {ID: "a", Has: host16}}, want: "a"},
		"not where a member is": {
			hosts: []candidate{{ID: "a", Has: host16, Members: 1}, {ID: "b", Has: host16, Used: amount{RAMMB: 15000}}},
			want:  "b",
		},
		"not in the failure domain of a member": {
			hosts: []candidate{
				{ID: "a", Has: host16, Zone: "east", Members: 1}, {ID: "b", Has: host16, Zone: "east"},
				{ID: "c", Has: host16, Zone: "west", Used: amount{RAMMB: 15000}},
			},
			request: request{Zones: map[string]int{"east": 1}},
			want:    "c",
		},
		"beside a member when there is nothing else": {hosts: []candidate{{ID: "a", Has: host16, Members: 2}}, want: "a"},
		"not ready": {
			hosts: []candidate{{ID: "a", Has: host16, Lacking: true}}, refused: "no room yet for 1024 MB of memory, 1 processors and 10 GB of disk: a waits for what guests run",
		},
		"drained": {
			hosts: []candidate{{ID: "a", Has: host16, Drained: true}}, refused: "a is drained",
		},
		"every reason": {
			hosts: []candidate{
				{ID: "d", Has: host16, Used: amount{RAMMB: 16000}}, {ID: "c", Has: host16, Used: amount{CPUs: 63.5}},
				{ID: "b", Has: host16, Used: amount{DiskGB: 495}}, {ID: "a", Has: host16, Drained: true},
			},
			refused: "no room for 1024 MB of memory, 1 processors and 10 GB of disk: a is drained; b has 5 GB of disk left; " +
				"c has 0.5 processors left to promise; d has 384 MB of memory left",
		},
		"nobody": {refused: "no host answers"},
	} {
		t.Run(name, func(t *testing.T) {
			c.request.Need = small
			got, err := schedule(c.hosts, c.request)
			if c.refused != "" {
				require.ErrorIs(t, err, errNoRoom)
				require.ErrorContains(t, err, c.refused)
				return
			}
			require.NoError(t, err)
			require.Equal(t, c.want, got)
		})
	}
}

// No host is ever given more than it has, and while any has room nobody is refused.
func TestScheduleNeverOverfills(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // not a secret
	hosts := make([]candidate, 20)
	for i := range hosts {
		hosts[i] = candidate{ID: fmt.Sprintf("h%02d", i), Has: host16, Zone: fmt.Sprint(i % 3)}
	}
	placed, refused := 0, 0
	for range 2000 {
		need := amount{CPUs: 1, RAMMB: 512 << random.IntN(4), DiskGB: 1 + random.IntN(20)}
		id, err := schedule(hosts, request{Need: need})
		fits := false
		for i := range hosts {
			fits = fits || hosts[i].refuses(need) == ""
			if hosts[i].ID == id {
				hosts[i].Used = hosts[i].Used.plus(need)
				require.LessOrEqual(t, hosts[i].Used.RAMMB, host16.RAMMB)
				require.LessOrEqual(t, hosts[i].Used.DiskGB, host16.DiskGB)
				placed++
			}
		}
		if err != nil {
			require.False(t, fits, "%+v was refused: %v", need, err)
			refused++
		}
	}
	require.Positive(t, refused)
	require.Greater(t, placed, 100)
}
