package fleet_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/huker/huker/test/fleet"
)

// A host's disk is full for its volumes alone, also after the host was lost, until it is healed; and it goes with the fleet.
func TestDisk(t *testing.T) {
	t.Parallel()
	s := newSite(t, fleet.Options{Hosts: 2, Disk: 64 << 20})
	h, other := s.Hosts[0], s.Hosts[1]
	volume := h.Dir + "/data/docker/volumes/shop/_data"
	write := func(name string) error {
		_, err := h.Exec(t.Context(), "dd", "if=/dev/zero", "of="+volume+"/"+name, "bs=1M", "count=4")
		return err
	}
	_, err := h.Exec(t.Context(), "docker", "volume", "create", "shop")
	require.NoError(t, err)
	require.NoError(t, write("kept"))
	list, err := h.Exec(t.Context(), "docker", "volume", "ls", "-q")
	require.NoError(t, err)
	require.Equal(t, "shop\n", list)

	require.NoError(t, h.FillDisk(1<<20))
	require.ErrorContains(t, write("more"), "No space left")
	room, err := other.Room()
	require.NoError(t, err)
	require.Greater(t, room, int64(16<<20))
	require.NoError(t, os.WriteFile(h.Dir+"/log/machine", make([]byte, 8<<20), 0o600), "the machine has room")

	for range 3 { // the file system is mounted once only, whatever the kernel is still about
		require.NoError(t, h.Reboot(t.Context()))
	}
	require.ErrorContains(t, write("more"), "No space left")
	require.NoError(t, h.Heal(t.Context()))
	require.NoError(t, write("more"))
	out, err := h.Exec(t.Context(), "stat", "-c", "%s", volume+"/kept")
	require.NoError(t, err)
	require.Equal(t, "4194304\n", out)

	require.NoError(t, s.Close(t.Context()))
	require.ErrorIs(t, h.FillDisk(0), fleet.ErrNoDisk)
	s.becomes("", func() string { // the kernel lets go of it in its own time
		out, err := exec.CommandContext(t.Context(), "losetup", "--list", "--noheadings", "--output", "BACK-FILE").Output()
		if err != nil || strings.Contains(string(out), h.Dir) {
			return "in use: " + string(out)
		}
		return ""
	})
}

func TestNoDisk(t *testing.T) {
	t.Parallel()
	s := newSite(t, fleet.Options{Hosts: 1})
	require.ErrorIs(t, s.Hosts[0].FillDisk(0), fleet.ErrNoDisk)
}
