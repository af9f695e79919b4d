package testenv

import (
	"os/exec"
	"runtime"
	"sync"
	"syscall"
)

// StartChild starts a process that is killed when this one ends, however that ends. The kernel does so when the thread ends that started it, and
// tests come and go with theirs: all are started by one that stays.
func StartChild(cmd *exec.Cmd) error {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	started := make(chan error)
	parent() <- func() { started <- cmd.Start() }
	return <-started
}

// parent is a thread that starts processes, for as long as this one lives.
var parent = sync.OnceValue(func() chan<- func() {
	work := make(chan func())
	go func() {
		runtime.LockOSThread()
		for do := range work {
			do()
		}
	}()
	return work
})
