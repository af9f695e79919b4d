package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
)

// Exit statuses.
const (
	statusFailed = 1 // it could not go on, or is not healthy; the supervisor starts it again
	statusUsage  = 2 // it was called wrongly, or its configuration is none
)

const help = `huker-guestagent is the guest agent: it runs beside mysqld in a database's container, started by the supervisor there.

What it must know of its database is in ROOT/huker/etc/guest.json, with its certificates beside it. The host's huker-sysmgr writes these files; the agent
follows guest.json when it is replaced. There are no secrets in flags or in the environment, where "docker inspect" would show them.

Health and readiness are the supervisor's to tell, who knows them also when the agent does not live:

  docker exec CONTAINER /huker/bin/AGENT --health    the agent runs
  docker exec CONTAINER /huker/bin/AGENT --ready     it works, and mysqld answers

Both print what is how as JSON, and end with 0, or with 1. What the agent says of its database to nodekeeper is in coordination for as long as it lives.

SIGTERM stops the agent; mysqld goes on. It ends with 0 when it was told to, 1 when it could not go on, 2 when it was called or configured wrongly.

Flags (or the environment: HUKER_ROOT for --root):
`

// options are what it was called with.
type options struct {
	root    string
	level   slog.Level
	version bool
	health  bool
	ready   bool
}

// errHelp means that help was asked for, and given.
var errHelp = errors.New("help")

// parse takes flags, which come before the environment.
func parse(args []string, getenv func(string) string, out io.Writer) (options, error) {
	var o options
	level := "info"
	root := "/"
	for _, v := range []struct {
		name string
		to   *string
	}{{"HUKER_ROOT", &root}, {"HUKER_LOG_LEVEL", &level}} {
		if text := getenv(v.name); text != "" {
			*v.to = text
		}
	}
	fs := flag.NewFlagSet("huker-guestagent", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.Usage = func() {}
	fs.StringVar(&o.root, "root", root, "directory that the guest's files are below")
	fs.StringVar(&level, "log-level", level, "debug, info, warn or error")
	fs.BoolVar(&o.version, "version", false, "print the version and end")
	fs.BoolVar(&o.health, "health", false, "say whether the agent runs, and end")
	fs.BoolVar(&o.ready, "ready", false, "say whether the agent works and mysqld answers, and end")
	err := fs.Parse(args)
	if errors.Is(err, flag.ErrHelp) {
		_, _ = io.WriteString(out, help)
		fs.SetOutput(out)
		fs.PrintDefaults()
		return o, errHelp
	}
	errs := []error{err}
	if fs.NArg() > 0 {
		errs = append(errs, fmt.Errorf("%q means nothing to it: everything is given by flags and in guest.json", fs.Arg(0)))
	}
	if o.level.UnmarshalText([]byte(level)) != nil {
		errs = append(errs, fmt.Errorf("log-level %q: want debug, info, warn or error", level))
	}
	if st, err := os.Stat(o.root); err != nil || !st.IsDir() {
		errs = append(errs, fmt.Errorf("root %q is no directory", o.root))
	}
	return o, errors.Join(errs...)
}

// complain says what is wrong with how it was called or configured.
func complain(err error) {
	fmt.Fprintf(os.Stderr, "huker-guestagent: bad configuration:\n")
	for line := range strings.Lines(err.Error()) {
		fmt.Fprintf(os.Stderr, "  - %s\n", strings.TrimSpace(line))
	}
	fmt.Fprintln(os.Stderr, "huker-guestagent --help tells what can be given.")
}
