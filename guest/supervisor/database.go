package supervisor

import (
	"context"
	"fmt"
	"log/slog"
	"syscall"
	"time"

	"github.com/huker/huker/guest/control"
	"github.com/huker/huker/guest/datadir"
	"github.com/huker/huker/internal/protocol"
)

// tries is how many attempts in a row may come to nothing before it is called a failure.
const tries = 3

// exitRestart is how mysqld ends when SQL told it to restart (RESTART, or the end of a CLONE): it is no crash.
const exitRestart = 16

type wishKind int

const (
	wishStart wishKind = iota
	wishStop
	wishRestart
	wishKill
)

type wish struct {
	kind wishKind
	done chan error // buffered
}

// database runs mysqld. All fields but the channels belong to the goroutine of run.
type database struct {
	s   *Supervisor
	log *slog.Logger

	wishes   chan wish
	prepared chan preparation
	synced   chan error
	answered chan *process

	wanted    bool
	preparing bool
	made      *datadir.Made // nil until the data directory is there
	committed bool          // it is on disk
	proc      *process
	ready     bool // proc has answered
	stopping  bool // proc was told to end
	lost      error
	release   context.CancelFunc // ends what waits for proc
	said      *ring              // what mysqld writes before it has opened its log
	logFrom   int64              // where proc's part of the error log begins

	exits  int // unwanted ones in a row
	misses int // attempts in a row in which it did not come to answer
	upAt   time.Time
	retry  *time.Timer
	resend *time.Timer

	starters, stoppers []chan error
}

func newDatabase(s *Supervisor) *database {
	d := &database{
		s: s, log: s.log.With("process", "mysqld"), wanted: true, said: &ring{},
		wishes: make(chan wish), prepared: make(chan preparation, 1), synced: make(chan error, 1), answered: make(chan *process, 1),
		retry: time.NewTimer(0), resend: time.NewTimer(0),
	}
	d.resend.Stop()
	s.board.update(func(st *control.Status) {
		st.Mysqld.Phase, st.Mysqld.Since = control.Preparing, time.Now()
	})
	return d
}

// wish hands a wish to run, and waits until it is fulfilled.
func (d *database) wish(ctx context.Context, k wishKind) error {
	w := wish{kind: k, done: make(chan error, 1)}
	select {
	case d.wishes <- w:
	case <-ctx.Done():
		return fmt.Errorf("supervisor: %w", ctx.Err())
	}
	select {
	case err := <-w.done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("supervisor: %w", ctx.Err())
	}
}

// run keeps mysqld as it is wished, until ctx ends; then it shuts it down.
func (d *database) run(ctx context.Context) {
	look := time.NewTicker(d.s.cfg.Timing.Look)
	defer look.Stop()
	defer d.retry.Stop()
	defer d.resend.Stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case w := <-d.wishes:
			d.take(ctx, w)
		case <-d.retry.C:
			d.attempt(ctx)
		case p := <-d.prepared:
			d.onPrepared(ctx, p)
		case err := <-d.synced:
			d.onSynced(err)
		case p := <-d.answered:
			d.onAnswer(p)
		case <-d.ended():
			d.onExit(ctx)
		case <-d.resend.C:
			d.terminate()
		case <-look.C:
			d.rotate()
			d.stuck()
		}
	}
	d.shutdown()
}

func (d *database) ended() <-chan struct{} {
	if d.proc == nil {
		return nil
	}
	return d.proc.done
}

func (d *database) take(ctx context.Context, w wish) {
	switch w.kind {
	case wishStop:
		d.wanted = false
		d.retry.Stop()
		answer(&d.starters, control.ErrStopped)
		if d.proc == nil {
			d.phase(control.Stopped, "")
			w.done <- nil
			return
		}
		d.stoppers = append(d.stoppers, w.done)
		d.stop()
	case wishKill:
		d.wanted = true
		if d.proc == nil {
			d.exits = 0
			d.attempt(ctx)
		} else {
			d.stop() // it is no crash
			d.s.procs.signal(d.proc, syscall.SIGKILL)
		}
		w.done <- nil
	case wishStart, wishRestart:
		d.wanted = true
		if w.kind == wishStart && d.running() {
			w.done <- nil
			return
		}
		d.starters = append(d.starters, w.done)
		switch {
		case d.proc == nil:
			d.exits = 0
			d.attempt(ctx)
		case w.kind == wishRestart:
			d.stop()
		}
	}
}

