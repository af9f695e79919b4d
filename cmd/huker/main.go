// Command huker is the command line and, as `huker serve`, the control plane.
package main

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"syscall"

	"github.com/huker/huker/internal/cli"
	"github.com/huker/huker/internal/controlplane"
	"github.com/huker/huker/internal/daemon"
)

var version = "dev" // set when it is built

func main() {
	os.Exit(run())
}

func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	cmd, err := cli.NewRoot(version).ExecuteContextC(ctx)
	if err != nil {
		cli.Complain(os.Stderr, cmd, err)
	}
	if errors.Is(err, controlplane.ErrConfig) {
		return daemon.StatusUsage // as the programs of a fleet do
	}
	return cli.ExitCode(err)
}
