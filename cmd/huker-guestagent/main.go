// Command huker-guestagent is the guest agent: it runs beside mysqld in a database's container, started by the supervisor. It takes no
// arguments: all it must know is in /huker/etc.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/huker/huker/guest/agent"
	"github.com/huker/huker/guest/paths"
	"github.com/huker/huker/internal/protocol"
)

// version is set by the linker.
var version = "dev"

// The agent's heap is small and shares the memory of the database: the collector may work for it.
const (
	gcPercent   = 50
	memoryLimit = 24 << 20
)

func main() {
	show := flag.Bool("version", false, "print the version and end")
	root := flag.String("root", "/", "directory that the guest's files are below, for tests")
	flag.Parse()
	if *show {
		fmt.Println(version)
		return
	}
	debug.SetGCPercent(gcPercent)
	debug.SetMemoryLimit(memoryLimit)
	log := slog.New(slog.NewJSONHandler(os.Stderr, nil))
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := run(ctx, paths.Under(*root), log); err != nil && !errors.Is(err, context.Canceled) {
		log.Error("the guest agent ends", "err", err)
		stop()
		os.Exit(1) //nolint:gocritic // nothing else is deferred
	}
}

func run(ctx context.Context, p paths.Paths, log *slog.Logger) error {
	b, err := os.ReadFile(p.Config())
	if err != nil {
		return err
	}
	var guest protocol.GuestConfig
	if err := json.Unmarshal(b, &guest); err != nil {
		return fmt.Errorf("%s: %w", p.Config(), err)
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
