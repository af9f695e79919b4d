package cli

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/huker/huker/internal/metastore"
	"github.com/huker/huker/internal/model"
)

func TestHostLife(t *testing.T) {
	s := newService(t)
	state := func(up bool) {
		s.update(func(tx metastore.Tx) error {
			return tx.Hosts().Put(t.Context(), model.Host{ID: "db3", Name: "db3", Up: up, Since: time.Unix(1, 0).UTC(), Created: time.Unix(1, 0).UTC(), CPUs: 2, RAMMB: 1024, DiskGB: 10})
		})
	}
	assert.Contains(t, s.ok("host", "add", "db3"), "expected")
	state(true)
	assert.Contains(t, s.ok("host", "drain", "db3"), "up, drained")
	assert.Contains(t, s.ok("host", "undrain", "db3"), "up")
	assert.Contains(t, s.refused(2, "host", "remove", "db3"), "repeat with --yes")
	assert.Contains(t, s.refused(1, "host", "remove", "db3", "--yes"), "Stop its huker-sysmgr first")
	assert.Contains(t, s.refused(1, "host", "remove", "db9", "--yes"), "db9")
	state(false)
	require.NoError(t, s.run("host", "remove", "db3", "--yes", "--no-wait").failure)
	assert.Contains(t, s.ok("host", "list"), "being removed")
	assert.Contains(t, s.refused(1, "host", "remove", "db3", "--yes", "--timeout", "50ms"), "huker host show db3")
	s.update(func(tx metastore.Tx) error { return tx.Hosts().Delete(t.Context(), "db3") }) // nodekeeper does
	assert.Contains(t, s.refused(1, "host", "show", "db3"), "db3")
}