func (d *database) running() bool { return d.proc != nil && d.ready && d.committed && !d.stopping }

// attempt takes the next step towards a running mysqld.
func (d *database) attempt(ctx context.Context) {
	if !d.wanted || d.proc != nil || d.preparing {
		return
	}
	d.retry.Stop()
	if d.made == nil {
		d.preparing = true
		d.phase(control.Preparing, "")
		go func() { d.prepared <- d.s.prepare(ctx, d.said) }()
		return
	}
	d.launch(ctx)
}

func (d *database) onPrepared(ctx context.Context, p preparation) {
	d.preparing = false
	if p.err != nil {
		d.log.Error("the data directory cannot be made", "op", "prepare", "error", p.err)
		d.missed("the data directory cannot be made: " + p.reason)
		return
	}
	d.made, d.committed, d.lost = p.made, !p.made.Fresh, nil
	d.log.Info("the data directory is there", "op", "prepare", "fresh", p.made.Fresh, "took", p.took)
	if !d.committed {
		go func() {
			began := time.Now()
			err := p.made.Commit(ctx)
			d.log.Info("the data directory is on disk", "op", "prepare", "took", time.Since(began), "error", err)
			d.synced <- err
		}()
	}
	d.s.board.update(func(st *control.Status) { st.Mysqld.Fresh = st.Mysqld.Fresh || p.made.Fresh })
	if d.wanted {
		d.launch(ctx)
	}
}

// onSynced: a data directory that did not get to disk does not count, and is made anew.
func (d *database) onSynced(err error) {
	if err == nil {
		d.committed = true
		d.opened()
		return
	}
	_ = d.made.Close() // only reads
	d.made = nil
	d.log.Error("the data directory did not get to disk", "op", "prepare", "error", err)
	if d.proc == nil {
		d.missed(reasonOf(d.s.cfg.Paths, err))
		return
	}
	d.lost = err
	d.s.procs.signal(d.proc, syscall.SIGKILL) // its files are about to be removed
}

// launch starts mysqld.
func (d *database) launch(ctx context.Context) {
	g := d.s.current()
	d.said.reset()
	l, err := d.s.launch(g, d.said)
	if err != nil {
		d.log.Error("mysqld cannot be started", "op", "start", "error", err)
		d.missed(reasonOf(d.s.cfg.Paths, err))
		return
	}
	d.proc, d.logFrom, d.ready, d.stopping = l.proc, l.logFrom, false, false
	waiting, release := context.WithCancel(ctx)
	d.release = release
	go func() {
		if waitAnswer(waiting, d.s.cfg.Paths.MysqldSocket()) == nil {
			select {
			case d.answered <- l.proc:
			case <-waiting.Done():
			}
		}
	}()
	d.log.Info("mysqld was started", "op", "start", "pid", l.proc.pid)
	d.s.board.update(func(st *control.Status) { d.started(&st.Mysqld, g) })
}

func (d *database) started(m *control.Mysqld, g protocol.GuestConfig) {
	now := time.Now()
	if m.Phase != control.Failed { // which it stays until it answers
		m.Phase, m.Since, m.Reason = control.Starting, now, ""
	}
	m.Pid, m.Started, m.MemoryMB, m.CPUs = d.proc.pid, now, g.MemoryMB, g.CPUs
	m.Starts++
}

func (d *database) onAnswer(p *process) {
	if d.proc == p {
		d.ready = true
		d.opened()
	}
}

// opened is called when mysqld may have come to run.
func (d *database) opened() {
	if !d.running() {
		return
	}
	d.misses, d.upAt = 0, time.Now()
	d.phase(control.Running, "")
	d.log.Info("mysqld answers", "op", "start", "pid", d.proc.pid)
	answer(&d.starters, nil)
}

