package fault

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"runtime/pprof"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// helperEnv has the test's program be one whose clock is made to jump.
const helperEnv = "HUKER_TEST_CLOCK"

func TestMain(m *testing.M) {
	switch os.Getenv(helperEnv) {
	case "":
		os.Exit(m.Run())
	case "tell":
		tell(os.Stdin)
	case "busy":
		busy(os.Stdin)
	}
}

// tell writes, for each line it reads, the time of day by two calls, what has passed since it began, and how long it slept.
func tell(in io.Reader) {
	start := time.Now()
	for lines := bufio.NewScanner(in); lines.Scan(); {
		var tv syscall.Timeval
		err := syscall.Gettimeofday(&tv)
		wall, passed := time.Now(), time.Since(start)
		time.Sleep(50 * time.Millisecond)
		fmt.Println(wall.Unix(), tv.Sec, passed.Microseconds(), time.Since(wall).Microseconds(), err)
	}
}

// busy reads the clock without a pause, signals interrupting it, and answers each line when it has read it again.
func busy(in io.Reader) {
	if err := pprof.StartCPUProfile(io.Discard); err != nil {
		fmt.Println(err)
		return
	}
	var read atomic.Int64
	for range 8 {
		go func() {
			for last := time.Now(); ; read.Add(1) {
				var tv syscall.Timeval
				now := time.Now()
				if err := syscall.Gettimeofday(&tv); err != nil || now.Sub(last) < 0 {
					fmt.Println("the monotonic clock jumped", now.Sub(last), err)
					os.Exit(1)
				}
				last = now
			}
		}()
	}
	for lines := bufio.NewScanner(in); lines.Scan(); {
		for had := read.Load(); read.Load() < had+100; {
			runtime.Gosched()
		}
		fmt.Println("read")
	}
}

// program is a process that writes a line of numbers for each line it reads.
type program struct {
	*testing.T
	cmd *exec.Cmd
	in  io.Writer
	out *bufio.Reader
}

func start(t *testing.T, env string, args ...string) *program {
	t.Helper()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env, cmd.Stderr = append(os.Environ(), env), os.Stderr
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	return &program{T: t, cmd: cmd, in: in, out: bufio.NewReader(out)}
}

func startHelper(t *testing.T, what string) *program {
	t.Helper()
	p := start(t, helperEnv+"="+what, os.Args[0])
	p.ask() // it runs
	return p
}

func (p *program) ask() []string {
	p.Helper()
	_, err := fmt.Fprintln(p.in)
	require.NoError(p, err)
	line, err := p.out.ReadString('\n')
	require.NoError(p, err, "it has ended")
	return strings.Fields(line)
}

func (p *program) pids(context.Context) ([]int, error) { return []int{p.cmd.Process.Pid}, nil }

// is fails unless what a program answered is so far from this test's clock.
func (p *program) is(by time.Duration, seconds string) {
	p.Helper()
	n, err := strconv.ParseInt(seconds, 10, 64)
	require.NoError(p, err)
	require.WithinDuration(p, time.Now().Add(by), time.Unix(n, 0), 5*time.Second)
}

// jumped asks a helper whether its clock has jumped by so much, and nothing but its clock.
func (p *program) jumped(by time.Duration, since time.Time) {
	p.Helper()
	passed := time.Since(since)
	answer := p.ask()
	require.Len(p, answer, 5, answer)
	require.Equal(p, "<nil>", answer[4])
	p.is(by, answer[0])
	p.is(by, answer[1])
	number := func(s string) time.Duration {
		n, err := strconv.ParseInt(s, 10, 64)
		require.NoError(p, err)
		return time.Duration(n) * time.Microsecond
	}
	require.InDelta(p, passed, number(answer[2]), float64(5*time.Second), "the monotonic clock")
	require.GreaterOrEqual(p, number(answer[3]), 50*time.Millisecond, "a sleep")
	require.Less(p, number(answer[3]), 5*time.Second, "a sleep")
}

func needClock(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 || runtime.GOARCH != "amd64" {
		t.Skip("SKIPPED, NOT TESTED: clocks are made to jump by root, on amd64")
	}
}

func TestJumpClock(t *testing.T) {
	needClock(t)
	ctx, began := t.Context(), time.Now()
	p, other := startHelper(t, "tell"), startHelper(t, "tell")
	require.Equal(t, "the clock of h1 jumps by 1h0m0s", JumpClock("h1", time.Hour, p.pids).Name())
	require.Equal(t, "the clock of h1 jumps by -30m0s", JumpClock("h1", -30*time.Minute, p.pids).Name())
	p.jumped(0, began)

	forward, back := JumpClock("h1", time.Hour, p.pids), JumpClock("h1", -time.Hour, p.pids)
	require.NoError(t, forward.Heal(ctx), "nothing was done")
	require.NoError(t, forward.Do(ctx))
	p.jumped(time.Hour, began)
	require.NoError(t, back.Do(ctx))
	p.jumped(-time.Hour, began)
	other.jumped(0, began)
	require.WithinDuration(t, began, time.Now().Round(0), time.Minute, "this test's own")
	startHelper(t, "tell").jumped(0, time.Now())

	for range 2 {
		require.NoError(t, back.Heal(ctx))
		p.jumped(0, began)
	}
	require.NoError(t, forward.Do(ctx))
	p.jumped(time.Hour, began)
	require.NoError(t, forward.Heal(ctx))
	p.jumped(0, began)
}

