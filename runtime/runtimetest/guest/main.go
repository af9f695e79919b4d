// Command guest is what runs in the containers of tests: a few small things to do, chosen by its first argument. It is built without
// the module, from this file alone.
package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() {
	os.Exit(run(os.Args[1:]))
}

func run(args []string) int {
	if len(args) == 0 {
		return 2
	}
	arg := func(n int) string {
		if n < len(args) {
			return args[n]
		}
		return ""
	}
	number := func(n int) int {
		v, _ := strconv.Atoi(arg(n))
		return v
	}
	switch args[0] {
	case "wait": // until TERM; USR2 is a crash, HUP is noted in the file named
		return wait(arg(1))
	case "stubborn":
		signal.Ignore(syscall.SIGTERM)
		return wait("")
	case "exit":
		return number(1)
	case "once": // ends with a code, but only the first time
		if _, err := os.Stat(arg(1)); err != nil {
			if err := os.WriteFile(arg(1), nil, 0o600); err != nil {
				return say(err)
			}
			return number(2)
		}
		return wait("")
	case "cat":
		_, err := io.Copy(os.Stdout, os.Stdin)
		return say(err)
	case "echo":
		fmt.Print(strings.Join(args[1:], " "))
	case "env":
		fmt.Print(os.Getenv(arg(1)))
	case "fail":
		fmt.Fprint(os.Stderr, arg(2))
		return number(1)
	case "flood":
		_, err := io.CopyN(os.Stdout, zeros{}, int64(number(1)))
		return say(err)
	case "read":
		data, err := os.ReadFile(arg(1))
		fmt.Print(string(data))
		return say(err)
	case "write":
		return say(os.WriteFile(arg(1), []byte(arg(2)), 0o600))
	default:
		return kernel(args[0], arg, number)
	}
	return 0
}

// kernel is what only a real container can do.
func kernel(what string, arg func(int) string, number func(int) int) int {
	switch what {
	case "stat": // mode, uid and gid
		var s syscall.Stat_t
		if err := syscall.Stat(arg(1), &s); err != nil {
			return say(err)
		}
		fmt.Printf("%o %d %d", s.Mode&0o7777, s.Uid, s.Gid)
	case "status": // a field of /proc/self/status
		data, err := os.ReadFile("/proc/self/status")
		for _, line := range strings.Split(string(data), "\n") {
			if name, value, _ := strings.Cut(line, ":"); name == arg(1) {
				fmt.Print(strings.TrimSpace(value))
			}
		}
		return say(err)
	case "hostname":
		name, err := os.Hostname()
		fmt.Print(name)
		return say(err)
	case "eat": // memory, and keeps it
		hold := make([]byte, number(1)<<20)
		for i := 0; i < len(hold); i += 4096 {
			hold[i] = 1
		}
		fmt.Print(len(hold))
	case "burn": // processor time, of its own, however much is left to it
		for used := (syscall.Rusage{}); used.Utime.Nano() < int64(number(1))*1e6; {
			if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
				return say(err)
			}
		}
	case "crash": // the container's own program
		return say(syscall.Kill(1, syscall.SIGUSR2))
	case "spawn": // children, until one is refused
		return spawn(number(1))
	case "sleep":
		time.Sleep(time.Duration(number(1)) * time.Millisecond)
	case "listen":
		return listen(arg(1))
	case "hold":
		return hold(arg(1))
	case "dial":
		fmt.Print(dial(arg(1), time.Duration(number(2))*time.Millisecond))
	default:
		return 2
	}
	return 0
}

func say(err error) int {
	if err == nil {
		return 0
	}
	fmt.Fprint(os.Stderr, err)
	return 1
}

func wait(notes string) int {
	c := make(chan os.Signal, 8)
	signal.Notify(c, syscall.SIGUSR2, syscall.SIGHUP)
	if !signal.Ignored(syscall.SIGTERM) {
		signal.Notify(c, syscall.SIGTERM)
	}
	for s := range c {
		switch s {
		case syscall.SIGTERM:
			return 0
		case syscall.SIGUSR2:
			return 42
		case syscall.SIGHUP:
			if notes != "" {
				_ = os.WriteFile(notes, []byte("HUP"), 0o600)
			}
		}
	}
	return 0
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func spawn(n int) int {
	for i := range n {
		c := exec.Command("/guest", "sleep", "2000")
		if err := c.Start(); err != nil {
			fmt.Print(i)
			return 1
		}
	}
	fmt.Print(n)
	return 0
}

// listen answers each connection with the address that it came from.
func listen(address string) int {
	l, err := net.Listen("tcp4", address)
	if err != nil {
		return say(err)
	}
	for {
		c, err := l.Accept()
		if err != nil {
			return say(err)
		}
		host, _, _ := net.SplitHostPort(c.RemoteAddr().String())
		_, _ = io.WriteString(c, host)
		_ = c.Close()
	}
}

// hold keeps each connection open.
func hold(address string) int {
	l, err := net.Listen("tcp4", address)
	if err != nil {
		return say(err)
	}
	for {
		c, err := l.Accept()
		if err != nil {
			return say(err)
		}
		go func() { _, _ = io.Copy(io.Discard, c) }()
	}
}

// dial says "open ADDRESS", where ADDRESS is what the other side saw, or "refused" or "dropped".
func dial(address string, timeout time.Duration) string {
	c, err := net.DialTimeout("tcp4", address, timeout)
	if errors.Is(err, syscall.ECONNREFUSED) {
		return "refused"
	}
	if err != nil {
		return "dropped"
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(timeout))
	seen, _ := io.ReadAll(c)
	return "open " + string(seen)
}
