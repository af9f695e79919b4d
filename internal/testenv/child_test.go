package testenv_test

import (
	"os/exec"
	"runtime"
	"testing"

	"github.com/huker/huker/internal/testenv"
)

// A process that a test starts outlives the thread of that test.
func TestStartChild(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), "cat")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and is not unlocked: the thread ends with the goroutine
		done <- testenv.StartChild(cmd)
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	for range 50 { // threads begin and end meanwhile
		go func() {
			runtime.LockOSThread()
			done <- nil
		}()
		<-done
	}
	_ = in.Close()
	if err := cmd.Wait(); err != nil {
		t.Errorf("it did not live until its input ended: %v", err)
	}
}