// state is that of a process, as /proc has it.
func state(t *testing.T, pid int) string {
	t.Helper()
	p, err := openProcess(pid)
	require.NoError(t, err)
	defer p.close()
	s, _, err := p.stat("stat")
	require.NoError(t, err)
	return s
}

// A process that hangs goes on hanging.
func TestJumpClockOfTheStopped(t *testing.T) {
	needClock(t)
	began := time.Now()
	p := startHelper(t, "tell")
	pid := p.cmd.Process.Pid
	require.NoError(t, unix.Kill(pid, unix.SIGSTOP))
	require.Eventually(t, func() bool { return state(t, pid) == "T" }, 10*time.Second, time.Millisecond)
	f := JumpClock("h1", time.Hour, p.pids)
	require.NoError(t, f.Do(t.Context()))
	require.Equal(t, "T", state(t, pid))
	require.NoError(t, unix.Kill(pid, unix.SIGCONT))
	p.jumped(time.Hour, began)
	require.NoError(t, unix.Kill(pid, unix.SIGSTOP))
	require.Eventually(t, func() bool { return state(t, pid) == "T" }, 10*time.Second, time.Millisecond)
	require.NoError(t, f.Heal(t.Context()))
	require.Equal(t, "T", state(t, pid))
	require.NoError(t, unix.Kill(pid, unix.SIGCONT))
	p.jumped(0, began)
}

// A process that reads the clock all the time, in all its threads, survives it. That the code is overwritten for the first time is the risk: several processes.
func TestJumpClockOfTheBusy(t *testing.T) {
	needClock(t)
	for range 5 {
		p := startHelper(t, "busy")
		for i := range 50 {
			require.NoError(t, JumpClock("h1", time.Duration(i-25)*time.Hour, p.pids).Do(t.Context()))
			if i%10 == 9 { // it answers slowly
				require.Equal(t, []string{"read"}, p.ask())
			}
		}
		require.NoError(t, p.cmd.Process.Kill())
		var exit *exec.ExitError
		require.ErrorAs(t, p.cmd.Wait(), &exit)
		require.Equal(t, syscall.SIGKILL, exit.Sys().(syscall.WaitStatus).Signal(), "it has ended by itself")
	}
}

func TestJumpClockOfTheEnded(t *testing.T) {
	needClock(t)
	ctx, began := t.Context(), time.Now()
	p, other := startHelper(t, "tell"), startHelper(t, "tell")
	both := func(context.Context) ([]int, error) { return []int{p.cmd.Process.Pid, other.cmd.Process.Pid}, nil }
	f := JumpClock("h1", time.Hour, both)
	require.NoError(t, f.Do(ctx))

	require.NoError(t, p.cmd.Process.Kill())
	require.Eventually(t, func() bool { return state(t, p.cmd.Process.Pid) == "Z" }, 10*time.Second, time.Millisecond)
	require.ErrorIs(t, JumpClock("h1", time.Hour, p.pids).Do(ctx), ErrNoProcess, "nobody has waited for it")
	require.NoError(t, JumpClock("h1", time.Hour, both).Do(ctx), "there is another one")
	p.cmd.Wait()
	require.ErrorIs(t, JumpClock("h1", time.Hour, p.pids).Do(ctx), ErrNoProcess)
	require.NoError(t, JumpClock("h1", 2*time.Hour, both).Do(ctx))
	other.jumped(2*time.Hour, began)
	require.NoError(t, f.Heal(ctx))
	other.jumped(0, began)

	none := func(context.Context) ([]int, error) { return nil, nil }
	require.ErrorIs(t, JumpClock("h1", time.Hour, none).Do(ctx), ErrNoProcess)
	failed := errors.New("failed")
	require.ErrorIs(t, JumpClock("h1", time.Hour, func(context.Context) ([]int, error) { return nil, failed }).Do(ctx), failed)
	for _, pid := range []int{-1, 0, 1, os.Getpid()} {
		err := JumpClock("h1", time.Hour, func(context.Context) ([]int, error) { return []int{pid}, nil }).Do(ctx)
		require.Error(t, err)
		require.NotErrorIs(t, err, ErrNoProcess)
	}
}

