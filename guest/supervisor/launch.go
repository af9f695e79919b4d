package supervisor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/huker/huker/guest/datadir"
	"github.com/huker/huker/guest/mycnf"
	"github.com/huker/huker/guest/paths"
	"github.com/huker/huker/internal/protocol"
)

// preparation is what came of making the data directory.
type preparation struct {
	made   *datadir.Made
	took   time.Duration
	reason string
	err    error
}

func (s *Supervisor) prepare(ctx context.Context, said *ring) preparation {
	p, began := s.cfg.Paths, time.Now()
	said.reset()
	m, err := datadir.Ensure(ctx, datadir.Config{
		Data: p.Data(), New: p.DataNew(), Beside: []string{p.Tmp(), p.Log(), p.State()}, Template: p.Template,
		Initialize: func(ctx context.Context, dir string) error { return s.initialize(ctx, dir, said) },
	})
	r := preparation{made: m, took: time.Since(began), err: err}
	if err != nil {
		r.reason = reasonOf(p, err)
		if full := volumeFull(p.Volume); full != "" {
			r.reason = full
		}
	}
	return r
}

// initialize has mysqld itself make a database: for images without a template.
func (s *Supervisor) initialize(ctx context.Context, dir string, said *ring) error {
	program, err := s.mysqld()
	if err != nil {
		return err
	}
	proc, err := s.start([]string{program, "--no-defaults", "--initialize-insecure", "--datadir=" + dir, "--tmpdir=" + s.cfg.Paths.Tmp(),
		"--secure-file-priv=NULL", "--auto-generate-certs=OFF", "--caching-sha2-password-auto-generate-rsa-keys=OFF",
		"--innodb-redo-log-capacity=8388608", "--innodb-use-native-aio=OFF"}, said)
	if err != nil {
		return err
	}
	select {
	case <-proc.done:
	case <-ctx.Done():
		s.procs.signal(proc, syscall.SIGKILL)
		<-proc.done
		return ctx.Err()
	}
	if !proc.exit.Exited() || proc.exit.ExitStatus() != 0 {
		lines := errorLines(said.String())
		return fmt.Errorf("mysqld --initialize-insecure: %s: %q", describe(proc.exit), lines)
	}
	return nil
}

func (s *Supervisor) mysqld() (string, error) {
	if s.cfg.Mysqld != "" {
		return s.cfg.Mysqld, nil
	}
	return findMysqld()
}

// start starts mysqld's program; what it writes goes to said and on to Out.
func (s *Supervisor) start(argv []string, said *ring) (*process, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", argv[0], err)
	}
	proc, err := s.procs.start(argv, []string{
		"PATH=/usr/sbin:/usr/bin:/sbin:/bin",
		"HOME=/nonexistent",
		// mysqld takes RESTART, and restarts after a CLONE, only when its parent is a known supervisor.
		"MYSQLD_PARENT_PID=" + strconv.Itoa(os.Getpid()),
	}, w)
	_ = w.Close() // the child's copy is what counts
	if err != nil {
		_ = r.Close()
		return nil, err
	}
	go func() {
		_, _ = io.Copy(io.MultiWriter(said, quiet{s.cfg.Out}), r) // ends with the child
		_ = r.Close()
	}()
	return proc, nil
}

// quiet hides errors: mysqld must not hang on a pipe because nobody takes the container's output.
type quiet struct{ w io.Writer }

func (q quiet) Write(p []byte) (int, error) {
	_, _ = q.w.Write(p)
	return len(p), nil
}

type launched struct {
	proc    *process
	logFrom int64
}

// launch starts mysqld with a newly generated configuration.
func (s *Supervisor) launch(g protocol.GuestConfig, said *ring) (launched, error) {
	p := s.cfg.Paths
	program, err := s.mysqld()
	if err != nil {
		return launched{}, err
	}
	in := inputOf(g, p)
	in.TLS, in.NativeAIO = hasTLS(p), roomForAIO(g.MemoryMB, g.CPUs)
	in.PluginDir, in.Plugins = findPlugins()
	text, err := mycnf.Generate(in)
	if err != nil {
		return launched{}, err
	}
	if err := os.WriteFile(p.MyCnf(), []byte(text), 0o600); err != nil {
		return launched{}, fmt.Errorf("write the configuration: %w", err)
	}
	if err := clean(p); err != nil {
		return launched{}, err
	}
	if _, err := rotate(p); err != nil {
		s.log.Warn("a log cannot be put aside", "op", "rotate", "error", err)
	}
	var from int64
	if st, err := os.Stat(p.ErrorLog()); err == nil {
		from = st.Size()
	}
	argv := []string{program, "--defaults-file=" + p.MyCnf()}
	if _, err := os.Stat(p.InitFile()); err == nil {
		argv = append(argv, "--init-file="+p.InitFile())
	}
	proc, err := s.start(argv, said)
	return launched{proc, from}, err
}

// clean removes what a killed mysqld leaves: temporary files, which nobody else would ever remove, and the lock of its socket, which names a
// pid that may be another process's by now: mysqld would then refuse to start.
func clean(p paths.Paths) error {
	sock := p.MysqldSocket()
	for _, f := range []string{sock, sock + ".lock", p.MysqldPid()} {
		if err := os.Remove(f); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("clean: %w", err)
		}
	}
	entries, err := os.ReadDir(p.Tmp())
	if err != nil {
		return fmt.Errorf("clean: %w", err)
	}
	for _, e := range entries {
		if err := os.RemoveAll(filepath.Join(p.Tmp(), e.Name())); err != nil {
			return fmt.Errorf("clean: %w", err)
		}
	}
	return nil
}
