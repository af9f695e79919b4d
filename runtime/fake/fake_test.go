package fake_test

import (
	"context"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/huker/huker/runtime/fake"
	"github.com/huker/huker/runtime/runtimetest"
)

func TestConformance(t *testing.T) {
	t.Parallel()
	runtimetest.Run(t, func(*testing.T) runtimetest.Harness {
		e := fake.New()
		e.SetProgram(guest)
		open := func(_ *testing.T, owner string) runtimetest.Driver { return e.Open(owner) }
		return runtimetest.Harness{
			Open: open, Image: "fake",
			OpenCuttable: func(t *testing.T, owner string) (runtimetest.Driver, func(), func()) {
				return open(t, owner), func() { e.SetDown(true) }, func() { e.SetDown(false) }
			},
			Crash:         func(t *testing.T, name string) { require.NoError(t, e.Exit(name, 42)) },
			RestartEngine: func(*testing.T) { e.Restart() },
		}
	})
}

// guest does what runtimetest's guest program does.
func guest(ctx context.Context, p *fake.Process) int {
	if len(p.Args) < 2 || p.Args[0] != "/guest" {
		return 127
	}
	arg := func(n int) string {
		if n+1 < len(p.Args) {
			return p.Args[n+1]
		}
		return ""
	}
	number, _ := strconv.Atoi(arg(1))
	switch arg(0) {
	case "wait":
		return wait(ctx, p, arg(1), false)
	case "stubborn":
		return wait(ctx, p, "", true)
	case "exit":
		return number
	case "once":
		if _, err := p.Files.Read(arg(1)); err != nil {
			if err := p.Files.Write(arg(1), nil); err != nil {
				return 1
			}
			code, _ := strconv.Atoi(arg(2))
			return code
		}
		return wait(ctx, p, "", false)
	case "cat":
		return say(p, func() error { _, err := io.Copy(p.Stdout, p.Stdin); return err })
	case "echo":
		fmt.Fprint(p.Stdout, strings.Join(p.Args[2:], " "))
	case "env":
		fmt.Fprint(p.Stdout, os.Expand("$"+arg(1), func(name string) string {
			for _, e := range p.Env {
				if k, v, _ := strings.Cut(e, "="); k == name {
					return v
				}
			}
			return ""
		}))
	case "fail":
		fmt.Fprint(p.Stderr, arg(2))
		return number
	case "flood":
		_, _ = p.Stdout.Write(make([]byte, number))
	case "read":
		return say(p, func() error {
			data, err := p.Files.Read(arg(1))
			_, _ = p.Stdout.Write(data)
			return err
		})
	case "write":
		return say(p, func() error { return p.Files.Write(arg(1), []byte(arg(2))) })
	default:
		return 2
	}
	return 0
}

func say(p *fake.Process, do func() error) int {
	if err := do(); err != nil {
		fmt.Fprint(p.Stderr, err)
		return 1
	}
	return 0
}

func wait(ctx context.Context, p *fake.Process, notes string, stubborn bool) int {
	for {
		select {
		case <-ctx.Done():
			return 137
		case s := <-p.Signals:
			switch {
			case s == "TERM" && !stubborn:
				return 0
			case s == "USR2":
				return 42
			case s == "HUP" && notes != "":
				_ = p.Files.Write(notes, []byte("HUP"))
			}
		}
	}
}
