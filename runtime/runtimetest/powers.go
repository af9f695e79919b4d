package runtimetest

import (
	"archive/tar"
	"bytes"
	"context"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/huker/huker/runtime"
)

func testExec(t *testing.T, b *bed) {
	ctx := soon(t)
	s := b.spec("a", "wait")
	s.Env = []string{"COLOUR=blue"}
	b.run(t, s)
	require.Equal(t, "hello world", b.exec(t, s.Name, "echo", "hello", "world"))
	require.Equal(t, "blue", b.exec(t, s.Name, "env", "COLOUR"))

	r, err := b.d.Exec(ctx, s.Name, []string{"/guest", "fail", "9", "what went wrong"}, nil)
	require.NoError(t, err)
	require.Equal(t, runtime.ExecResult{ExitCode: 9, Stderr: []byte("what went wrong")}, normal(r))

	input := strings.Repeat("0123456789abcdef", 16<<10) // 256 KiB, more than pipes hold
	r, err = b.d.Exec(ctx, s.Name, []string{"/guest", "cat"}, strings.NewReader(input))
	require.NoError(t, err)
	require.Zero(t, r.ExitCode)
	require.Equal(t, input, string(r.Stdout))

	r, err = b.d.Exec(ctx, s.Name, []string{"/guest", "flood", "3000000"}, nil)
	require.NoError(t, err)
	require.Zero(t, r.ExitCode, "a program that says too much is not held up")
	require.Len(t, r.Stdout, 1<<20)

	r, err = b.d.Exec(ctx, s.Name, []string{"/no-such-program"}, nil)
	require.NoError(t, err)
	require.Contains(t, []int{126, 127}, r.ExitCode)
}

// normal lets empty output be nil.
func normal(r runtime.ExecResult) runtime.ExecResult {
	if len(r.Stdout) == 0 {
		r.Stdout = nil
	}
	if len(r.Stderr) == 0 {
		r.Stderr = nil
	}
	return r
}

func testExecEnds(t *testing.T, b *bed) {
	s := b.spec("a", "stubborn")
	require.NoError(t, b.d.Create(soon(t), s))
	_, err := b.d.Exec(soon(t), s.Name, []string{"/guest", "echo"}, nil)
	require.ErrorIs(t, err, runtime.ErrNotRunning)
	require.NoError(t, b.d.Start(soon(t), s.Name))

	short, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	_, err = b.d.Exec(short, s.Name, []string{"/guest", "wait"}, nil)
	require.ErrorIs(t, err, context.DeadlineExceeded)

	// Its container dies under it: Exec returns.
	done := make(chan error, 1)
	go func() {
		r, err := b.d.Exec(soon(t), s.Name, []string{"/guest", "stubborn"}, nil)
		if err == nil && r.ExitCode == 0 {
			err = io.ErrUnexpectedEOF
		}
		done <- err
	}()
	time.Sleep(300 * time.Millisecond)
	require.NoError(t, b.d.Remove(soon(t), s.Name))
	select {
	case err := <-done:
		require.NotErrorIs(t, err, io.ErrUnexpectedEOF, "a program that was killed did not succeed")
	case <-time.After(patience / 2):
		require.Fail(t, "Exec waits for a program that is dead")
	}
}

