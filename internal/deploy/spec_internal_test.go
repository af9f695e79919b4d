package deploy

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/huker/huker/runtime"
)

// TestBoundAfterReboot: what is bound into the control plane is on a disk, or Docker's own.
func TestBoundAfterReboot(t *testing.T) {
	p := Plane{Name: "huker", DataDir: "/var/lib/huker", Socket: "/var/run/docker.sock"}
	bound := 0
	for _, m := range p.spec().Mounts {
		if m.Kind == runtime.MountBind {
			require.Contains(t, []string{p.DataDir, p.Socket}, m.Source)
			bound++
		}
	}
	require.Equal(t, 2, bound)
}
