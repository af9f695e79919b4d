package keeper

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/huker/huker/internal/model"
	"github.com/huker/huker/internal/protocol"
)

func TestSurvey(t *testing.T) {
	t.Parallel()
	const within = "10.88.0.0/16"
	one, two := time.Unix(1, 0).UTC(), time.Unix(2, 0).UTC()
	alive := map[string]protocol.HostStatus{
		"a": {Host: "a", RAMMB: 1, Address: "192.0.2.1", Labels: map[string]string{"zone": "east"}},
		"b": {Host: "b", RAMMB: 2, Address: "192.0.2.2", Subnet: "10.88.0.0/24"},
	}
	s := surveyed(nil, alive, within, one)
	require.Empty(t, s.troubles)
	require.Len(t, s.changed, 2)
	require.Equal(t, "10.88.0.0/24", s.rows["b"].Subnet, "it has it already")
	require.Equal(t, "10.88.1.0/24", s.rows["a"].Subnet)
	require.True(t, s.rows["a"].Up)

	s = surveyed(nil, map[string]protocol.HostStatus{"b": alive["b"]}, within, one)
	require.Equal(t, "10.88.0.0/24", s.rows["b"].Subnet)
	rows := s.changed
	s = surveyed(rows, alive, within, two)
	require.Equal(t, "10.88.1.0/24", s.rows["a"].Subnet)
	require.Equal(t, one, s.rows["b"].Since)
	require.Equal(t, []model.Host{s.rows["a"]}, s.changed)
	rows = []model.Host{s.rows["a"], s.rows["b"]}

	// Nothing new, nothing to write.
	require.Empty(t, surveyed(rows, alive, within, two).changed)

	// A host that vanishes keeps its subnet, and is up again when it comes back.
	delete(alive, "a")
	s = surveyed(rows, alive, within, two)
	require.Len(t, s.changed, 1)
	require.False(t, s.rows["a"].Up)
	require.Equal(t, two, s.rows["a"].Since)
	require.Equal(t, "10.88.1.0/24", s.rows["a"].Subnet)

	// An operator's word stays.
	drained := s.rows["b"]
	drained.Drained = true
	s = surveyed([]model.Host{drained}, alive, within, two)
	require.True(t, s.rows["b"].Drained)
	require.Empty(t, s.changed)
}

func TestSurveySaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	now := time.Unix(1, 0)
	taken := []model.Host{{ID: "a", Subnet: "10.88.0.0/24"}}
	for name, c := range map[string]struct {
		status protocol.HostStatus
		within string
		want   string
	}{
		"another host's subnet": {protocol.HostStatus{Subnet: "10.88.0.0/25"}, "10.88.0.0/16", "is another host's"},
		"nonsense":              {protocol.HostStatus{Subnet: "here"}, "10.88.0.0/16", `"here" is none`},
		"no range":              {protocol.HostStatus{}, "", `the range "" gives none`},
		"a small range":         {protocol.HostStatus{}, "10.88.0.0/25", "gives none"},
		"a full range":          {protocol.HostStatus{}, "10.88.0.0/24", "all of 10.88.0.0/24 is taken"},
		"the end of the world":  {protocol.HostStatus{}, "255.255.255.0/24", ""},
		"its own trouble":       {protocol.HostStatus{Subnet: "10.88.9.0/24", Trouble: "no iptables"}, "10.88.0.0/16", "host b: no iptables"},
	} {
		s := surveyed(taken, map[string]protocol.HostStatus{"a": {Subnet: "10.88.0.0/24"}, "b": c.status}, c.within, now)
		if c.want == "" {
			require.Empty(t, s.troubles, name)
			continue
		}
		require.Len(t, s.troubles, 1, name)
		require.ErrorContains(t, s.troubles[0], c.want, name)
		require.Contains(t, "host b: "+s.rows["b"].Trouble, c.want, name)
	}
}

// TestProgramSources: a host that lacks what guests run is led to those that have some of it, and nobody else is.
func TestProgramSources(t *testing.T) {
	t.Parallel()
	agent, supervisor := protocol.Program{Name: "huker-guestagent", Sum: "a1"}, protocol.Program{Name: "huker-supervisor", Sum: "b1"}
	older := protocol.Program{Name: "huker-guestagent", Sum: "a0"}
	alive := map[string]protocol.HostStatus{
		"new":       {Depot: "https://new", Lacks: []protocol.Program{agent, supervisor}},
		"half":      {Depot: "https://half", Programs: []protocol.Program{supervisor, older}},
		"whole":     {Depot: "https://whole", Programs: []protocol.Program{agent, supervisor}},
		"older":     {Depot: "https://older", Programs: []protocol.Program{older}},
		"not asked": {Programs: []protocol.Program{agent}},
	}
	require.Equal(t, []string{"https://half", "https://whole"}, programSources("new", alive))
	require.Empty(t, programSources("older", alive), "it lacks nothing")
	delete(alive, "whole")
	delete(alive, "half")
	require.Empty(t, programSources("new", alive), "nobody has it")
}
