package supervisor_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/huker/huker/guest/control"
	"github.com/huker/huker/guest/paths"
	"github.com/huker/huker/guest/supervisor"
)

// The test binary is also the programs of a guest, by the name that it is called by.
func TestMain(m *testing.M) {
	name := filepath.Base(os.Args[0])
	root := filepath.Join(filepath.Dir(os.Args[0]), "../..") // <root>/huker/bin/<name>
	switch {
	case name == "huker-supervisor":
		os.Exit(beSupervisor(root))
	case name == "mysqld":
		os.Exit(beMysqld(root))
	case name == "huker-ctl":
		os.Exit(beControl())
	case strings.HasPrefix(name, "huker-guestagent-"):
		os.Exit(beAgent(root, strings.TrimPrefix(name, "huker-guestagent-")))
	}
	os.Exit(m.Run())
}

// quick is the patience of a supervisor under test.
var quick = supervisor.Timing{
	Backoff: 50 * time.Millisecond, BackoffMax: 300 * time.Millisecond, Stable: 2 * time.Second, AgentReady: 1500 * time.Millisecond,
	AgentStop: 500 * time.Millisecond, Resend: 200 * time.Millisecond, Look: 100 * time.Millisecond,
}

func beSupervisor(root string) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	s, err := supervisor.New(supervisor.Config{
		Paths: paths.Under(root), Mysqld: filepath.Join(root, "huker/bin/mysqld"), Log: slog.New(slog.NewTextHandler(os.Stderr, nil)), Timing: quick,
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	go func() {
		for range hup {
			_ = s.ReplaceAgent(ctx)
		}
	}()
	if err := s.Run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// mode is how a fake behaves: a word in <root>/mode.
func mode(root string) string {
	b, _ := os.ReadFile(filepath.Join(root, "mode"))
	return strings.TrimSpace(string(b))
}

func note(root, line string) {
	f, err := os.OpenFile(filepath.Join(root, "notes"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err == nil {
		_, _ = fmt.Fprintln(f, line)
		_ = f.Close()
	}
}

func beMysqld(root string) int {
	p := paths.Under(root)
	if len(os.Args) > 2 && os.Args[2] == "--initialize-insecure" {
		dir := strings.TrimPrefix(os.Args[3], "--datadir=")
		if mode(root) == "noinit" {
			fmt.Println("2026-01-01T00:00:00Z 0 [ERROR] [MY-1] [Server] initialization is out of order")
			return 1
		}
		return code(os.WriteFile(filepath.Join(dir, "ibdata1"), []byte("initialized"), 0o600))
	}
	sigs := make(chan os.Signal, 8)
	signal.Notify(sigs, syscall.SIGTERM, syscall.SIGUSR1)
	note(root, "mysqld started parent="+os.Getenv("MYSQLD_PARENT_PID"))
	note(root, "mysqld args "+strings.Join(os.Args[2:], " "))
	log, err := os.OpenFile(p.ErrorLog(), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return 3
	}
	if _, err := os.Stat(filepath.Join(p.Data(), "ibdata1")); err != nil {
		return 4
	}
	if _, err := os.Stat(p.MysqldSocket() + ".lock"); err == nil {
		_, _ = fmt.Fprintln(log, "2026-01-01T00:00:00Z 0 [ERROR] [MY-010259] [Server] Another process is using the socket")
		return 5
	}
	switch mode(root) {
	case "fail":
		_, _ = fmt.Fprint(log, "2026-01-01T00:00:00Z 0 [ERROR] [MY-012592] [InnoDB] The tablespace is torn\n2026-01-01T00:00:00Z 0 [ERROR] [MY-010119] [Server] Aborting\n")
		return 1
	case "mute":
		_, _ = fmt.Println("2026-01-01T00:00:00Z 0 [ERROR] [MY-000067] [Server] unknown variable 'x=1'")
		return 7
	case "never": // starts for ever
		<-sigs
		return 0
	case "restart-once":
		_ = os.WriteFile(filepath.Join(root, "mode"), []byte("ok"), 0o600)
		return 16
	}
	var lc net.ListenConfig
	l, err := lc.Listen(context.Background(), "unix", p.MysqldSocket())
	if err != nil {
		return 6
	}
	_ = os.WriteFile(p.MysqldSocket()+".lock", []byte("1"), 0o600)
	_ = os.WriteFile(filepath.Join(p.Tmp(), "#sql1"), nil, 0o600)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = c.Write([]byte{1, 0, 0, 0, 10})
			_ = c.Close()
		}
	}()
	deaf := mode(root) == "deaf"
	for sig := range sigs {
		if sig == syscall.SIGUSR1 {
			note(root, "mysqld logs")
			continue
		}
		if deaf { // loses the first one, as mysqld does while it starts
			deaf = false
			continue
		}
		break
	}
	note(root, "mysqld clean")
	return 0
}

func code(err error) int {
	if err != nil {
		return 1
	}
	return 0
}

func beAgent(root, kind string) int {
	sigs := make(chan os.Signal, 1)
	signal.Notify(sigs, syscall.SIGTERM)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if kind == "bad" {
		return 9
	}
	if kind == "orphans" {
		// Grandchildren out of the agent's process group, whose parent ends: they are PID 1's.
		cmd := exec.CommandContext(ctx, "setsid", "sh", "-c", "for i in 1 2 3 4 5; do (sleep 0.1 & ) ; done")
		_ = cmd.Run()
	}
	if kind != "silent" {
		if err := control.Dial(paths.Under(root).SupervisorSocket()).Ready(ctx); err != nil {
			fmt.Fprintln(os.Stderr, "agent:", err)
			return 8
		}
	}
	for range sigs {
		if kind != "stubborn" {
			break
		}
	}
	note(root, "agent "+kind+" clean")
	return 0
}

// beControl prints the status when it is as asked for, or gives a command.
func beControl() int {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c := control.Dial(paths.Default().SupervisorSocket())
	var err error
	switch os.Args[1] {
	case "watch":
		var after uint64
		if after, err = strconv.ParseUint(os.Args[2], 10, 64); err == nil {
			var st control.Status
			if st, err = c.Watch(ctx, after); err == nil {
				err = json.NewEncoder(os.Stdout).Encode(st)
			}
		}
	case "start":
		err = c.StartMysqld(ctx)
	case "stop":
		err = c.StopMysqld(ctx)
	case "restart":
		err = c.RestartMysqld(ctx)
	case "replace":
		err = c.ReplaceAgent(ctx)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	return code(err)
}

func notes(t *testing.T, root string) []string {
	t.Helper()
	f, err := os.Open(filepath.Join(root, "notes"))
	if err != nil {
		return nil
	}
	defer func() { _ = f.Close() }()
	var lines []string
	for sc := bufio.NewScanner(f); sc.Scan(); {
		lines = append(lines, sc.Text())
	}
	return lines
}
