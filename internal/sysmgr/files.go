package sysmgr

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/huker/huker/internal/protocol"
)

// In an instance's folder.
const (
	etcDir      = "etc"         // what the guest sees as /huker/etc
	ensureFile  = "ensure.json" // the last EnsureRequest, less its private files: what the host keeps up by itself
	removedMark = "removed"     // the instance is being or was removed: a late or repeated request must not make it again
)

func userOf(uid, gid int) string { return strconv.Itoa(uid) + ":" + strconv.Itoa(gid) }

// checkFiles refuses names by which a file would end up elsewhere.
func checkFiles(files map[string][]byte) error {
	for name := range files {
		if name != filepath.Base(name) || strings.HasPrefix(name, ".") {
			return coded(protocol.CodeInvalid, "file name %q is not a plain name", name)
		}
	}
	return nil
}

// makeGuestDir makes an instance's folder, and has it be there after a power failure.
func (h *Host) makeGuestDir(instance string) error {
	err := os.Mkdir(h.guestDir(instance), 0o700)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err == nil {
		err = syncDir(h.cfg.GuestsDir)
	}
	if err != nil {
		return fmt.Errorf("making the instance's folder: %w", err)
	}
	return nil
}

// writeGuest puts the guest's files in place, each whole or not at all. The folder itself is never replaced: the
// container has it mounted.
func (h *Host) writeGuest(r protocol.EnsureRequest) error {
	if err := h.makeGuestDir(r.Instance); err != nil {
		return err
	}
	etc := filepath.Join(h.guestDir(r.Instance), etcDir)
	if err := os.MkdirAll(etc, 0o700); err != nil {
		return fmt.Errorf("making the guest's folder: %w", err)
	}
	if err := os.Chown(etc, h.cfg.UID, h.cfg.GID); err != nil {
		return fmt.Errorf("giving the guest its folder: %w", err)
	}
	for name, data := range r.Files {
		if err := h.writeFile(filepath.Join(etc, name), data, true); err != nil {
			return err
		}
	}
	config, err := json.MarshalIndent(r.Guest, "", "  ")
	if err != nil {
		return fmt.Errorf("encoding the guest's configuration: %w", err)
	}
	return h.writeFile(filepath.Join(etc, "guest.json"), config, true)
}

// remember keeps the request, so that the host brings the instance back after a reboot with nobody's help.
func (h *Host) remember(r protocol.EnsureRequest) error {
	r.Files = nil // they are in etc already
	data, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("encoding the request: %w", err)
	}
	return h.writeFile(filepath.Join(h.guestDir(r.Instance), ensureFile), data, false)
}

// recall gives the remembered request; false when there is none or the instance is being removed.
func (h *Host) recall(instance string) (protocol.EnsureRequest, bool, error) {
	var r protocol.EnsureRequest
	if h.isRemoved(instance) {
		return r, false, nil
	}
	data, err := os.ReadFile(filepath.Join(h.guestDir(instance), ensureFile))
	if errors.Is(err, fs.ErrNotExist) {
		return r, false, nil
	}
	if err != nil {
		return r, false, fmt.Errorf("reading the instance's request: %w", err)
	}
	if err := json.Unmarshal(data, &r); err != nil {
		return r, false, fmt.Errorf("reading the instance's request: %w", err)
	}
	return r, true, nil
}

// instances lists the folders of all instances that this host knows, removed ones included.
func (h *Host) instances() ([]string, error) {
	entries, err := os.ReadDir(h.cfg.GuestsDir)
	if err != nil {
		return nil, fmt.Errorf("listing the guests: %w", err)
	}
	var ids []string
	for _, e := range entries {
		if e.IsDir() && instanceID.MatchString(e.Name()) {
			ids = append(ids, e.Name())
		}
	}
	return ids, nil
}

func (h *Host) isRemoved(instance string) bool {
	_, err := os.Stat(filepath.Join(h.guestDir(instance), removedMark))
	return err == nil
}

func (h *Host) markRemoved(instance string) error {
	if err := h.makeGuestDir(instance); err != nil {
		return fmt.Errorf("marking the removal: %w", err)
	}
	return h.writeFile(filepath.Join(h.guestDir(instance), removedMark), nil, false)
}

// writeFile writes through a temporary name, so that a reader or a crash finds the old file or the new one.
func (h *Host) writeFile(path string, data []byte, guest bool) (err error) {
	tmp := path + ".tmp"
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("writing %s: %w", filepath.Base(path), err)
	}
	defer func() {
		if err != nil {
			_ = os.Remove(tmp)
		}
	}()
	_, err = f.Write(data)
	if err == nil && guest {
		err = f.Chown(h.cfg.UID, h.cfg.GID)
	}
	if err == nil && guest {
		err = f.Chmod(0o400)
	}
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(tmp, path)
	}
	if err == nil {
		err = syncDir(filepath.Dir(path))
	}
	if err != nil {
		return fmt.Errorf("writing %s: %w", filepath.Base(path), err)
	}
	return nil
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	err = d.Sync()
	return errors.Join(err, d.Close())
}
