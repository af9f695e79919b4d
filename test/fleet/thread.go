package fleet

import (
	"errors"
	"fmt"
	goruntime "runtime"

	"golang.org/x/sys/unix"
)

const (
	// ofHost are the namespaces that a host has of its own.
	ofHost = unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWNET | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC
	// ofNetwork are those of the switch.
	ofNetwork = unix.CLONE_NEWNET
)

// enter runs f on a thread in some namespaces of a process; programs that f starts are in them too. nsenter(1) would do for programs, but it stays
// between them and us: it has another process number, and does not pass signals on.
func enter(pid, namespaces int, f func() error) error {
	if pid <= 0 {
		return ErrDown
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return ErrDown
	}
	if err != nil {
		return fmt.Errorf("finding process %d: %w", pid, err)
	}
	defer func() { _ = unix.Close(fd) }()
	done := make(chan error, 1)
	onThread(func() {
		done <- func() error {
			if namespaces&unix.CLONE_NEWNS != 0 { // threads that share their working directory cannot part in their mounts
				if err := unix.Unshare(unix.CLONE_FS); err != nil {
					return fmt.Errorf("leaving the other threads: %w", err)
				}
			}
			if err := unix.Setns(fd, namespaces); errors.Is(err, unix.ESRCH) {
				return ErrDown
			} else if err != nil {
				return fmt.Errorf("entering the namespaces of process %d: %w", pid, err)
			}
			return f()
		}()
	})
	return <-done
}

// onThread runs f on a thread that ends with it, as it may have been changed beyond repair.
func onThread(f func()) {
	go func() {
		goruntime.LockOSThread()
		if unix.Gettid() != unix.Getpid() {
			f()
			return
		}
		// The first thread's namespaces are what others take for the program's, in /proc/self for one, and it cannot end. Another one, then.
		defer goruntime.UnlockOSThread()
		done := make(chan struct{})
		onThread(func() { defer close(done); f() })
		<-done
	}()
}

// thread is one that lives as long as it is needed: what dies with its parent dies with the thread that started it.
type thread struct{ work chan func() }

func newThread() *thread {
	t := &thread{work: make(chan func())}
	onThread(func() {
		for f := range t.work {
			f()
		}
	})
	return t
}

func (t *thread) do(f func()) {
	done := make(chan struct{})
	t.work <- func() { defer close(done); f() }
	<-done
}

func (t *thread) end() { close(t.work) }
