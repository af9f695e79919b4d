// Package paths says where things lie in a database container.
//
// It owns the names of files and directories that more than one program in the container (or the one that makes the container) must agree
// on. It must not know what is in them.
package paths

import "path/filepath"

// Paths are the directories of a guest; Default gives the real ones, Under gives them below another root, for tests.
type Paths struct {
	Bin      string // read-only bind: versioned binaries, shared by all guests of a host
	Etc      string // read-only bind: guest.json and private PEM files
	Run      string // memory, 0700: sockets and generated configuration
	Volume   string // the database's volume
	Template string // in the image: a data directory that was made when the image was built; stock images have none
}

// UID and GID are who everything in a container runs as.
const (
	UID = 999
	GID = 999
)

// Default are the places in a container.
func Default() Paths { return Under("/") }

// Under are the same places below root.
func Under(root string) Paths {
	return Paths{
		Bin:      filepath.Join(root, "huker/bin"),
		Etc:      filepath.Join(root, "huker/etc"),
		Run:      filepath.Join(root, "huker/run"),
		Volume:   filepath.Join(root, "var/lib/mysql"),
		Template: filepath.Join(root, "usr/share/huker/template"),
	}
}

// Supervisor is PID 1's program.
func (p Paths) Supervisor() string { return filepath.Join(p.Bin, "huker-supervisor") }

// Config is protocol.GuestConfig as JSON.
func (p Paths) Config() string { return filepath.Join(p.Etc, "guest.json") }

// Names of private files below Etc, as EnsureRequest.Files carries them.
const (
	FileCA         = "ca.pem"          // who signed ServerCert; clients trust it
	FileServerCert = "server-cert.pem" // mysqld's
	FileServerKey  = "server-key.pem"
	FileAgentCert  = "agent-cert.pem" // the agent's, for the coordination and bus engine
	FileAgentKey   = "agent-key.pem"
	FileCoordCA    = "coord-ca.pem" // who signed the coordination engine's certificate
)

// Secret is the private file of that name.
func (p Paths) Secret(name string) string { return filepath.Join(p.Etc, name) }

// Data is mysqld's data directory. It exists only when it is whole.
func (p Paths) Data() string { return filepath.Join(p.Volume, "data") }

// DataNew is a data directory in the making.
func (p Paths) DataNew() string { return filepath.Join(p.Volume, "data.new") }

// Tmp is mysqld's tmpdir; it is emptied before each start.
func (p Paths) Tmp() string { return filepath.Join(p.Volume, "tmp") }

// Log holds mysqld's logs. The supervisor bounds them: the older half of each is <name>.1.
func (p Paths) Log() string { return filepath.Join(p.Volume, "log") }

// State is the agent's, and durable.
func (p Paths) State() string { return filepath.Join(p.Volume, "huker") }

// InitFile holds statements that mysqld is started with as long as it is there: the agent writes it before something that brings other accounts, and
// removes it after.
func (p Paths) InitFile() string { return filepath.Join(p.State(), "init.sql") }

// ErrorLog is mysqld's error log.
func (p Paths) ErrorLog() string { return filepath.Join(p.Log(), "error.log") }

// SlowLog is mysqld's slow query log.
func (p Paths) SlowLog() string { return filepath.Join(p.Log(), "slow.log") }

// GeneralLog is mysqld's general query log.
func (p Paths) GeneralLog() string { return filepath.Join(p.Log(), "general.log") }

// MyCnf is mysqld's generated configuration.
func (p Paths) MyCnf() string { return filepath.Join(p.Run, "my.cnf") }

// MysqldSocket is where mysqld answers inside the container.
func (p Paths) MysqldSocket() string { return filepath.Join(p.Run, "mysqld.sock") }

// MysqldPid is mysqld's pid file.
func (p Paths) MysqldPid() string { return filepath.Join(p.Run, "mysqld.pid") }

// SupervisorSocket is where the supervisor answers (package control).
func (p Paths) SupervisorSocket() string { return filepath.Join(p.Run, "supervisor.sock") }
