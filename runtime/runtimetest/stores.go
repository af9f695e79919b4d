package runtimetest

import (
	"bytes"
	"context"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/huker/huker/runtime"
)

func testVolumes(t *testing.T, b *bed) {
	ctx, name := soon(t), b.name("v")
	for range 2 {
		require.NoError(t, b.d.CreateVolume(ctx, name, map[string]string{"k": "1"}))
	}
	all, err := b.d.ListVolumes(ctx, nil)
	require.NoError(t, err)
	require.Len(t, all, 1)
	require.Equal(t, name, all[0].Name)
	require.Equal(t, map[string]string{"k": "1", runtime.OwnerLabel: b.owner}, all[0].Labels)
	for range 2 {
		require.NoError(t, b.d.RemoveVolume(ctx, name))
	}
	all, err = b.d.ListVolumes(ctx, nil)
	require.NoError(t, err)
	require.Empty(t, all)
}

func mounting(s runtime.Spec, volume string, readOnly bool) runtime.Spec {
	s.Mounts = append(s.Mounts, runtime.Mount{Kind: runtime.MountVolume, Source: volume, Target: "/v", ReadOnly: readOnly})
	return s
}

func testVolumeKeepsData(t *testing.T, b *bed) {
	ctx, volume := soon(t), b.name("v")
	require.NoError(t, b.d.CreateVolume(ctx, volume, nil))
	b.run(t, mounting(b.spec("a", "wait"), volume, false))
	b.exec(t, b.name("a"), "write", "/v/f", "kept")
	require.NoError(t, b.d.Remove(ctx, b.name("a")))

	b.run(t, mounting(b.spec("b", "wait"), volume, true))
	require.Equal(t, "kept", b.exec(t, b.name("b"), "read", "/v/f"))
	r, err := b.d.Exec(ctx, b.name("b"), []string{"/guest", "write", "/v/f", "changed"}, nil)
	require.NoError(t, err)
	require.NotZero(t, r.ExitCode, "it is mounted for reading only")
}

func testVolumeInUse(t *testing.T, b *bed) {
	ctx, volume := soon(t), b.name("v")
	require.NoError(t, b.d.CreateVolume(ctx, volume, nil))
	s := mounting(b.spec("a", "wait"), volume, false)
	require.NoError(t, b.d.Create(ctx, s))
	require.ErrorIs(t, b.d.RemoveVolume(ctx, volume), runtime.ErrInUse, "by one that never ran")
	require.NoError(t, b.d.Start(ctx, s.Name))
	require.ErrorIs(t, b.d.RemoveVolume(ctx, volume), runtime.ErrInUse, "by one that runs")
	require.NoError(t, b.d.Remove(ctx, s.Name))
	require.NoError(t, b.d.RemoveVolume(ctx, volume))

	// A container whose volume nobody made gets one that can be found and removed.
	require.NoError(t, b.d.Create(ctx, s))
	all, err := b.d.ListVolumes(ctx, nil)
	require.NoError(t, err)
	require.Len(t, all, 1)
}

func testNetworks(t *testing.T, b *bed) {
	if b.NoNetworks {
		t.Skip("SKIPPED, NOT TESTED: this engine has no networks")
	}
	ctx, name := soon(t), b.name("n")
	n, err := b.d.EnsureNetwork(ctx, name, "", map[string]string{"k": "1"})
	require.NoError(t, err)
	require.Equal(t, name, n.Name)
	require.Equal(t, map[string]string{"k": "1", runtime.OwnerLabel: b.owner}, n.Labels)
	p, err := netip.ParsePrefix(n.Subnet)
	require.NoError(t, err)
	require.Equal(t, 24, p.Bits())
	require.True(t, p.Contains(netip.MustParseAddr(n.Gateway)))
	require.NotEmpty(t, n.Bridge)
	require.Less(t, len(n.Bridge), 16, "the kernel takes no longer name")

	again, err := b.d.EnsureNetwork(ctx, name, "", nil)
	require.NoError(t, err)
	require.Equal(t, n, again)
	second, err := b.d.EnsureNetwork(ctx, b.name("m"), "", nil)
	require.NoError(t, err)
	require.False(t, netip.MustParsePrefix(second.Subnet).Overlaps(p))
	require.NotEqual(t, n.Bridge, second.Bridge)
	_, err = b.d.EnsureNetwork(ctx, b.name("o"), n.Subnet, nil)
	require.Error(t, err, "the subnet is taken")
	_, err = b.d.EnsureNetwork(ctx, b.name("o"), "everywhere", nil)
	require.ErrorIs(t, err, runtime.ErrInvalid)

	all, err := b.d.ListNetworks(ctx, nil)
	require.NoError(t, err)
	require.ElementsMatch(t, []runtime.Network{n, second}, all)
	all, err = b.d.ListNetworks(ctx, map[string]string{"k": "1"})
	require.NoError(t, err)
	require.Equal(t, []runtime.Network{n}, all)

	s := b.spec("a", "wait")
	s.Network = name
	b.run(t, s)
	require.ErrorIs(t, b.d.RemoveNetwork(ctx, name), runtime.ErrInUse)
	require.NoError(t, b.d.Remove(ctx, s.Name))
	for range 2 {
		require.NoError(t, b.d.RemoveNetwork(ctx, name))
	}
}

