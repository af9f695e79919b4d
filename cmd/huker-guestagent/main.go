// Command huker-guestagent is the guest agent: it runs beside mysqld in a database's container, started by the supervisor. All it must know is in
// /huker/etc; see --help.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/huker/huker/guest/agent"
	"github.com/huker/huker/guest/paths"
)

// version is set by the linker.
var version = "dev"

// The agent's heap is small and shares the memory of the database: the collector may work for it.
const (
	gcPercent   = 50
	memoryLimit = 24 << 20
)

func main() { os.Exit(start()) }

func start() int {
	o, err := parse(os.Args[1:], os.Getenv, os.Stdout)
	switch {
	case errors.Is(err, errHelp):
		return 0
	case err != nil:
		complain(err)
		return statusUsage
	case o.version:
		fmt.Println(version)
		return 0
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if o.health || o.ready {
		if tell(ctx, paths.Under(o.root), o.ready, os.Stdout) {
			return 0
		}
		return statusFailed
	}
	debug.SetGCPercent(gcPercent)
	debug.SetMemoryLimit(memoryLimit)
	log := slog.New(slog.NewJSONHandler(os.Stderr, &slog.HandlerOptions{Level: o.level}))
	switch err := run(ctx, paths.Under(o.root), log); {
	case err == nil, ctx.Err() != nil && errors.Is(err, context.Canceled):
		return 0
	case errors.Is(err, errConfig):
		complain(err)
		return statusUsage
	default:
		log.Error("the guest agent ends", "err", err)
		return statusFailed
	}
}

func run(ctx context.Context, p paths.Paths, log *slog.Logger) error {
	guest, err := readGuest(p.Config())
	if err != nil {
		return err
	}
	link, err := dial(ctx, p, guest, log)
	if err != nil {
		// The database is given its role all the same; sysmgr sees that the agent says nothing.
		log.Error("coordination and the bus cannot be reached with this configuration", "op", "dial", "err", err)
	}
	a, err := agent.New(link.into(agent.ForGuest(p, guest, version, log)))
	if err != nil {
		return err
	}
	return a.Run(ctx)
}
