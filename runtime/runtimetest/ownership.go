package runtimetest

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/huker/huker/runtime"
)

// Nothing that another owner has is listed, changed or removed, whatever its name.
func testForeign(t *testing.T, b *bed) {
	ctx, d, other := soon(t), b.d, b.another(t)
	s := b.spec("a", "wait")
	require.NoError(t, other.Create(ctx, s))
	require.NoError(t, other.Start(ctx, s.Name))
	before, err := other.Inspect(ctx, s.Name)
	require.NoError(t, err)

	require.ErrorIs(t, d.Create(ctx, s), runtime.ErrExists, "even of the same Spec")
	require.ErrorIs(t, d.Start(ctx, s.Name), runtime.ErrForeign)
	require.ErrorIs(t, d.Stop(ctx, s.Name, 0), runtime.ErrForeign)
	require.ErrorIs(t, d.Remove(ctx, s.Name), runtime.ErrForeign)
	_, err = d.Inspect(ctx, s.Name)
	require.ErrorIs(t, err, runtime.ErrForeign)
	require.ErrorIs(t, d.UpdateLimits(ctx, s.Name, runtime.Limits{CPUs: 1}), runtime.ErrForeign)
	require.ErrorIs(t, d.Signal(ctx, s.Name, "KILL"), runtime.ErrForeign)
	require.ErrorIs(t, d.Pause(ctx, s.Name), runtime.ErrForeign)
	require.ErrorIs(t, d.Unpause(ctx, s.Name), runtime.ErrForeign)
	_, err = d.Exec(ctx, s.Name, []string{"/guest", "echo"}, nil)
	require.ErrorIs(t, err, runtime.ErrForeign)
	_, err = d.Stats(ctx, s.Name)
	require.ErrorIs(t, err, runtime.ErrForeign)
	require.ErrorIs(t, d.CopyTo(ctx, s.Name, "/", tarOf(t, "x", "x")), runtime.ErrForeign)
	_, err = d.CopyFrom(ctx, s.Name, "/guest")
	require.ErrorIs(t, err, runtime.ErrForeign)
	all, err := d.List(ctx, nil)
	require.NoError(t, err)
	require.Empty(t, all)
	after, err := other.Inspect(ctx, s.Name)
	require.NoError(t, err)
	require.Equal(t, before, after)

	volume := b.name("v")
	require.NoError(t, other.CreateVolume(ctx, volume, nil))
	require.ErrorIs(t, d.CreateVolume(ctx, volume, nil), runtime.ErrForeign)
	require.ErrorIs(t, d.RemoveVolume(ctx, volume), runtime.ErrForeign)
	volumes, err := d.ListVolumes(ctx, nil)
	require.NoError(t, err)
	require.Empty(t, volumes)
	volumes, err = other.ListVolumes(ctx, nil)
	require.NoError(t, err)
	require.Len(t, volumes, 1)

	if b.NoNetworks {
		return
	}
	network := b.name("n")
	_, err = other.EnsureNetwork(ctx, network, "", nil)
	require.NoError(t, err)
	_, err = d.EnsureNetwork(ctx, network, "", nil)
	require.ErrorIs(t, err, runtime.ErrForeign)
	require.ErrorIs(t, d.RemoveNetwork(ctx, network), runtime.ErrForeign)
	networks, err := d.ListNetworks(ctx, nil)
	require.NoError(t, err)
	require.Empty(t, networks)
}

func testListByLabels(t *testing.T, b *bed) {
	ctx := soon(t)
	for name, labels := range map[string]map[string]string{
		"a": {"kind": "db", "id": "1"}, "b": {"kind": "db", "id": "2"}, "c": {"kind": "web", "id": "1"}, "d": nil,
	} {
		s := b.spec(name, "wait")
		s.Labels = labels
		require.NoError(t, b.d.Create(ctx, s))
		require.NoError(t, b.d.CreateVolume(ctx, s.Name, labels))
	}
	for _, test := range []struct {
		labels map[string]string
		want   []string
	}{
		{nil, []string{"a", "b", "c", "d"}},
		{map[string]string{"kind": "db"}, []string{"a", "b"}},
		{map[string]string{"id": "1"}, []string{"a", "c"}},
		{map[string]string{"kind": "db", "id": "1"}, []string{"a"}},
		{map[string]string{"kind": "d"}, nil},
	} {
		var want, containers, volumes []string
		for _, w := range test.want {
			want = append(want, b.name(w))
		}
		found, err := b.d.List(ctx, test.labels)
		require.NoError(t, err)
		for _, c := range found {
			containers = append(containers, c.Name)
		}
		vs, err := b.d.ListVolumes(ctx, test.labels)
		require.NoError(t, err)
		for _, v := range vs {
			volumes = append(volumes, v.Name)
		}
		require.ElementsMatch(t, want, containers, "%v", test.labels)
		require.ElementsMatch(t, want, volumes, "%v", test.labels)
	}
}

// A driver that was killed half-way leaves nothing that the next one does not find: a container made but not started, one that runs,
// one that ended, a volume.
func testRecover(t *testing.T, b *bed) {
	ctx := soon(t)
	made, up, down := b.spec("made", "wait"), b.spec("up", "wait"), b.spec("down", "exit", "5")
	require.NoError(t, b.d.CreateVolume(ctx, b.name("v"), map[string]string{"k": "1"}))
	require.NoError(t, b.d.Create(ctx, made))
	b.run(t, up)
	b.run(t, down)
	b.becomes(t, down.Name, phase(runtime.PhaseExited))

	next := b.Open(t, b.owner)
	all, err := next.List(ctx, nil)
	require.NoError(t, err)
	phases := map[string]runtime.Phase{}
	for _, c := range all {
		phases[c.Name] = c.Phase
		require.NotEmpty(t, c.Labels[runtime.SpecLabel])
		one, err := next.Inspect(ctx, c.Name)
		require.NoError(t, err)
		require.Equal(t, one, c, "a list tells as much as a look")
	}
	require.Equal(t, map[string]runtime.Phase{
		made.Name: runtime.PhaseCreated, up.Name: runtime.PhaseRunning, down.Name: runtime.PhaseExited,
	}, phases)
	volumes, err := next.ListVolumes(ctx, map[string]string{"k": "1"})
	require.NoError(t, err)
	require.Len(t, volumes, 1)
	require.WithinDuration(t, time.Now(), volumes[0].Created, patience)

	for _, s := range []runtime.Spec{made, up, down} {
		require.NoError(t, next.Create(ctx, s))
	}
	require.NoError(t, next.Start(ctx, made.Name))
	require.NoError(t, next.Start(ctx, up.Name))
	require.Equal(t, "hello", b.exec(t, made.Name, "echo", "hello"))
}
