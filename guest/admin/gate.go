package admin

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"
)

// State is what matters of a server to whoever decides about its gate.
type State struct {
	Version        string
	UUID           string
	ReadOnly       bool
	SuperReadOnly  bool
	Offline        bool
	PartialRevokes bool
	BufferPool     int64 // bytes
	Granule        int64 // bytes: what the buffer pool grows and shrinks by
}

// Open reports whether clients can come in and write.
func (s State) Open() bool { return !s.ReadOnly && !s.SuperReadOnly && !s.Offline }

// Guarded reports whether clients can come in and read, while only Huker's own accounts can write.
func (s State) Guarded() bool { return s.ReadOnly && !s.SuperReadOnly && !s.Offline }

// Locked reports whether clients can neither come in nor write.
func (s State) Locked() bool { return s.ReadOnly && s.SuperReadOnly && s.Offline }

// State reads the server's state.
func (s *Server) State(ctx context.Context) (State, error) {
	var st State
	err := s.db.QueryRowContext(ctx, `SELECT @@GLOBAL.innodb_version, @@GLOBAL.server_uuid, @@GLOBAL.read_only, @@GLOBAL.super_read_only,
		@@GLOBAL.offline_mode, @@GLOBAL.partial_revokes, @@GLOBAL.innodb_buffer_pool_size,
		@@GLOBAL.innodb_buffer_pool_chunk_size * @@GLOBAL.innodb_buffer_pool_instances`).
		Scan(&st.Version, &st.UUID, &st.ReadOnly, &st.SuperReadOnly, &st.Offline, &st.PartialRevokes, &st.BufferPool, &st.Granule)
	return st, translate("read the server's state", err, "")
}

// Open lets clients in to write, and verifies it. Clients come in last, so that none meets a server that cannot be written to. One that was a replica
// applies what it received first: ErrNotReady until it has.
func (s *Server) Open(ctx context.Context) (State, error) {
	if err := s.unfollow(ctx); err != nil {
		return State{}, err
	}
	// Names in GRANT would change their meaning, and root's restrictions would not hold, if users could run without partial_revokes.
	const op = "open the database"
	if err := s.run(ctx, op, stmt("SET GLOBAL partial_revokes = ON, GLOBAL super_read_only = OFF, GLOBAL read_only = OFF"), stmt("SET GLOBAL offline_mode = OFF")); err != nil {
		return State{}, err
	}
	st, err := s.State(ctx)
	if err != nil {
		return State{}, err
	}
	if !st.Open() {
		return st, failf(ErrInternal, "%s: read_only=%v super_read_only=%v offline_mode=%v after it was opened", op, st.ReadOnly, st.SuperReadOnly, st.Offline)
	}
	return st, nil
}

// Guard lets clients in to read, and has them be refused when they write (error 1290); the agent's account may. read_only waits for statements that write, and
// while it does nobody else can begin one: so it waits for a second at most, which is the least that there is, and ErrNotReady is that they go on. With shut,
// clients are out from before that until it has taken effect.
func (s *Server) Guard(ctx context.Context, shut bool) (State, error) {
	if err := s.unfollow(ctx); err != nil {
		return State{}, err
	}
	const op = "have the database take no writes"
	if shut {
		if err := s.run(ctx, op, stmt("SET GLOBAL offline_mode = ON")); err != nil {
			return State{}, err
		}
	}
	conn, err := s.db.Conn(ctx)
	if err != nil {
		return State{}, translate(op, err, "")
	}
	defer func() { _ = conn.Close() }()
	for _, text := range []string{"SET SESSION lock_wait_timeout = 1", "SET GLOBAL read_only = ON", "SET SESSION lock_wait_timeout = DEFAULT"} {
		if _, err = conn.ExecContext(ctx, text); err != nil {
			break
		}
	}
	if err != nil {
		_, _ = conn.ExecContext(ctx, "SET SESSION lock_wait_timeout = DEFAULT") // a session that is lost needs none
		return State{}, translate(op, err, "")
	}
	if err := s.run(ctx, op, stmt("SET GLOBAL partial_revokes = ON, GLOBAL super_read_only = OFF"), stmt("SET GLOBAL offline_mode = OFF")); err != nil {
		return State{}, err
	}
	st, err := s.State(ctx)
	if err != nil {
		return State{}, err
	}
	if !st.Guarded() {
		return st, failf(ErrInternal, "%s: read_only=%v super_read_only=%v offline_mode=%v after that", op, st.ReadOnly, st.SuperReadOnly, st.Offline)
	}
	return st, nil
}

// Lock shuts clients out and stops writes, and verifies it. read_only waits for commits that are under way, so ctx should end.
func (s *Server) Lock(ctx context.Context) error {
	const op = "lock the database"
	if err := s.run(ctx, op, stmt("SET GLOBAL offline_mode = ON"), stmt("SET GLOBAL super_read_only = ON")); err != nil {
		return err
	}
	st, err := s.State(ctx)
	if err != nil {
		return err
	}
	if !st.Locked() {
		return failf(ErrInternal, "%s: it is still open", op)
	}
	return nil
}

// Apply sets variables and says which of them can only change with a restart.
func (s *Server) Apply(ctx context.Context, settings map[string]string) (needRestart []string, err error) {
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		_, err := s.db.ExecContext(ctx, "SET GLOBAL "+ident(name)+" = "+settingValue(settings[name]))
		switch {
		case isNumber(err, erNotDynamic):
			needRestart = append(needRestart, name)
		case err != nil:
			return needRestart, translate(fmt.Sprintf("set %s", name), err, "")
		}
	}
	return needRestart, nil
}

// Resized waits until the buffer pool has its new size: memory that is to be taken away must be free by then.
func (s *Server) Resized(ctx context.Context) error {
	const op = "resize the buffer pool"
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		var name, code string
		err := s.db.QueryRowContext(ctx, "SHOW GLOBAL STATUS LIKE 'Innodb_buffer_pool_resize_status_code'").Scan(&name, &code)
		switch {
		case errors.Is(err, sql.ErrNoRows), err == nil && code == "0": // no such status before 8.0.31
			return nil
		case err != nil:
			return translate(op, err, "")
		}
		select {
		case <-ctx.Done():
			return translate(op, ctx.Err(), "")
		case <-tick.C:
		}
	}
}

// settingValue writes a number or a keyword as it is, and anything else as a string.
func settingValue(v string) string {
	if numberPattern.MatchString(v) {
		return v
	}
	return quote(v)
}
