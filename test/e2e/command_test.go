package e2e

import (
	"os/exec"
	"testing"
)

func command(t *testing.T, name string, args ...string) (string, error) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput()
	return string(out), err
}

// image is what databases are made from.
func (p *plane) image() string {
	p.t.Helper()
	all, err := p.engine.List(p.t.Context(), map[string]string{"io.huker.role": "database"})
	if err != nil || len(all) == 0 {
		p.t.Fatalf("no database is there to take the image from: %v", err)
	}
	return all[0].Image
}
