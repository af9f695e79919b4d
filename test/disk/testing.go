package disk

import (
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/huker/huker/internal/testenv"
)

// Own has a directory, with all that is in it, be on a file system of its own of so many bytes until the test ends, or off is called. Nobody may use it meanwhile. What is
// written there is gone then.
func Own(t testing.TB, path string, size int64) (off func()) {
	t.Helper()
	testenv.RequireRoot(t)
	testenv.RequireBinary(t, "mkfs.ext4")
	dir := t.TempDir() // on a disk: what is in a tmpfs counts as memory of the container
	image, at := filepath.Join(dir, "image"), filepath.Join(dir, "at")
	run := func(argv ...string) {
		out, err := exec.CommandContext(t.Context(), argv[0], argv[1:]...).CombinedOutput()
		require.NoError(t, err, "%v: %s", argv, out)
	}
	run("mkdir", at)
	require.NoError(t, Make(t.Context(), image, size))
	run("mount", "-o", "loop", image, at)
	t.Cleanup(func() { _ = syscall.Unmount(at, syscall.MNT_DETACH) })
	run("rmdir", filepath.Join(at, "lost+found")) // nothing that is not theirs
	run("cp", "-a", path+"/.", at+"/")
	require.NoError(t, syscall.Mount(at, path, "", syscall.MS_BIND, ""))
	off = func() { _ = syscall.Unmount(path, syscall.MNT_DETACH) }
	t.Cleanup(off)
	return off
}
