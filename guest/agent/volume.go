package agent

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/huker/huker/internal/protocol"
)

// volumeUse is how full the volume is, in bytes.
type volumeUse struct {
	used int64 // by this guest's files
	size int64 // of the file system below, which others may use too
}

// volumeLoop samples the volume's use. A volume of very many files is sampled less often, so that it costs no more than 0.5 % of a core.
func (a *Agent) volumeLoop(ctx context.Context) {
	for ctx.Err() == nil {
		begun := time.Now()
		use, err := a.volume(ctx, a.cfg.VolumeDir)
		if err != nil {
			if ctx.Err() == nil {
				a.log.Warn("the volume cannot be measured", "op", "volume.measure", "err", err)
			}
		} else {
			a.status.update(func(now *protocol.GuestStatus) {
				if notable(now.VolumeUsed, use.used) || notable(now.VolumeSize, use.size) {
					now.VolumeUsed, now.VolumeSize = use.used, use.size
				}
			})
		}
		if !pause(ctx, max(sampleEvery, 200*time.Since(begun))) {
			return
		}
	}
}

// notable reports whether a size changed by more than 1 %.
func notable(was, is int64) bool {
	d := is - was
	if d < 0 {
		d = -d
	}
	return d*100 > was || (was == 0) != (is == 0)
}

// measureVolume adds up what the files below dir take on disk; sparse and shared parts count as what they are.
func measureVolume(ctx context.Context, dir string) (volumeUse, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return volumeUse{}, err
	}
	use := volumeUse{size: int64(st.Blocks) * st.Bsize} // #nosec G115 -- file systems are smaller than 8 EiB
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			if errors.Is(err, fs.ErrNotExist) { // files come and go meanwhile
				return nil
			}
			return err
		}
		i, err := d.Info()
		if err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			return err
		}
		if s, ok := i.Sys().(*syscall.Stat_t); ok {
			use.used += s.Blocks * 512
		}
		return nil
	})
	return use, err
}
