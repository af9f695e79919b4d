// Package daemon is the programs of a fleet: huker-api, huker-nodekeeper and huker-sysmgr.
//
// It owns their flags and how they start, log and stop. What they do is put together by internal/controlplane.
package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/huker/huker/internal/controlplane"
	"github.com/huker/huker/internal/fault"
	"github.com/huker/huker/internal/settings"
)

// ErrUsage is wrapped by what is wrong with how a program was called.
var ErrUsage = errors.New("bad configuration")

// Main runs a program and gives its exit status: 0, 1, or 2 when it was called wrongly.
func Main(c *cobra.Command) int {
	c.SilenceUsage, c.SilenceErrors = true, true
	err := c.Execute()
	if err == nil {
		return 0
	}
	fmt.Fprintf(os.Stderr, "%s: %v\n", c.Name(), err)
	if errors.Is(err, ErrUsage) || errors.Is(err, controlplane.ErrConfig) {
		fmt.Fprintf(os.Stderr, "%s --help tells what can be given.\n", c.Name())
		return 2
	}
	return 1
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
	c.Args = cobra.NoArgs
	c.Version = f.fleet.Version
	c.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return fmt.Errorf("%w: %w", ErrUsage, err) })
}

// prepare takes the settings in, and gives the context to work in: it ends when the program is told to stop.
func (f *common) prepare(c *cobra.Command) (context.Context, func(), error) {
	if err := settings.Apply(c.Flags()); err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrUsage, err)
	}
	var level slog.Level
	if err := level.UnmarshalText([]byte(f.logLevel)); err != nil {
		return nil, nil, fmt.Errorf("%w: log-level: %w", ErrUsage, err)
	}
	f.fleet.Log = slog.New(slog.NewJSONHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
	ctx, stop := signal.NotifyContext(c.Context(), os.Interrupt, syscall.SIGTERM)
	if f.fault != "" {
		ctx = fault.With(ctx, fault.Parse(f.fault))
	}
	return ctx, stop, nil
}

// metadataFlags are of the programs that use metadata.
func metadataFlags(c *cobra.Command, m *controlplane.Metadata) {
	c.Flags().StringVar(&m.Address, "metadata", "", "mysql://USER@HOST:PORT/DATABASE; sqlite:///PATH where all processes are on one host")
	c.Flags().StringVar(&m.PasswordFile, "metadata-password-file", "", "file with that user's password")
}
