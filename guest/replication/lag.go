package replication

import (
	"context"
	"database/sql"
	"time"
)

// lagQuery gives, in microseconds: whether everything received was applied; how old what is being applied is, or what was applied last, by the clock of its source; since
// when nothing was heard; how late what came last came, unless the source has said since that there is no more.
const lagQuery = `SELECT GTID_SUBSET(s.RECEIVED_TRANSACTION_SET, @@GLOBAL.gtid_executed), s.SERVICE_STATE = 'ON',
 (SELECT TIMESTAMPDIFF(MICROSECOND, COALESCE(NULLIF(MIN(NULLIF(APPLYING_TRANSACTION_IMMEDIATE_COMMIT_TIMESTAMP, 0)), 0), NULLIF(MAX(LAST_APPLIED_TRANSACTION_IMMEDIATE_COMMIT_TIMESTAMP), 0)), NOW(6))
  FROM performance_schema.replication_applier_status_by_worker WHERE CHANNEL_NAME = ''),
 TIMESTAMPDIFF(MICROSECOND, NULLIF(GREATEST(s.LAST_HEARTBEAT_TIMESTAMP, s.LAST_QUEUED_TRANSACTION_END_QUEUE_TIMESTAMP, s.QUEUEING_TRANSACTION_START_QUEUE_TIMESTAMP), 0), NOW(6)),
 IF(s.LAST_HEARTBEAT_TIMESTAMP > s.LAST_QUEUED_TRANSACTION_END_QUEUE_TIMESTAMP, 0, TIMESTAMPDIFF(MICROSECOND,
  NULLIF(s.LAST_QUEUED_TRANSACTION_IMMEDIATE_COMMIT_TIMESTAMP, 0), s.LAST_QUEUED_TRANSACTION_END_QUEUE_TIMESTAMP))
 FROM performance_schema.replication_connection_status s WHERE CHANNEL_NAME = ''`

// Lag is how far a replica is behind what it has received, and behind its source as far as it knows: no less than since when it has not heard of it.
// Negative: not known. The clocks of the source and of this machine go into it.
func (s *Server) Lag(ctx context.Context) time.Duration {
	var applied, running bool
	var applying, heard, late sql.NullInt64
	err := s.hand.use(ctx, func(ctx context.Context, c *sql.Conn) error {
		return c.QueryRowContext(ctx, lagQuery).Scan(&applied, &running, &applying, &heard, &late)
	})
	if err != nil || !heard.Valid {
		return -1
	}
	micros := func(n sql.NullInt64) time.Duration { return max(0, time.Duration(n.Int64)*time.Microsecond) }
	lag := micros(late)
	if silent := micros(heard); !running || silent > 2*time.Second { // a heartbeat comes every half second
		lag = max(lag, silent)
	}
	if !applied {
		if !applying.Valid {
			return -1
		}
		lag = max(lag, micros(applying))
	}
	return lag
}
