package admin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/huker/huker/internal/protocol"
)

// Names of mysqld's logs, as Trove calls them.
const (
	LogError     = "error"
	LogSlowQuery = "slow_query"
	LogGeneral   = "general"
)

// Types of log: SYS is always on, USER is the user's to switch.
const (
	logSys  = "SYS"
	logUser = "USER"
)

// maxLogChunk is the most of a log in one answer.
const maxLogChunk = 256 << 10

// logSwitches are the variables that switch USER logs.
var logSwitches = map[string]string{LogSlowQuery: "slow_query_log", LogGeneral: "general_log"}

// LogList lists the logs.
func (s *Server) LogList(ctx context.Context) ([]protocol.Log, error) {
	var slow, general bool
	if err := s.db.QueryRowContext(ctx, "SELECT @@GLOBAL.slow_query_log, @@GLOBAL.general_log").Scan(&slow, &general); err != nil {
		return nil, translate("list logs", err, "")
	}
	logs := []protocol.Log{
		{Name: LogError, Type: logSys, Enabled: true},
		{Name: LogSlowQuery, Type: logUser, Enabled: slow},
		{Name: LogGeneral, Type: logUser, Enabled: general},
	}
	for i := range logs {
		size, err := s.logSize(logs[i].Name)
		if err != nil {
			return nil, err
		}
		logs[i].Size = size
	}
	return logs, nil
}

func (s *Server) logSize(name string) (int64, error) {
	st, err := os.Stat(s.logs[name])
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return 0, nil // not written to yet
	case err != nil:
		return 0, &Error{Kind: ErrInternal, Text: fmt.Sprintf("log %q cannot be read", name), Cause: err}
	}
	return st.Size(), nil
}

// LogSet switches a USER log on or off, or empties it, and says how it is then. With nothing to do it just says.
func (s *Server) LogSet(ctx context.Context, r protocol.LogSet) (protocol.Log, error) {
	if _, ok := s.logs[r.Name]; !ok {
		return protocol.Log{}, failf(ErrNotFound, "there is no log %q", r.Name)
	}
	if r.Enable && r.Disable {
		return protocol.Log{}, failf(ErrInvalid, "a log cannot be both enabled and disabled")
	}
	change := r.Enable || r.Disable || r.Discard
	variable, switchable := logSwitches[r.Name]
	if change && !switchable {
		return protocol.Log{}, failf(ErrInvalid, "log %q is the system's: it is always on and cannot be emptied", r.Name)
	}
	op := fmt.Sprintf("set log %q", r.Name)
	if r.Disable {
		if err := s.run(ctx, op, stmt("SET GLOBAL "+variable+" = OFF")); err != nil {
			return protocol.Log{}, err
		}
	}
	if r.Discard {
		// mysqld appends to its logs, so a truncated one just grows from nothing again.
		if err := os.Truncate(s.logs[r.Name], 0); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return protocol.Log{}, &Error{Kind: ErrInternal, Text: op + ": it cannot be emptied", Cause: err}
		}
	}
	if r.Enable {
		// A log that another log_output took away would stay empty.
		if err := s.run(ctx, op, stmt("SET GLOBAL log_output = 'FILE', GLOBAL "+variable+" = ON")); err != nil {
			return protocol.Log{}, err
		}
	}
	logs, err := s.LogList(ctx)
	if err != nil {
		return protocol.Log{}, err
	}
	for _, l := range logs {
		if l.Name == r.Name {
			return l, nil
		}
	}
	return protocol.Log{}, failf(ErrNotFound, "there is no log %q", r.Name)
}

// LogRead reads a part of a log: at most 256 KiB from the offset on; a negative offset counts from the end. It works without mysqld.
func (s *Server) LogRead(r protocol.LogRead) (chunk protocol.LogChunk, err error) {
	path, ok := s.logs[r.Name]
	if !ok {
		return protocol.LogChunk{}, failf(ErrNotFound, "there is no log %q", r.Name)
	}
	f, err := os.Open(path) // #nosec G304 -- one of three paths of the agent's configuration
	if errors.Is(err, fs.ErrNotExist) {
		return protocol.LogChunk{}, nil
	}
	unreadable := func(err error) (protocol.LogChunk, error) {
		return protocol.LogChunk{}, &Error{Kind: ErrInternal, Text: fmt.Sprintf("log %q cannot be read", r.Name), Cause: err}
	}
	if err != nil {
		return unreadable(err)
	}
	defer func() { _ = f.Close() }()
	st, err := f.Stat()
	if err != nil {
		return unreadable(err)
	}
	chunk.Size, chunk.Offset = st.Size(), r.Offset
	if chunk.Offset < 0 {
		chunk.Offset = max(0, chunk.Size+chunk.Offset)
	}
	chunk.Offset = min(chunk.Offset, chunk.Size)
	limit := int64(r.Limit)
	if limit <= 0 || limit > maxLogChunk {
		limit = maxLogChunk
	}
	buf := make([]byte, min(limit, chunk.Size-chunk.Offset))
	n, err := f.ReadAt(buf, chunk.Offset)
	if err != nil && !errors.Is(err, io.EOF) {
		return unreadable(err)
	}
	chunk.Data = buf[:n]
	return chunk, nil
}
