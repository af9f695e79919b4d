package replication

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/huker/huker/internal/durability"
	"github.com/huker/huker/internal/protocol"
)

// channel is how the server is set up to replicate.
type channel struct {
	host, note        string
	auto              bool // SOURCE_AUTO_POSITION
	receiver, applier string
	drained           bool
}

const channelQuery = `SELECT c.HOST, c.PUBLIC_KEY_PATH, c.AUTO_POSITION = '1', s.SERVICE_STATE, a.SERVICE_STATE,
 GTID_SUBSET(s.RECEIVED_TRANSACTION_SET, @@GLOBAL.gtid_executed)
 FROM performance_schema.replication_connection_configuration c JOIN performance_schema.replication_connection_status s USING (CHANNEL_NAME)
 JOIN performance_schema.replication_applier_status a USING (CHANNEL_NAME) WHERE CHANNEL_NAME = ''`

// readChannel gives a channel of an empty host where none is set up.
func readChannel(ctx context.Context, c *sql.Conn) (channel, error) {
	var ch channel
	err := c.QueryRowContext(ctx, channelQuery).Scan(&ch.host, &ch.note, &ch.auto, &ch.receiver, &ch.applier, &ch.drained)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return channel{receiver: "OFF", applier: "OFF", drained: true}, nil
	case err != nil:
		return ch, fmt.Errorf("read the channel: %w", err)
	}
	return ch, nil
}

// stop stops the receiver and sees it stopped. It waits for what is being written to the relay log, for ever if there is no space.
func (s *Server) stop(ctx context.Context) error {
	s.remember(func(m *memory) { m.started = false })
	return s.begin(ctx, taskStop, "", func(ctx context.Context, c *sql.Conn) error {
		if err := run(ctx, c, "STOP REPLICA IO_THREAD"); err != nil {
			return err
		}
		ch, err := readChannel(ctx, c)
		if err == nil && ch.receiver != "OFF" {
			return fmt.Errorf("the receiver is %s after it was stopped", ch.receiver)
		}
		return err
	})
}

// drain has the applier run.
func (s *Server) drain(ctx context.Context) error {
	return s.act.use(ctx, func(ctx context.Context, c *sql.Conn) error {
		if ch, err := readChannel(ctx, c); err != nil || ch.applier == "ON" {
			return err
		}
		return run(ctx, c, "START REPLICA SQL_THREAD")
	})
}

// point points the receiver at a member. Relay logs that hold what was not applied are never given up: with both threads stopped, MySQL deletes them.
// So the applier runs meanwhile wherever MySQL allows that, which is whenever the channel was set up before.
func (s *Server) point(ctx context.Context, source string, members map[string]protocol.Member) error {
	m, ok := members[source]
	if !ok || m.Address == "" {
		return fmt.Errorf("%w: %s", ErrUnknownMember, source)
	}
	user, err := Account(s.cfg.Instance)
	if err != nil {
		return err
	}
	return s.act.use(ctx, func(ctx context.Context, c *sql.Conn) error {
		ch, err := readChannel(ctx, c)
		switch {
		case err != nil:
			return err
		case ch.receiver != "OFF":
			return fmt.Errorf("%w: the receiver is %s", ErrRefused, ch.receiver)
		case !ch.drained:
			return fmt.Errorf("%w: it has not applied everything that it received", ErrRefused)
		}
		var auto string
		switch {
		case ch.auto && ch.applier != "ON":
			err = run(ctx, c, "START REPLICA SQL_THREAD")
		case !ch.auto:
			auto = ", SOURCE_AUTO_POSITION = 1"
			if ch.applier == "ON" {
				err = run(ctx, c, "STOP REPLICA SQL_THREAD")
			}
		}
		if err != nil {
			return err
		}
		return run(ctx, c, `CHANGE REPLICATION SOURCE TO SOURCE_HOST = ?, SOURCE_PORT = 3306, SOURCE_USER = ?, SOURCE_PASSWORD = '',
			SOURCE_SSL = 1, SOURCE_SSL_CA = ?, SOURCE_SSL_CERT = ?, SOURCE_SSL_KEY = ?, SOURCE_SSL_VERIFY_SERVER_CERT = 1, SOURCE_PUBLIC_KEY_PATH = ?,
			GET_SOURCE_PUBLIC_KEY = 0, SOURCE_CONNECT_RETRY = 1, SOURCE_RETRY_COUNT = 4294967295, SOURCE_HEARTBEAT_PERIOD = ?`+auto,
			m.Address, user, s.cfg.CA, s.cfg.Cert, s.cfg.Key, sourceNote+source, heartbeat)
	})
}

// start starts the receiver and the applier. Whether the receiver acknowledges is settled before.
func (s *Server) start(ctx context.Context, r durability.Record, acknowledge bool) error {
	return s.act.use(ctx, func(ctx context.Context, c *sql.Conn) error {
		ch, err := readChannel(ctx, c)
		switch {
		case err != nil:
			return err
		case ch.receiver != "OFF":
			return fmt.Errorf("%w: the receiver is %s", ErrRefused, ch.receiver)
		}
		began := time.Now()
		if err := runAll(ctx, c, fmt.Sprintf("SET GLOBAL sync_relay_log = %d", r.Policy.SyncRelayLog()),
			fmt.Sprintf("SET GLOBAL rpl_semi_sync_replica_enabled = %t", acknowledge), "START REPLICA"); err != nil {
			return err
		}
		s.remember(func(m *memory) { m.started, m.startedAt = true, began })
		return nil
	})
}
