package fault

import (
	"bytes"
	"context"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// JumpClock has the wall clock of processes jump by so much (whole seconds); it is the machine's again when it is healed. pids are as this machine numbers them, asked for when it strikes.
//
// The time of day has no namespace, so it is done to each process by itself, by root, on amd64: the functions that the kernel gives a program to read the clock with (its vDSO) are overwritten in the process's own copy.
// Neither monotonic clocks nor the kernel's timers are touched. The process is stopped for the moment, so a wait of it in the kernel may end with EINTR. Of two jumps of a process the later one counts, and healing either heals it.
//
// It is right for programs whose waits go by the monotonic clock, as those of Go do. It is not for mysqld: that reckons the end of a wait by the clock it reads and has the kernel, whose clock has not jumped, wait for it: an hour more, or not at all.
// Programs that are started meanwhile have the machine's clock. A copy that a process makes of itself (fork) keeps the clock it was made with, healed or not.
func JumpClock(who string, by time.Duration, pids func(context.Context) ([]int, error)) Fault {
	j := &clockJump{seconds: int64(by / time.Second), pids: pids, changed: map[int]string{}}
	return Step{What: fmt.Sprintf("the clock of %s jumps by %s", who, by.Truncate(time.Second)), Strike: j.strike, Undo: j.heal}
}

// clockJump is what JumpClock makes.
type clockJump struct {
	seconds int64
	pids    func(context.Context) ([]int, error)
	changed map[int]string // when the process of this number had been started
}

func (j *clockJump) strike(ctx context.Context) error {
	pids, err := j.pids(ctx)
	if err != nil {
		return err
	}
	var errs []error
	jumped := false
	for _, pid := range pids {
		err := j.set(ctx, pid)
		jumped = jumped || err == nil
		if !errors.Is(err, ErrNoProcess) { // that one has ended meanwhile
			errs = append(errs, err)
		}
	}
	if err := errors.Join(errs...); err != nil || jumped {
		return err
	}
	return fmt.Errorf("whose clock would jump: %w", ErrNoProcess)
}

func (j *clockJump) set(ctx context.Context, pid int) error {
	p, err := openProcess(pid)
	if err != nil {
		return err
	}
	defer p.close()
	j.changed[pid] = p.started // before it is: half of it is healed, too
	return p.setClock(ctx, j.seconds)
}

func (j *clockJump) heal(ctx context.Context) error {
	var errs []error
	for pid, started := range j.changed {
		if err := unset(ctx, pid, started); err != nil && !errors.Is(err, ErrNoProcess) {
			errs = append(errs, err)
			continue
		}
		delete(j.changed, pid)
	}
	return errors.Join(errs...)
}

// unset leaves a process alone that has the number, and is another one.
func unset(ctx context.Context, pid int, started string) error {
	p, err := openProcess(pid)
	if err != nil {
		return err
	}
	defer p.close()
	if p.started != started {
		return nil
	}
	return p.setClock(ctx, 0)
}

// process is one that runs, and stays that one: once it has ended, whoever gets its number is not read, written or sent a signal.
type process struct {
	pid     int
	started string   // by the kernel's ticks
	root    *os.Root // its directory in /proc
	dir     *os.File // the same, to send signals by
}

func openProcess(pid int) (*process, error) {
	if pid <= 1 || pid == os.Getpid() { // it is going to be stopped
		return nil, fmt.Errorf("process %d is not one whose clock may jump", pid)
	}
	root, err := os.OpenRoot("/proc/" + strconv.Itoa(pid))
	if err != nil {
		return nil, ofProcess(pid, err)
	}
	p := &process{pid: pid, root: root}
	if p.dir, err = root.Open("."); err == nil {
		_, p.started, err = p.stat("stat")
	}
	if err != nil {
		p.close()
		return nil, ofProcess(pid, err)
	}
	return p, nil
}

func (p *process) close() {
	p.dir.Close() // nil does no harm
	p.root.Close()
}

// gone says that a process has ended by what became of a call.
func gone(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH)
}

// ofProcess says whose error it is.
func ofProcess(pid int, err error) error {
	if gone(err) {
		err = ErrNoProcess
	}
	return fmt.Errorf("process %d: %w", pid, err)
}

