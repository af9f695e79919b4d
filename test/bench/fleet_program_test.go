package bench

import (
	"bytes"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/huker/huker/internal/testenv"
)

// program is a process that is measured.
type program struct {
	cmd   *exec.Cmd
	log   *logged
	began time.Time
}

type logged struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func (s *simulated) process(name string, args ...string) *program {
	s.b.Helper()
	p := &program{cmd: exec.Command(filepath.Join(s.dir, name), slices.Concat(s.common, args)...), log: &logged{}, began: time.Now()}
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	require.NoError(s.b, testenv.StartChild(p.cmd))
	s.b.Cleanup(p.kill)
	return p
}

func (p *program) kill() {
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
}

var (
	lookedAtAll = regexp.MustCompile(`looked at all instances.*instances"?[=:](\d+).*seconds"?[=:]([0-9.e+-]+)`)
	letIn       = regexp.MustCompile(`"host admitted"`)
)

// looked waits until a nodekeeper has looked at every instance, and says how long after a moment that was, and how long the look took.
func (p *program) looked(b *testing.B, since time.Time, instances int) (after time.Duration, alone float64) {
	b.Helper()
	m := p.says(b, since, func(log string) []string { return lookedAtAll.FindStringSubmatch(log) })
	after = time.Since(since)
	require.Equal(b, strconv.Itoa(instances), m[1], p.log)
	alone, err := strconv.ParseFloat(m[2], 64)
	require.NoError(b, err)
	return after, alone
}

// admitted waits until a nodekeeper has given all hosts their rights, in its term.
func (p *program) admitted(b *testing.B, since time.Time, hosts int) time.Duration {
	b.Helper()
	p.says(b, since, func(log string) []string {
		if all := letIn.FindAllString(log, -1); len(all) >= hosts {
			return all
		}
		return nil
	})
	return time.Since(since)
}

func (p *program) says(b *testing.B, since time.Time, found func(log string) []string) []string {
	b.Helper()
	for {
		if m := found(p.log.String()); m != nil {
			return m
		}
		require.Less(b, time.Since(since), 5*time.Minute, "nodekeeper does not get on:\n%s", p.log)
		time.Sleep(10 * time.Millisecond)
	}
}

// settle says what a process took in the time: cores, and the most memory that it had so far in MB.
func (p *program) settle(b *testing.B, d time.Duration) (cores, most float64) {
	b.Helper()
	before, began := ticks(b, p.cmd.Process.Pid), time.Now()
	time.Sleep(d) // is what is measured
	return (ticks(b, p.cmd.Process.Pid) - before) / hertz / time.Since(began).Seconds(), memory(b, p.cmd.Process.Pid, "VmHWM")
}

// hertz is how many ticks a second has.
const hertz = 100
