// Package daemon is the programs of a fleet: huker-api, huker-nodekeeper and huker-sysmgr.
//
// It owns their flags and how they start, log and stop. What they do is put together by internal/controlplane.
package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/huker/huker/internal/controlplane"
	"github.com/huker/huker/internal/fault"
	"github.com/huker/huker/internal/settings"
)

// ErrUsage is wrapped by what is wrong with how a program was called.
var ErrUsage = errors.New("bad configuration")

// Exit statuses of a program.
const (
	StatusFailed = 1 // it cannot work, or could not go on: what it needs does not answer, a port is taken, the disk is full
	StatusUsage  = 2 // it was called wrongly: another start is of no use before that is mended
)

// Main runs a program and gives its exit status: 0 when it was told to stop, StatusFailed, or StatusUsage.
func Main(c *cobra.Command) int { return run(c, os.Stderr) }

func run(c *cobra.Command, complain io.Writer) int {
	c.SilenceUsage, c.SilenceErrors = true, true
	err := c.Execute()
	switch {
	case err == nil:
		return 0
	case errors.Is(err, ErrUsage), errors.Is(err, controlplane.ErrConfig):
		_, _ = fmt.Fprintf(complain, "%s: %v:\n", c.Name(), ErrUsage)
		for line := range strings.Lines(err.Error()) {
			if line = strings.TrimSpace(line); line != "" && line != ErrUsage.Error()+":" {
				_, _ = fmt.Fprintf(complain, "  - %s\n", strings.TrimPrefix(line, ErrUsage.Error()+": "))
			}
		}
		_, _ = fmt.Fprintf(complain, "%s --help tells what can be given.\n", c.Name())
		return StatusUsage
	default:
		_, _ = fmt.Fprintf(complain, "%s: %v\n", c.Name(), err)
		return StatusFailed
	}
}

// common are the flags of every program.
type common struct {
	fleet    controlplane.Fleet
	logLevel string
	fault    string
}

func (f *common) register(c *cobra.Command, health string) {
	fs := c.Flags()
	fs.StringVar(&f.fleet.Name, "name", controlplane.DefaultName, "name of the deployment, the same everywhere")
	fs.StringVar(&f.fleet.Coordination, "coordination", "", "zookeeper://HOST:PORT,…/ROOT or etcd://HOST:PORT,…")
	fs.StringVar(&f.fleet.Bus, "bus", "", "rabbitmq://HOST:PORT,…/VHOST; empty where coordination is etcd, which carries it too")
	fs.StringVar(&f.fleet.Identity, "identity", "", "directory with ca.pem, cert.pem and key.pem of this process (huker pki issue)")
	fs.StringVar(&f.fleet.HealthListen, "health-listen", health, "address of /healthz and /readyz; empty: none")
	fs.StringVar(&f.logLevel, "log-level", "info", "debug, info, warn or error")
	fs.StringVar(&f.fault, "fault", "", "die at this point (for tests)")
	_ = fs.MarkHidden("fault")
	settings.Register(fs)
	c.Args = func(c *cobra.Command, args []string) error {
		if len(args) > 0 {
			return fmt.Errorf("%w: %q means nothing to %s: everything is given by flags", ErrUsage, args[0], c.Name())
		}
		return nil
	}
	c.Version = f.fleet.Version
	c.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return fmt.Errorf("%w: %w", ErrUsage, err) })
}

// prepare takes the settings in. What it says is wrong is not all: the program goes on to look at its own, unless nothing is known of them.
func (f *common) prepare(c *cobra.Command) error {
	var errs []error
	if err := settings.Apply(c.Flags()); err != nil {
		errs = append(errs, fmt.Errorf("%w: %w", ErrUsage, err))
	}
	var level slog.Level
	if err := level.UnmarshalText([]byte(f.logLevel)); err != nil {
		errs = append(errs, fmt.Errorf("%w: log-level %q: want debug, info, warn or error", ErrUsage, f.logLevel))
	}
	f.fleet.Log = slog.New(slog.NewJSONHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
	return errors.Join(errs...)
}

// unread tells that nothing is known of the settings, so that there is nothing more to say of them.
func unread(err error) bool { return errors.Is(err, settings.ErrFile) }

// work runs a program until it is told to stop, which is no failure, also while it is starting.
func (f *common) work(c *cobra.Command, program func(context.Context) error) error {
	ctx, stop := signal.NotifyContext(c.Context(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if f.fault != "" {
		ctx = fault.With(ctx, fault.Parse(f.fault))
	}
	err := program(ctx)
	if ctx.Err() == nil {
		return err
	}
	if err != nil {
		f.fleet.Log.Info("told to stop while something was under way", "op", "stop", "error", err)
	}
	f.fleet.Log.Info("stopped", "op", "stop")
	return nil
}

// metadataFlags are of the programs that use metadata.
func metadataFlags(c *cobra.Command, m *controlplane.Metadata) {
	c.Flags().StringVar(&m.Address, "metadata", "", "mysql://USER@HOST:PORT/DATABASE; sqlite:///PATH where all processes are on one host")
	c.Flags().StringVar(&m.PasswordFile, "metadata-password-file", "", "file with that user's password")
}