// stat gives the state and the time of start in a file /proc/PID/stat, or in that of a thread.
func (p *process) stat(file string) (state, started string, err error) {
	b, err := p.root.ReadFile(file)
	if err != nil {
		return "", "", err
	}
	f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:])) // the name before it may be anything
	if len(f) < 20 {
		return "", "", fmt.Errorf("%s: %q", file, b)
	}
	return f[0], f[19], nil
}

func (p *process) signal(s unix.Signal) error {
	return unix.PidfdSendSignal(int(p.dir.Fd()), s, nil, 0)
}

// thread is one that has not ended, and where it is if it is stopped.
type thread struct {
	stopping, stopped bool // the one comes before the other
	sp, pc            uint64
}

// threads gives ErrNoProcess if all have ended.
func (p *process) threads() ([]thread, error) {
	tasks, err := fs.ReadDir(p.root.FS(), "task")
	if err != nil && !gone(err) {
		return nil, err
	}
	var all []thread
	for _, task := range tasks {
		t, err := p.thread("task/" + task.Name())
		switch {
		case err == nil:
			all = append(all, t)
		case !gone(err):
			return nil, err
		}
	}
	if len(all) == 0 {
		return nil, ErrNoProcess
	}
	return all, nil
}

func (p *process) thread(dir string) (thread, error) {
	state, _, err := p.stat(dir + "/stat")
	if err != nil {
		return thread{}, err
	}
	switch state {
	case "Z", "X":
		return thread{}, unix.ESRCH
	case "T":
	default:
		return thread{}, nil
	}
	call, err := p.root.ReadFile(dir + "/syscall")
	if err != nil {
		return thread{}, err
	}
	f := strings.Fields(string(call)) // "running", if it is about to stop
	if len(f) < 3 {
		return thread{stopping: true}, nil
	}
	sp, errSP := strconv.ParseUint(f[len(f)-2], 0, 64)
	pc, errPC := strconv.ParseUint(f[len(f)-1], 0, 64)
	return thread{stopping: true, stopped: true, sp: sp, pc: pc}, errors.Join(errSP, errPC)
}

// How long a process may take to stop, and how often it is tried again if it was stopped where it may not be.
const (
	stopTime  = 5 * time.Second
	stopPause = time.Millisecond
	stopTries = 20
)

var (
	errDoesNotStop = errors.New("fault: process does not stop")
	errInside      = errors.New("fault: a thread is in the code to be overwritten")
)

// setClock has the process's wall clock be so many seconds from the machine's. A process that was stopped stays so.
func (p *process) setClock(ctx context.Context, seconds int64) error {
	threads, err := p.threads()
	if err == nil {
		was := slices.ContainsFunc(threads, func(t thread) bool { return t.stopping }) // all are, soon
		for try := 0; ; try++ {
			err = p.trySetClock(ctx, seconds, was)
			if !errors.Is(err, errInside) || was || try == stopTries || pause(ctx) != nil {
				break
			}
		}
	}
	if err == nil {
		return nil
	}
	if _, ended := p.threads(); ended != nil { // whatever could not be done was so because of that
		err = ended
	}
	return ofProcess(p.pid, err)
}

func (p *process) trySetClock(ctx context.Context, seconds int64, was bool) (err error) {
	if !was {
		if err := p.signal(unix.SIGSTOP); err != nil {
			return err
		}
		defer func() {
			err = errors.Join(err, p.signal(unix.SIGCONT))
		}()
	}
	threads, err := p.waitStopped(ctx)
	if err != nil {
		return err
	}
	mem, err := p.root.OpenFile("mem", os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer mem.Close()
	base, image, err := p.vdso(mem)
	if err != nil {
		return err
	}
	changes, err := clockCode(image, seconds)
	if err != nil {
		return err
	}
	for _, t := range threads {
		for _, c := range changes {
			if c.entry && inside(mem, t, base+uint64(c.at), len(c.code)) {
				return errInside
			}
		}
	}
	for _, c := range changes {
		if _, err := mem.WriteAt(c.code, int64(base)+int64(c.at)); err != nil {
			return err
		}
	}
	return nil
}

// waitStopped waits until all threads are, and gives them.
func (p *process) waitStopped(ctx context.Context) ([]thread, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, stopTime, errDoesNotStop)
	defer cancel()
	for calm := false; ; { // twice: a thread may have been started, by one that has stopped since, after they were listed
		threads, err := p.threads()
		if err != nil {
			return nil, err
		}
		switch now := !slices.ContainsFunc(threads, func(t thread) bool { return !t.stopped }); {
		case now && calm:
			return threads, nil
		case now:
			calm = true
		default:
			calm = false
			if err := pause(ctx); err != nil {
				return nil, err
			}
		}
	}
}