func (d *database) onExit(ctx context.Context) {
	ws, asked, wasReady := d.proc.exit, d.stopping, d.ready
	d.release()
	d.resend.Stop()
	d.s.procs.sweep(d.proc)
	d.proc, d.ready, d.stopping = nil, false, false
	exit := describe(ws)
	crash := !asked && (!ws.Exited() || ws.ExitStatus() != exitRestart)
	d.log.Info("mysqld has ended", "op", "exit", "exit", exit, "crash", crash)
	d.s.board.update(func(st *control.Status) {
		m := &st.Mysqld
		m.Pid, m.LastExit, m.LastExitAt = 0, exit, time.Now()
		if m.Phase == control.Running { // never said of one that has no pid
			m.Phase, m.Since = control.Starting, m.LastExitAt
		}
		if crash {
			m.Crashes++
		}
	})
	switch {
	case !d.wanted:
		d.phase(control.Stopped, "")
	case !crash:
		d.phase(control.Starting, "")
		d.attempt(ctx)
	case d.lost != nil:
		d.missed(reasonOf(d.s.cfg.Paths, d.lost))
	case wasReady:
		if time.Since(d.upAt) >= d.s.cfg.Timing.Stable {
			d.exits = 0
		}
		d.again()
	default:
		d.missed(reasonOfExit(d.s.cfg.Paths, d.logFrom, d.said.String(), exit))
	}
	answer(&d.stoppers, nil)
}

// missed is an attempt that came to nothing.
func (d *database) missed(reason string) {
	d.misses++
	if !d.wanted {
		return
	}
	if d.misses >= tries {
		d.phase(control.Failed, reason)
		answer(&d.starters, fmt.Errorf("%w: %s", control.ErrFailed, reason))
	}
	d.again()
}

// again has mysqld started after the pause that is due: none the first time.
func (d *database) again() {
	if !d.wanted {
		return
	}
	d.exits++
	if st, _ := d.s.board.get(); st.Mysqld.Phase != control.Failed && d.made != nil {
		d.phase(control.Starting, "")
	}
	d.retry.Reset(d.s.cfg.Timing.backoff(d.exits))
}

// stop begins a clean shutdown.
func (d *database) stop() {
	d.stopping = true
	d.phase(control.Stopping, "")
	d.terminate()
}

func (d *database) terminate() {
	if d.proc == nil || !d.stopping {
		return
	}
	d.s.procs.signal(d.proc, syscall.SIGTERM)
	d.resend.Reset(d.s.cfg.Timing.Resend)
}

// shutdown ends mysqld for good. There is no deadline: the runtime has one, and kills everything then.
func (d *database) shutdown() {
	d.wanted = false
	answer(&d.starters, control.ErrStopped)
	if d.proc != nil {
		d.stop()
		tick := time.NewTicker(d.s.cfg.Timing.Resend)
		defer tick.Stop()
		for gone := false; !gone; {
			select {
			case <-d.proc.done:
				gone = true
			case <-tick.C:
				d.terminate()
			}
		}
		d.log.Info("mysqld has ended", "op", "shutdown", "exit", describe(d.proc.exit))
		d.release()
		exit := describe(d.proc.exit)
		d.s.board.update(func(st *control.Status) {
			st.Mysqld.Pid, st.Mysqld.LastExit, st.Mysqld.LastExitAt = 0, exit, time.Now()
		})
		d.proc = nil
	}
	if d.preparing {
		<-d.prepared // it has heard of the end as well
	}
	answer(&d.stoppers, nil)
	d.phase(control.Stopped, "")
}

// stuck finds a mysqld that neither answers nor ends: on a full volume it waits for space, and says so in a log that has no space either.
// It goes on by itself, within a minute of getting some, so it is left alone.
func (d *database) stuck() {
	if d.proc == nil || d.ready || d.stopping {
		return
	}
	if reason := volumeFull(d.s.cfg.Paths.Volume); reason != "" {
		d.phase(control.Failed, reason)
		answer(&d.starters, fmt.Errorf("%w: %s", control.ErrFailed, reason))
	}
}

func (d *database) rotate() {
	// Before it answers, mysqld may not have a handler for the signal yet, and would die of it.
	if d.proc != nil && !d.ready {
		return
	}
	rotated, err := rotate(d.s.cfg.Paths)
	if err != nil {
		d.log.Warn("a log cannot be put aside", "op", "rotate", "error", err)
	}
	if rotated && d.proc != nil {
		d.s.procs.signal(d.proc, syscall.SIGUSR1) // open all logs anew
	}
}

func (d *database) phase(p control.Phase, reason string) {
	if st, _ := d.s.board.get(); st.Mysqld.Phase == p && st.Mysqld.Reason == reason {
		return
	}
	d.s.board.update(func(st *control.Status) {
		if st.Mysqld.Phase != p {
			st.Mysqld.Phase, st.Mysqld.Since = p, time.Now()
		}
		st.Mysqld.Reason = reason
	})
}

func answer(to *[]chan error, err error) {
	for _, c := range *to {
		c <- err
	}
	*to = nil
}
