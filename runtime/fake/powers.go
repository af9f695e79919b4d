package fake

import (
	"context"
	"strings"

	"github.com/huker/huker/runtime"
)

// UpdateLimits implements runtime.Limiter.
func (d *Driver) UpdateLimits(ctx context.Context, name string, l runtime.Limits) error {
	return d.e.call(ctx, OpUpdateLimits, name, func() error {
		c, err := d.own(name)
		if err == nil {
			c.state.Limits = l
		}
		return err
	})
}

// Signal implements runtime.Signaler. KILL and, where there is no Program, TERM end the container; others reach the Program only.
func (d *Driver) Signal(ctx context.Context, name, signal string) error {
	return d.e.call(ctx, OpSignal, name, func() error { //nolint:contextcheck // a container outlives the call
		c, err := d.running(name)
		if err != nil {
			return err
		}
		signal = strings.TrimPrefix(signal, "SIG")
		if signal == "KILL" || signal == "TERM" {
			c.ending = true
		}
		switch {
		case signal == "KILL":
			d.e.ended(c, c.run, killed, false)
		case signal == "TERM" && !c.run.listens:
			d.e.ended(c, c.run, 0, false)
		default:
			c.run.signal(signal)
		}
		return nil
	})
}

// Pause implements runtime.Signaler. A Program goes on, for goroutines cannot be frozen; Exec does not.
func (d *Driver) Pause(ctx context.Context, name string) error {
	return d.e.call(ctx, OpPause, name, func() error {
		c, err := d.running(name)
		if err == nil {
			c.state.Phase = runtime.PhasePaused
		}
		return err
	})
}

// Unpause implements runtime.Signaler.
func (d *Driver) Unpause(ctx context.Context, name string) error {
	return d.e.call(ctx, OpUnpause, name, func() error {
		c, err := d.running(name)
		if err == nil && c.state.Phase == runtime.PhasePaused {
			d.e.unpause(c)
		}
		return err
	})
}

func (e *Engine) unpause(c *container) {
	c.state.Phase = runtime.PhaseRunning
	e.emit(c, runtime.EventStarted, 0)
}

// Stats implements runtime.StatsReader.
func (d *Driver) Stats(ctx context.Context, name string) (s runtime.Stats, err error) {
	err = d.e.call(ctx, OpStats, name, func() error {
		c, err := d.running(name)
		if err != nil {
			return err
		}
		var ok bool
		if s, ok = d.e.stats[name]; !ok {
			s = runtime.Stats{CPUSeconds: 0.01, MemoryBytes: 1 << 20, Pids: 1}
		}
		if s.MemoryLimit == 0 {
			s.MemoryLimit = int64(c.state.Limits.MemoryMB) << 20
		}
		return nil
	})
	return s, err
}
