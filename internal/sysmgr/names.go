package sysmgr

import (
	"path/filepath"
	"regexp"
	"time"

	"github.com/huker/huker/internal/protocol"
	"github.com/huker/huker/runtime"
)

// Labels of what a sysmgr makes.
const (
	InstanceLabel = "io.huker.instance"
	RoleLabel     = "io.huker.role"
	RoleDatabase  = "database"
)

// pidsLimit bounds mysqld's threads (one a client) with its helpers; a fork bomb ends here.
const pidsLimit = 4096

// stopGrace is how long mysqld may take to write everything out before it is killed.
const stopGrace = 90 * time.Second

var instanceID = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)

// containerName is unique among all deployments of a host.
func (h *Host) containerName(instance string) string { return h.cfg.Deployment + "-db-" + instance }

func (h *Host) volumeName(instance string) string { return h.cfg.Deployment + "-data-" + instance }

func (h *Host) guestDir(instance string) string { return filepath.Join(h.cfg.GuestsDir, instance) }

func (h *Host) labels(instance string) map[string]string {
	return map[string]string{InstanceLabel: instance, RoleLabel: RoleDatabase}
}

// spec is the container of a database: see "Inside a database container" in docs/ARCHITECTURE.md.
func (h *Host) spec(r protocol.EnsureRequest) runtime.Spec {
	return runtime.Spec{
		Name:       h.containerName(r.Instance),
		Image:      r.Image,
		Entrypoint: []string{"/huker/bin/huker-supervisor"},
		User:       userOf(h.cfg.UID, h.cfg.GID),
		Labels:     h.labels(r.Instance),
		Hostname:   "db-" + r.Instance[24:], // ids begin with the time: their ends differ
		Network:    h.cfg.Network,
		Address:    r.Address,
		Mounts: []runtime.Mount{
			{Kind: runtime.MountVolume, Source: h.volumeName(r.Instance), Target: "/var/lib/mysql"},
			{Kind: runtime.MountBind, Source: h.cfg.BinDir, Target: "/huker/bin", ReadOnly: true},
			{Kind: runtime.MountBind, Source: filepath.Join(h.guestDir(r.Instance), etcDir), Target: "/huker/etc", ReadOnly: true},
			{Kind: runtime.MountMemory, Target: "/huker/run", UID: h.cfg.UID, GID: h.cfg.GID, Mode: 0o700, SizeMB: 16},
			{Kind: runtime.MountMemory, Target: "/tmp", UID: h.cfg.UID, GID: h.cfg.GID, Mode: 0o700, SizeMB: 64},
		},
		ReadOnly:   true,
		DropCaps:   []string{"ALL"},
		NoNewPrivs: true,
		Restart:    true,
		StopGrace:  stopGrace,
		Limits:     limitsOf(r),
	}
}

func limitsOf(r protocol.EnsureRequest) runtime.Limits {
	return runtime.Limits{CPUs: r.CPUs, MemoryMB: r.MemoryMB, Pids: pidsLimit}
}
