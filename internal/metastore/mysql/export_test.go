package mysql

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
