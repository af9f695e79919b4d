// Command huker-supervisor is PID 1 of a database container: see package supervisor.
package main

import (
	"context"
	"flag"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/huker/huker/guest/paths"
	"github.com/huker/huker/guest/supervisor"
)

// gcPercent trades a little CPU, of which a supervisor needs none, for memory, which is the database's.
const gcPercent = 25

func main() {
	root := flag.String("root", "/", "where the guest's directories lie")
	mysqld := flag.String("mysqld", "", "the server's program; empty: where packages put it")
	flag.Parse()
	debug.SetGCPercent(gcPercent)
	syscall.Umask(0o077)
	log := slog.New(slog.NewTextHandler(os.Stderr, nil)).With("component", "supervisor")
	if err := run(*root, *mysqld, log); err != nil {
		log.Error("the supervisor ends", "op", "run", "error", err)
		os.Exit(1)
	}
}

func run(root, mysqld string, log *slog.Logger) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	s, err := supervisor.New(supervisor.Config{Paths: paths.Under(root), Mysqld: mysqld, Log: log})
	if err != nil {
		return err
	}
	go func() {
		for range hup {
			if err := s.ReplaceAgent(ctx); err != nil {
				log.Error("the agent is not replaced", "op", "replace", "error", err)
			}
		}
	}()
	return s.Run(ctx)
}
