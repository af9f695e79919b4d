package agent

import (
	"log/slog"

	"github.com/huker/huker/guest/admin"
	"github.com/huker/huker/guest/control"
	"github.com/huker/huker/guest/mycnf"
	"github.com/huker/huker/guest/paths"
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
		Log: log,
	}
}