func pause(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(stopPause):
		return nil
	}
}

// signalStack is how far above a thread's stack pointer it is looked for where a signal has interrupted it.
const signalStack = 64 << 10

// inside says whether a thread may go on in the midst of code: now, or when it comes back from a signal's handler. At the first byte it may.
func inside(mem *os.File, t thread, at uint64, length int) bool {
	within := func(pc uint64) bool { return pc > at && pc < at+uint64(length) }
	if within(t.pc) {
		return true
	}
	stack := make([]byte, signalStack)
	n, _ := mem.ReadAt(stack, int64(t.sp&^7)) // the stack ends somewhere
	for i := 0; i+8 <= n; i += 8 {
		if within(binary.LittleEndian.Uint64(stack[i:])) {
			return true
		}
	}
	return false
}

var errNoVDSO = errors.New("fault: no clock that can be made to jump")

// vdso is the process's vDSO, and where it is.
func (p *process) vdso(mem *os.File) (uint64, []byte, error) {
	maps, err := p.root.ReadFile("maps")
	if err != nil {
		return 0, nil, err
	}
	for line := range strings.Lines(string(maps)) {
		f := strings.Fields(line)
		if len(f) != 6 || f[5] != "[vdso]" {
			continue
		}
		var from, to uint64
		if _, err := fmt.Sscanf(f[0], "%x-%x", &from, &to); err != nil {
			return 0, nil, fmt.Errorf("%q: %w", line, err)
		}
		image := make([]byte, to-from)
		_, err := mem.ReadAt(image, int64(from))
		return from, image, err
	}
	return 0, nil, fmt.Errorf("%w: no vDSO", errNoVDSO)
}

// change is what a vDSO is overwritten with.
type change struct {
	at    int // in the vDSO
	code  []byte
	entry bool // it is a function's beginning, that other code is in till now
}

// clockMark begins what is put into the room that a vDSO leaves in its last page. The seconds follow, and then the functions of clockCalls.
var clockMark = []byte("fault: the clock")

// clockRoom is left free after what was there: the last of it may be zeros, as the room is.
const clockRoom = 64

// loadSeconds is "mov rcx, [rip+seconds]", whose last four bytes are filled in.
var loadSeconds = []byte{0x48, 0x8b, 0x0d, 0, 0, 0, 0}

type clockCall struct {
	name string
	code []byte
}

// clockCalls are the functions that read the wall clock, and what takes their place: the real call, which clobbers rax, rcx and r11, as a function may, and after it the seconds added.
// It may be in use by a thread while it is overwritten: nothing of it changes but the seconds.
var clockCalls = []clockCall{
	{"clock_gettime", slices.Concat(
		[]byte{0xb8, 228, 0, 0, 0}, // mov eax, 228
		[]byte{0x0f, 0x05},         // syscall
		[]byte{0x48, 0x85, 0xc0},   // test rax, rax
		[]byte{0x75, 19},           // jnz end
		[]byte{0x85, 0xff},         // test edi, edi: CLOCK_REALTIME
		[]byte{0x74, 5},            // jz add
		[]byte{0x83, 0xff, 5},      // cmp edi, 5: CLOCK_REALTIME_COARSE
		[]byte{0x75, 10},           // jne end
		loadSeconds,                // add:
		[]byte{0x48, 0x01, 0x0e},   // add [rsi], rcx
		[]byte{0xc3},               // end: ret
	)},
	{"gettimeofday", slices.Concat(
		[]byte{0xb8, 96, 0, 0, 0}, // mov eax, 96
		[]byte{0x0f, 0x05},        // syscall
		[]byte{0x48, 0x85, 0xc0},  // test rax, rax
		[]byte{0x75, 15},          // jnz end
		[]byte{0x48, 0x85, 0xff},  // test rdi, rdi
		[]byte{0x74, 10},          // jz end
		loadSeconds,
		[]byte{0x48, 0x01, 0x0f}, // add [rdi], rcx
		[]byte{0xc3},             // end: ret
	)},
	{"time", slices.Concat(
		[]byte{0xb8, 201, 0, 0, 0},                 // mov eax, 201
		[]byte{0x0f, 0x05},                         // syscall
		[]byte{0x48, 0x3d, 0x01, 0xf0, 0xff, 0xff}, // cmp rax, -4095
		[]byte{0x73, 18},                           // jae end: an error
		loadSeconds,
		[]byte{0x48, 0x01, 0xc8}, // add rax, rcx
		[]byte{0x48, 0x85, 0xff}, // test rdi, rdi
		[]byte{0x74, 3},          // jz end
		[]byte{0x48, 0x89, 0x07}, // mov [rdi], rax
		[]byte{0xc3},             // end: ret
	)},
}

