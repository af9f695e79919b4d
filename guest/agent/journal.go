package agent

import (
	"path/filepath"
	"time"

	"github.com/huker/huker/guest/control"
	"github.com/huker/huker/internal/protocol"
)

// journal is what was carried out, on the volume, so that neither a repeated message nor a new agent does it twice or forgets it.
type journal struct{ dir string }

// restartMarks are the restarts that were asked for.
type restartMarks struct {
	Done    int64     `json:"done"`    // the newest serial that was carried out
	Pending int64     `json:"pending"` // one that was begun
	Of      time.Time `json:"of"`      // the start of the mysqld that Pending was to end
}

func (j journal) restarts() (m restartMarks, err error) {
	_, err = readJSON(filepath.Join(j.dir, "restarts.json"), &m)
	return m, err
}

func (j journal) keepRestarts(m restartMarks) error {
	return writeJSON(filepath.Join(j.dir, "restarts.json"), m)
}

// appliedSize is a size that was put into a running mysqld.
type appliedSize struct {
	Of   time.Time                 `json:"of"` // the start of that mysqld
	Size protocol.ConfigureRequest `json:"size"`
}

// size is the size that was put into this run of mysqld, if it was.
func (j journal) size(m control.Mysqld) (protocol.ConfigureRequest, bool) {
	var a appliedSize
	found, err := readJSON(filepath.Join(j.dir, "size.json"), &a)
	return a.Size, err == nil && found && m.Pid > 0 && a.Of.Equal(m.Started)
}

func (j journal) keepSize(started time.Time, size protocol.ConfigureRequest) error {
	return writeJSON(filepath.Join(j.dir, "size.json"), appliedSize{Of: started, Size: size})
}

// logs are the USER logs that were switched, by name; the rest is as mysqld's configuration has it.
func (j journal) logs() (map[string]bool, error) {
	on := map[string]bool{}
	_, err := readJSON(filepath.Join(j.dir, "logs.json"), &on)
	return on, err
}

func (j journal) keepLogs(on map[string]bool) error {
	return writeJSON(filepath.Join(j.dir, "logs.json"), on)
}