func tarOf(t *testing.T, pairs ...string) io.Reader {
	t.Helper()
	var buffer bytes.Buffer
	w := tar.NewWriter(&buffer)
	for i := 0; i < len(pairs); i += 2 {
		require.NoError(t, w.WriteHeader(&tar.Header{Name: pairs[i], Mode: 0o644, Size: int64(len(pairs[i+1])), Typeflag: tar.TypeReg}))
		_, err := io.WriteString(w, pairs[i+1])
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	return &buffer
}

func filesIn(t *testing.T, r io.ReadCloser) map[string]string {
	t.Helper()
	defer r.Close()
	found := map[string]string{}
	for archive := tar.NewReader(r); ; {
		h, err := archive.Next()
		if err == io.EOF { //nolint:errorlint // as the tar package gives it
			return found
		}
		require.NoError(t, err)
		if h.Typeflag == tar.TypeReg {
			data, err := io.ReadAll(archive)
			require.NoError(t, err)
			found[h.Name] = string(data)
		}
	}
}

func testCopy(t *testing.T, b *bed) {
	ctx, volume := soon(t), b.name("v")
	require.NoError(t, b.d.CreateVolume(ctx, volume, nil))
	s := mounting(b.spec("a", "wait"), volume, false)
	s.ReadOnly = true
	require.NoError(t, b.d.Create(ctx, s))
	require.NoError(t, b.d.CopyTo(ctx, s.Name, "/v", tarOf(t, "before", "1")), "it need not run")
	require.NoError(t, b.d.Start(ctx, s.Name))
	require.NoError(t, b.d.CopyTo(ctx, s.Name, "/v", tarOf(t, "f", "one", "g", "two")))
	require.Equal(t, "1", b.exec(t, s.Name, "read", "/v/before"))
	require.Equal(t, "one", b.exec(t, s.Name, "read", "/v/f"))
	b.exec(t, s.Name, "write", "/v/h", "three")

	r, err := b.d.CopyFrom(ctx, s.Name, "/v/h")
	require.NoError(t, err)
	require.Equal(t, map[string]string{"h": "three"}, filesIn(t, r))
	r, err = b.d.CopyFrom(ctx, s.Name, "/v")
	require.NoError(t, err)
	require.Equal(t, map[string]string{"v/before": "1", "v/f": "one", "v/g": "two", "v/h": "three"}, filesIn(t, r))
	_, err = b.d.CopyFrom(ctx, s.Name, "/v/none")
	require.ErrorIs(t, err, runtime.ErrNotFound)
	require.Error(t, b.d.CopyTo(ctx, s.Name, "/", tarOf(t, "f", "x")), "its root is for reading only")
	require.Error(t, b.d.CopyTo(ctx, s.Name, "/v", strings.NewReader("this is no archive, however long one reads it")))
}

func testReadOnlyRoot(t *testing.T, b *bed) {
	s := b.spec("a", "wait")
	s.ReadOnly = true
	s.Mounts = []runtime.Mount{{Kind: runtime.MountMemory, Target: "/m", SizeMB: 1}}
	b.run(t, s)
	r, err := b.d.Exec(soon(t), s.Name, []string{"/guest", "write", "/f", "x"}, nil)
	require.NoError(t, err)
	require.NotZero(t, r.ExitCode)
	b.exec(t, s.Name, "write", "/m/f", "x")
	require.Equal(t, "x", b.exec(t, s.Name, "read", "/m/f"))
	require.NoError(t, b.d.Stop(soon(t), s.Name, 0))
	require.NoError(t, b.d.Start(soon(t), s.Name))
	r, err = b.d.Exec(soon(t), s.Name, []string{"/guest", "read", "/m/f"}, nil)
	require.NoError(t, err)
	require.NotZero(t, r.ExitCode, "memory does not outlive a stop")
}

// What a kernel enforces: user, capabilities, no new privileges, memory mounts, host name.
func testHardened(t *testing.T, b *bed) {
	if !b.Kernel {
		t.Skip("SKIPPED, NOT TESTED: no kernel behind this engine")
	}
	s := b.spec("a", "wait")
	s.User, s.Hostname, s.DropCaps, s.NoNewPrivs, s.ReadOnly = "1234:2345", "db-1", []string{"ALL"}, true, true
	s.Mounts = []runtime.Mount{{Kind: runtime.MountMemory, Target: "/m", UID: 1234, GID: 2345, Mode: 0o750, SizeMB: 1}}
	b.run(t, s)
	for field, want := range map[string]string{
		"CapEff": "0000000000000000", "CapPrm": "0000000000000000", "CapBnd": "0000000000000000", "NoNewPrivs": "1", "Seccomp": "2",
		"Uid": "1234\t1234\t1234\t1234", "Gid": "2345\t2345\t2345\t2345",
	} {
		require.Equal(t, want, b.exec(t, s.Name, "status", field), field)
	}
	require.Equal(t, "db-1", b.exec(t, s.Name, "hostname"))
	require.Equal(t, "750 1234 2345", b.exec(t, s.Name, "stat", "/m"))
	b.exec(t, s.Name, "write", "/m/f", "x")
	r, err := b.d.Exec(soon(t), s.Name, []string{"/guest", "write", "/m/big", strings.Repeat("x", 100_000)}, nil)
	require.NoError(t, err)
	require.Zero(t, r.ExitCode)

	capable := b.spec("b", "wait")
	capable.DropCaps, capable.AddCaps = []string{"ALL"}, []string{"NET_ADMIN"}
	b.run(t, capable)
	require.Equal(t, "0000000000001000", b.exec(t, capable.Name, "status", "CapEff"))
	require.Equal(t, "0", b.exec(t, capable.Name, "status", "NoNewPrivs"))
}

func testLimits(t *testing.T, b *bed) {
	ctx := soon(t)
	first := runtime.Limits{CPUs: 0.5, MemoryMB: 64, Pids: 40}
	s := b.spec("a", "wait")
	s.Limits = first
	b.run(t, s)
	up, err := b.d.Inspect(ctx, s.Name)
	require.NoError(t, err)
	require.Equal(t, first, up.Limits)
	if b.Kernel {
		r, err := b.d.Exec(ctx, s.Name, []string{"/guest", "spawn", "60"}, nil)
		require.NoError(t, err)
		require.NotZero(t, r.ExitCode, "a fork bomb ends at the limit")
		time.Sleep(2500 * time.Millisecond) // its children end
	}
	for _, l := range []runtime.Limits{
		{CPUs: 1.25, MemoryMB: 256, Pids: 100}, {CPUs: 0.3, MemoryMB: 48, Pids: 50}, {CPUs: 64, MemoryMB: 128, Pids: 50}, {}, first,
	} {
		require.NoError(t, b.d.UpdateLimits(ctx, s.Name, l))
		now, err := b.d.Inspect(ctx, s.Name)
		require.NoError(t, err)
		require.Equal(t, l, now.Limits)
		require.Equal(t, up.Started, now.Started, "it went on")
		require.Equal(t, up.Pid, now.Pid)
		if stats, err := b.d.Stats(ctx, s.Name); l.MemoryMB > 0 {
			require.NoError(t, err)
			require.Equal(t, int64(l.MemoryMB)<<20, stats.MemoryLimit, "as the kernel sees it")
		}
	}
	require.NoError(t, b.d.Stop(ctx, s.Name, 0))
	require.NoError(t, b.d.UpdateLimits(ctx, s.Name, runtime.Limits{CPUs: 1, MemoryMB: 96, Pids: 30}), "also while it does not run")
	require.NoError(t, b.d.Start(ctx, s.Name))
	stats, err := b.d.Stats(ctx, s.Name)
	require.NoError(t, err)
	require.Equal(t, int64(96)<<20, stats.MemoryLimit)
}

func testSignals(t *testing.T, b *bed) {
	ctx, volume := soon(t), b.name("v")
	require.NoError(t, b.d.CreateVolume(ctx, volume, nil))
	s := mounting(b.spec("a", "wait", "/v/heard"), volume, false)
	require.NoError(t, b.d.Create(ctx, s))
	require.ErrorIs(t, b.d.Signal(ctx, s.Name, "HUP"), runtime.ErrNotRunning)
	require.NoError(t, b.d.Start(ctx, s.Name))
	b.exec(t, s.Name, "echo")
	require.NoError(t, b.d.Signal(ctx, s.Name, "SIGHUP"))
	require.Eventually(t, func() bool {
		r, err := b.d.Exec(ctx, s.Name, []string{"/guest", "read", "/v/heard"}, nil)
		return err == nil && string(r.Stdout) == "HUP"
	}, patience, 50*time.Millisecond)
	require.NoError(t, b.d.Signal(ctx, s.Name, "KILL"))
	require.Equal(t, 137, b.becomes(t, s.Name, phase(runtime.PhaseExited)).ExitCode)
}

func testPause(t *testing.T, b *bed) {
	ctx := soon(t)
	s := b.spec("a", "wait")
	require.NoError(t, b.d.Create(ctx, s))
	require.ErrorIs(t, b.d.Pause(ctx, s.Name), runtime.ErrNotRunning)
	require.NoError(t, b.d.Start(ctx, s.Name))
	for range 2 {
		require.NoError(t, b.d.Pause(ctx, s.Name))
	}
	b.becomes(t, s.Name, phase(runtime.PhasePaused))
	for range 2 {
		require.NoError(t, b.d.Unpause(ctx, s.Name))
	}
	b.becomes(t, s.Name, phase(runtime.PhaseRunning))
	require.Equal(t, "x", b.exec(t, s.Name, "echo", "x"))

	require.NoError(t, b.d.Pause(ctx, s.Name))
	require.NoError(t, b.d.Start(ctx, s.Name), "what is started runs")
	b.becomes(t, s.Name, phase(runtime.PhaseRunning))
	require.NoError(t, b.d.Pause(ctx, s.Name))
	require.NoError(t, b.d.Stop(ctx, s.Name, 2*time.Second), "what is frozen can be stopped")
	b.becomes(t, s.Name, phase(runtime.PhaseExited))
	require.NoError(t, b.d.Start(ctx, s.Name))
	require.NoError(t, b.d.Pause(ctx, s.Name))
	require.NoError(t, b.d.Remove(ctx, s.Name), "and removed")
}

func testStats(t *testing.T, b *bed) {
	ctx := soon(t)
	s := b.spec("a", "wait")
	s.Limits.MemoryMB = 128
	require.NoError(t, b.d.Create(ctx, s))
	_, err := b.d.Stats(ctx, s.Name)
	require.ErrorIs(t, err, runtime.ErrNotRunning)
	require.NoError(t, b.d.Start(ctx, s.Name))
	first, err := b.d.Stats(ctx, s.Name)
	require.NoError(t, err)
	require.Positive(t, first.CPUSeconds)
	require.Positive(t, first.MemoryBytes)
	require.Less(t, first.MemoryBytes, first.MemoryLimit)
	require.Equal(t, int64(128)<<20, first.MemoryLimit)
	require.Positive(t, first.Pids)
	if !b.Kernel {
		return
	}
	b.exec(t, s.Name, "burn", "400")
	second, err := b.d.Stats(ctx, s.Name)
	require.NoError(t, err)
	used := second.CPUSeconds - first.CPUSeconds
	require.True(t, used > 0.38 && used < 10, "%f seconds of processor time", used)
}