// clockCode is what a vDSO has to be overwritten with for the wall clock to be so many seconds from the machine's.
//
// The functions themselves become a jump to the room at the end, and keep the rest of their code: a thread that was interrupted there can come to the end of it.
func clockCode(image []byte, seconds int64) ([]change, error) {
	at := bytes.Index(image, clockMark)
	if at < 0 {
		if seconds == 0 {
			return nil, nil // the program is another one meanwhile
		}
		at = (len(bytes.TrimRight(image, "\x00")) + 2*clockRoom - 1) / clockRoom * clockRoom
	}
	entries, err := clockEntries(image)
	if err != nil {
		return nil, err
	}
	room := binary.LittleEndian.AppendUint64(slices.Clone(clockMark), uint64(seconds))
	var jumps []change
	for i, c := range clockCalls {
		start := at + len(room)
		room = append(room, c.code...)
		load := len(room) - len(c.code) + bytes.Index(c.code, loadSeconds)
		next := load + len(loadSeconds)
		binary.LittleEndian.PutUint32(room[next-4:], uint32(len(clockMark)-next))
		if entry := entries[i]; entry > 0 {
			jumps = append(jumps, change{at: entry, entry: true, code: binary.LittleEndian.AppendUint32([]byte{0xe9}, uint32(start-entry-jumpLength))})
		}
	}
	if at+len(room) > len(image) {
		return nil, fmt.Errorf("%w: its vDSO has no room", errNoVDSO)
	}
	return append([]change{{at: at, code: room}}, jumps...), nil
}

// jumpLength is that of a jump to anywhere in a vDSO.
const jumpLength = 5

// clockEntries are where the functions of clockCalls begin in a vDSO; 0 if it has no such function.
func clockEntries(image []byte) ([]int, error) {
	f, err := elf.NewFile(bytes.NewReader(image))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errNoVDSO, err)
	}
	if f.Machine != elf.EM_X86_64 || f.Class != elf.ELFCLASS64 {
		return nil, fmt.Errorf("%w: of %s, %s", errNoVDSO, f.Machine, f.Class)
	}
	symbols, err := f.DynamicSymbols()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errNoVDSO, err)
	}
	i := slices.IndexFunc(f.Progs, func(p *elf.Prog) bool { return p.Type == elf.PT_LOAD })
	if i < 0 {
		return nil, fmt.Errorf("%w: nothing is loaded", errNoVDSO)
	}
	loaded, found := f.Progs[i], false
	entries := make([]int, len(clockCalls))
	for _, s := range symbols {
		c := slices.IndexFunc(clockCalls, func(c clockCall) bool { return s.Name == c.name || s.Name == "__vdso_"+c.name })
		if c < 0 || s.Section == elf.SHN_UNDEF {
			continue
		}
		at := s.Value - loaded.Vaddr + loaded.Off
		if s.Size < jumpLength || at > uint64(len(image)-jumpLength) {
			return nil, fmt.Errorf("%w: %s at %#x has %d bytes", errNoVDSO, s.Name, at, s.Size)
		}
		if e := entries[c]; e != 0 && e != int(at) {
			return nil, fmt.Errorf("%w: two of %s", errNoVDSO, clockCalls[c].name)
		}
		entries[c], found = int(at), true
	}
	if !found {
		return nil, fmt.Errorf("%w: its vDSO does not read it", errNoVDSO)
	}
	return entries, nil
}
