package testenv_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/huker/huker/internal/testenv"
)

// TestHostRules: several have them at the same time, and one alone waits for all of those.
func TestHostRules(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir()) // not the others'
	first, err := testenv.HostRules(false)
	require.NoError(t, err)
	second, err := testenv.HostRules(false)
	require.NoError(t, err)
	alone := make(chan func())
	go func() {
		done, err := testenv.HostRules(true)
		if err != nil {
			t.Error(err)
		}
		alone <- done
	}()
	first()
	select {
	case <-alone:
		t.Fatal("alone, while another has them")
	case <-time.After(50 * time.Millisecond):
	}
	second()
	(<-alone)()
	third, err := testenv.HostRules(false)
	require.NoError(t, err)
	third()
}
