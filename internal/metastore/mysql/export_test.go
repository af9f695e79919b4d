package mysql

import "time"

// What tests from outside need of the inside.
var (
	Migrate       = migrate
	WithoutValues = withoutValues
	IsGone        = isGone
	IsUnknown     = isUnknown
)

// The constants that tests wait for.
const (
	LockWait  = lockWait
	IOTimeout = ioTimeout
	Writers   = writers
	Readers   = readers
)

// Migrations are those of this program.
var Migrations = migrations

// Patience has the store wait so long for a server that is gone, whatever else this machine is busy with.
func (c Config) Patience(d time.Duration) Config {
	c.outage = d
	return c
}