func testNetworkAddresses(t *testing.T, b *bed) {
	if b.NoNetworks {
		t.Skip("SKIPPED, NOT TESTED: this engine has no networks")
	}
	ctx := soon(t)
	n, err := b.d.EnsureNetwork(ctx, b.name("n"), "", nil)
	require.NoError(t, err)
	p := netip.MustParsePrefix(n.Subnet)
	a := p.Addr().As4()
	a[3] = 77
	fixed := netip.AddrFrom4(a).String()

	s := b.spec("a", "wait")
	s.Network, s.Address = n.Name, fixed
	b.run(t, s)
	state, err := b.d.Inspect(ctx, s.Name)
	require.NoError(t, err)
	require.Equal(t, fixed, state.Address)

	free := b.spec("b", "wait")
	free.Network = n.Name
	b.run(t, free)
	state, err = b.d.Inspect(ctx, free.Name)
	require.NoError(t, err)
	require.True(t, p.Contains(netip.MustParseAddr(state.Address)), state.Address)
	require.NotContains(t, []string{fixed, n.Gateway}, state.Address)

	twice := b.spec("c", "wait")
	twice.Network, twice.Address = n.Name, fixed
	require.NoError(t, b.d.Create(ctx, twice))
	require.ErrorIs(t, b.d.Start(ctx, twice.Name), runtime.ErrInUse)

	require.NoError(t, b.d.Stop(ctx, s.Name, 0))
	state, err = b.d.Inspect(ctx, s.Name)
	require.NoError(t, err)
	require.Equal(t, fixed, state.Address, "it keeps its claim while it does not run")
	require.NoError(t, b.d.Start(ctx, s.Name))
	state, err = b.d.Inspect(ctx, s.Name)
	require.NoError(t, err)
	require.Equal(t, fixed, state.Address)

	alone := b.spec("d", "wait")
	b.run(t, alone)
	state, err = b.d.Inspect(ctx, alone.Name)
	require.NoError(t, err)
	require.Empty(t, state.Address, "no network, no address")
}

// Several ask for networks at once: the same one is made once, different ones do not overlap.
func testNetworkAtOnce(t *testing.T, b *bed) {
	if b.NoNetworks {
		t.Skip("SKIPPED, NOT TESTED: this engine has no networks")
	}
	ctx := soon(t)
	names := make(chan string, 6)
	for _, n := range []string{"n", "n", "n", "o", "p", "q"} {
		names <- b.name(n)
	}
	for _, err := range atOnce(6, func() error {
		_, err := b.d.EnsureNetwork(ctx, <-names, "", nil)
		return err
	}) {
		require.NoError(t, err)
	}
	all, err := b.d.ListNetworks(ctx, nil)
	require.NoError(t, err)
	require.Len(t, all, 4)
	for i, x := range all {
		for _, y := range all[:i] {
			require.False(t, netip.MustParsePrefix(x.Subnet).Overlaps(netip.MustParsePrefix(y.Subnet)))
		}
	}
}

func testImages(t *testing.T, b *bed) {
	ctx := soon(t)
	i, err := b.d.InspectImage(ctx, b.Image)
	require.NoError(t, err)
	require.Equal(t, b.Image, i.Ref)
	require.NotEmpty(t, i.ID)
	none := "huker-test/there-is-none:" + b.suffix
	_, err = b.d.InspectImage(ctx, none)
	require.ErrorIs(t, err, runtime.ErrNoImage)
	require.ErrorIs(t, b.d.SaveImage(ctx, none, &bytes.Buffer{}), runtime.ErrNoImage)

	var saved bytes.Buffer
	require.NoError(t, b.d.SaveImage(ctx, b.Image, &saved))
	require.NoError(t, b.d.LoadImage(ctx, bytes.NewReader(saved.Bytes())))
	again, err := b.d.InspectImage(ctx, b.Image)
	require.NoError(t, err)
	require.Equal(t, i.ID, again.ID, "an image comes back as it was")
	require.Error(t, b.d.LoadImage(ctx, bytes.NewReader([]byte("this is no image"))))

	short, cancel := context.WithCancel(ctx)
	cancel()
	require.ErrorIs(t, b.d.PullImage(short, none), context.Canceled)
}
