// Command huker is the command line and, as `huker serve`, the control plane.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/huker/huker/internal/cli"
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
	return cli.ExitCode(err)
}
