package admin

import (
	"context"
	"database/sql"
	"errors"
)

// unfollow has a server that was a replica follow nobody: it applies what it has received, all of it, and forgets its source then.
// ErrNotReady: it still applies. What cannot be applied is not waited for, as its user wants what there is.
func (s *Server) unfollow(ctx context.Context) error {
	const op = "leave the source"
	var drained, failed bool
	err := s.db.QueryRowContext(ctx, `SELECT GTID_SUBSET(s.RECEIVED_TRANSACTION_SET, @@GLOBAL.gtid_executed),
		EXISTS (SELECT * FROM performance_schema.replication_applier_status_by_worker w WHERE w.CHANNEL_NAME = '' AND w.LAST_ERROR_NUMBER <> 0) OR
		EXISTS (SELECT * FROM performance_schema.replication_applier_status_by_coordinator c WHERE c.CHANNEL_NAME = '' AND c.LAST_ERROR_NUMBER <> 0)
		FROM performance_schema.replication_connection_configuration f JOIN performance_schema.replication_connection_status s USING (CHANNEL_NAME)
		WHERE f.CHANNEL_NAME = '' AND f.HOST <> ''`).Scan(&drained, &failed)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return nil // it follows nobody
	case err != nil:
		return translate(op, err, "")
	case drained || failed:
		return s.run(ctx, op, stmt("STOP REPLICA"), stmt("RESET REPLICA ALL"))
	}
	if err := s.run(ctx, op, stmt("STOP REPLICA IO_THREAD"), stmt("START REPLICA SQL_THREAD")); err != nil {
		return err
	}
	return failf(ErrNotReady, "it was a replica, and applies what it received before it opens")
}