// Neither another process that has the number nor another program of the process is healed.
func TestJumpClockIsAnothers(t *testing.T) {
	needClock(t)
	ctx, began := t.Context(), time.Now()
	p := startHelper(t, "tell")
	pid := p.cmd.Process.Pid
	require.NoError(t, JumpClock("h1", time.Hour, p.pids).Do(ctx))
	f := &clockJump{changed: map[int]string{pid: "1"}}
	require.NoError(t, f.heal(ctx))
	require.Empty(t, f.changed)
	p.jumped(time.Hour, began)

	sh := start(t, helperEnv+"=tell", "sh", "-c", `read x; echo first; read x; exec "$0"`, os.Args[0])
	sh.ask()
	jump := JumpClock("h1", time.Hour, sh.pids)
	require.NoError(t, jump.Do(ctx))
	_, err := fmt.Fprintln(sh.in)
	require.NoError(t, err)
	sh.jumped(0, time.Now())
	require.NoError(t, jump.Heal(ctx))
	sh.jumped(0, time.Now())
}

// Nobody's code is overwritten where it is about to go on, nor where it comes back to from a signal's handler.
func TestInside(t *testing.T) {
	mem, err := os.Open("/proc/self/mem")
	require.NoError(t, err)
	defer mem.Close()
	const at = 0x7ffff7fc1230
	stack := make([]uint64, 2*signalStack/8)
	sp := uint64(uintptr(unsafe.Pointer(&stack[0])))
	for pc, want := range map[uint64]bool{at - 1: false, at: false, at + 1: true, at + 4: true, at + 5: false} {
		require.Equal(t, want, inside(mem, thread{pc: pc}, at, 5), "%#x", pc)
		stack[1000] = pc
		require.Equal(t, want, inside(mem, thread{sp: sp}, at, 5), "%#x", pc)
		require.False(t, inside(mem, thread{sp: sp + 8008}, at, 5), "no longer in use")
	}
}

func TestClockCode(t *testing.T) {
	needClock(t)
	pid := startHelper(t, "tell").cmd.Process.Pid
	p, err := openProcess(pid)
	require.NoError(t, err)
	defer p.close()
	mem, err := p.root.Open("mem")
	require.NoError(t, err)
	defer mem.Close()
	_, image, err := p.vdso(mem)
	require.NoError(t, err)

	none, err := clockCode(image, 0)
	require.NoError(t, err)
	require.Empty(t, none, "it has not jumped")
	first, err := clockCode(image, 3600)
	require.NoError(t, err)
	require.Len(t, first, 1+len(clockCalls))
	for _, c := range first {
		copy(image[c.at:], c.code)
	}
	again, err := clockCode(image, 3600)
	require.NoError(t, err)
	require.Equal(t, first, again, "in the same place")

	for what, broken := range map[string][]byte{
		"full":    append(bytes.Replace(image, clockMark, make([]byte, len(clockMark)), 1), 1),
		"another": append([]byte("MZ"), image...),
		"of 32 bits": func() []byte {
			b := bytes.Clone(image)
			b[18] = 3 // the machine
			return b
		}(),
	} {
		_, err := clockCode(broken, 3600)
		require.ErrorIs(t, err, errNoVDSO, what)
	}
}

// libcClocks reads the clocks as C programs do. Monotonic ones and errors come last.
const libcClocks = `
import ctypes, sys
libc = ctypes.CDLL(None)
libc.time.restype = ctypes.c_long
pair = ctypes.c_long * 2
def clock(n):
    v = pair()
    assert libc.clock_gettime(n, v) == 0 and 0 <= v[1] < 10**9
    return v[0]
for line in sys.stdin:
    v, t, z = pair(), ctypes.c_long(), (ctypes.c_int * 2)(7, 7)
    assert libc.gettimeofday(v, None) == 0 and 0 <= v[1] < 10**6
    assert libc.gettimeofday(None, None) == 0 and libc.gettimeofday(None, z) == 0 and z[0] != 7
    assert libc.time(ctypes.byref(t)) == t.value
    assert libc.clock_gettime(99, pair()) == -1
    print(libc.time(None), t.value, v[0], clock(0), clock(5), clock(1), clock(6), clock(7), clock(4), flush=True)
`

func TestJumpClockOfLibc(t *testing.T) {
	needClock(t)
	python, err := exec.LookPath("python3")
	if err != nil || exec.Command(python, "-c", "import ctypes").Run() != nil {
		t.Skip("SKIPPED, NOT TESTED: no python3 with ctypes")
	}
	p := start(t, "LC_ALL=C", python, "-c", libcClocks)
	check := func(by time.Duration) {
		t.Helper()
		var up unix.Timespec
		require.NoError(t, unix.ClockGettime(unix.CLOCK_MONOTONIC, &up))
		answer := p.ask()
		require.Len(t, answer, 9, answer)
		for _, seconds := range answer[:5] {
			p.is(by, seconds)
		}
		for _, seconds := range answer[5:] { // the machine has slept never
			n, err := strconv.ParseInt(seconds, 10, 64)
			require.NoError(t, err)
			require.InDelta(t, up.Sec, n, 5)
		}
	}
	check(0)
	f := JumpClock("h1", time.Hour, p.pids)
	require.NoError(t, f.Do(t.Context()))
	check(time.Hour)
	require.NoError(t, JumpClock("h1", -100*24*time.Hour, p.pids).Do(t.Context()))
	check(-100 * 24 * time.Hour)
	require.NoError(t, f.Heal(t.Context()))
	check(0)
}
