package agent

import (
	"context"
	"database/sql"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/huker/huker/guest/admin"
	"github.com/huker/huker/guest/control"
	"github.com/huker/huker/guest/mycnf"
	"github.com/huker/huker/guest/paths"
	"github.com/huker/huker/guest/replication"
	"github.com/huker/huker/internal/protocol"
)

// ForGuest is the configuration of an agent in a database container, without coordination and bus.
func ForGuest(p paths.Paths, guest protocol.GuestConfig, version string, log *slog.Logger) Config {
	return Config{
		Guest:      guest,
		Version:    version,
		GuestFile:  p.Config(),
		Socket:     p.MysqldSocket(),
		StateDir:   p.State(),
		VolumeDir:  p.Volume,
		Logs:       admin.Logs{Error: p.ErrorLog(), SlowQuery: p.SlowLog(), General: p.GeneralLog()},
		Supervisor: control.Dial(p.SupervisorSocket()),
		Settings: func(size protocol.ConfigureRequest, granule int64) (map[string]string, error) {
			return mycnf.SettingsFor(size.MemoryMB, size.CPUs, granule), nil
		},
		DataDir:      p.Data(),
		PartSessions: replication.MinConnections,
		Part: func(db *sql.DB, m control.Mysqld) (Part, error) {
			s, err := replication.New(db, m.Started, replication.Config{
				Instance: guest.Instance, Machine: bootID(), CA: p.Secret(paths.FileCA), Cert: p.Secret(paths.FileServerCert), Key: p.Secret(paths.FileServerKey),
				Clones: replication.Clones{State: p.State(), InitFile: p.InitFile(), AutoCnf: filepath.Join(p.Data(), "auto.cnf"), CPUs: guest.CPUs}, Log: log,
			})
			return member{s, log}, err
		},
		Log: log,
	}
}

// member is a replication.Server as a Part.
type member struct {
	*replication.Server
	log *slog.Logger
}

// Clone implements Part.
func (m member) Clone(ctx context.Context, donor string, peers map[string]protocol.Member) error {
	return m.Server.Clone(ctx, donor, peers, func(p replication.Progress) {
		m.log.Info("cloning", "op", "rebuild", "bytes", p.Done, "of", p.Estimate)
	})
}

// bootID names this start of the machine; empty where the kernel does not say.
func bootID() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}
