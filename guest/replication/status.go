package replication

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/huker/huker/internal/durability"
	"github.com/huker/huker/internal/failover"
	"github.com/huker/huker/internal/gtid"
	"github.com/huker/huker/internal/protocol"
)

// lookTimeout bounds a reading. It takes milliseconds: nothing in it waits for commits.
const lookTimeout = 5 * time.Second

// Semi-synchronous settings that a promise rests on. With another one the server counts as asynchronous.
const (
	semiTimeout   = 4294967295 // ms, the most there is: after it MySQL goes on without acknowledgements
	semiWaitPoint = "AFTER_SYNC"
)

// waiting is the state of a session that waits for acknowledgements.
const waiting = "Waiting for semi-sync ACK from replica"

// stateQuery reads all but the sets of transactions, in one row. Lists come as JSON.
const stateQuery = `SELECT @@GLOBAL.server_uuid, @@GLOBAL.offline_mode, @@GLOBAL.super_read_only, @@GLOBAL.read_only,
 @@GLOBAL.rpl_semi_sync_source_enabled AND @@GLOBAL.rpl_semi_sync_source_timeout = ? AND @@GLOBAL.rpl_semi_sync_source_wait_point = ?
  AND @@GLOBAL.rpl_semi_sync_source_wait_no_replica
  AND (SELECT VARIABLE_VALUE FROM performance_schema.global_status WHERE VARIABLE_NAME = 'Rpl_semi_sync_source_status') = 'ON',
 @@GLOBAL.rpl_semi_sync_source_wait_for_replica_count, @@GLOBAL.rpl_semi_sync_replica_enabled,
 (SELECT JSON_OBJECT('state', s.SERVICE_STATE, 'number', s.LAST_ERROR_NUMBER, 'text', s.LAST_ERROR_MESSAGE, 'host', c.HOST, 'note', c.PUBLIC_KEY_PATH,
   'failed', TIMESTAMPDIFF(MICROSECOND, NULLIF(s.LAST_ERROR_TIMESTAMP, 0), NOW(6)),
   'heard', TIMESTAMPDIFF(MICROSECOND, NULLIF(GREATEST(s.LAST_HEARTBEAT_TIMESTAMP, s.LAST_QUEUED_TRANSACTION_END_QUEUE_TIMESTAMP,
     s.QUEUEING_TRANSACTION_START_QUEUE_TIMESTAMP), 0), NOW(6)))
  FROM performance_schema.replication_connection_status s JOIN performance_schema.replication_connection_configuration c USING (CHANNEL_NAME)
  WHERE CHANNEL_NAME = ''),
 (SELECT JSON_ARRAYAGG(JSON_OBJECT('number', LAST_ERROR_NUMBER, 'text', LAST_ERROR_MESSAGE)) FROM (
   SELECT LAST_ERROR_NUMBER, LAST_ERROR_MESSAGE FROM performance_schema.replication_applier_status_by_worker WHERE CHANNEL_NAME = '' AND LAST_ERROR_NUMBER <> 0
   UNION ALL
   SELECT LAST_ERROR_NUMBER, LAST_ERROR_MESSAGE FROM performance_schema.replication_applier_status_by_coordinator WHERE CHANNEL_NAME = '' AND LAST_ERROR_NUMBER <> 0
  ) failed),
 (SELECT JSON_ARRAYAGG(JSON_OBJECT('user', User, 'locked', account_locked)) FROM mysql.user WHERE Host = ? AND User LIKE 'huker|_r|_%' ESCAPE '|'),
 (SELECT JSON_ARRAYAGG(JSON_OBJECT('id', t.PROCESSLIST_ID, 'user', t.PROCESSLIST_USER, 'command', t.PROCESSLIST_COMMAND, 'state', t.PROCESSLIST_STATE,
   'acks', (SELECT CONVERT(VARIABLE_VALUE USING utf8mb4) FROM performance_schema.user_variables_by_thread v WHERE v.THREAD_ID = t.THREAD_ID AND VARIABLE_NAME = 'rpl_semi_sync_replica'),
   'uuid', (SELECT CONVERT(VARIABLE_VALUE USING utf8mb4) FROM performance_schema.user_variables_by_thread v WHERE v.THREAD_ID = t.THREAD_ID AND VARIABLE_NAME = 'replica_uuid')))
  FROM performance_schema.threads t WHERE t.PROCESSLIST_ID IS NOT NULL AND
   (t.PROCESSLIST_COMMAND LIKE 'Binlog Dump%' OR t.PROCESSLIST_USER LIKE 'huker|_r|_%' ESCAPE '|' OR t.PROCESSLIST_STATE = ?))`

// setsQuery reads the sets of transactions. What moves from one to the next is read where it comes from first, so that it is in one of them.
const setsQuery = `SELECT (SELECT RECEIVED_TRANSACTION_SET FROM performance_schema.replication_connection_status WHERE CHANNEL_NAME = ''),
 @@GLOBAL.gtid_purged, @@GLOBAL.gtid_owned, @@GLOBAL.gtid_executed`

// receiver is the channel's row.
type receiver struct {
	State  string   `json:"state"`
	Number int      `json:"number"`
	Text   string   `json:"text"`
	Host   string   `json:"host"`
	Note   string   `json:"note"`
	Failed *float64 `json:"failed"` // microseconds ago, at the last error; nil: there was none
	Heard  *float64 `json:"heard"`  // microseconds ago; nil: never
}

type failure struct {
	Number int    `json:"number"`
	Text   string `json:"text"`
}

type account struct {
	User   string `json:"user"`
	Locked string `json:"locked"`
}

// thread is a session that replicates, may do so, or waits for acknowledgements.
type thread struct {
	ID      uint64  `json:"id"`
	User    *string `json:"user"`
	Command string  `json:"command"`
	State   *string `json:"state"`
	Acks    *string `json:"acks"` // "1": it acknowledges
	UUID    *string `json:"uuid"` // of the replica
}

func (t thread) dumps() bool { return strings.HasPrefix(t.Command, "Binlog Dump") }

func (t thread) waits() bool { return t.State != nil && *t.State == waiting }

func (t thread) user() string { return orEmpty(t.User) }

func orEmpty(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// reading is a row of stateQuery.
type reading struct {
	begun                            time.Time
	uuid                             string
	offline, superReadOnly, readOnly bool
	semi                             bool
	acks                             int
	acknowledges                     bool
	receiver                         *receiver // nil: there is none
	failures                         []failure
	accounts                         []account
	threads                          []thread
}

func (s *Server) read(ctx context.Context, c *sql.Conn) (reading, error) {
	r := reading{begun: time.Now()}
	var semi sql.NullBool
	var receives, failures, accounts, threads sql.Null[[]byte]
	err := c.QueryRowContext(ctx, stateQuery, int64(semiTimeout), semiWaitPoint, accountHost, waiting).Scan(&r.uuid, &r.offline, &r.superReadOnly, &r.readOnly,
		&semi, &r.acks, &r.acknowledges, &receives, &failures, &accounts, &threads)
	if err != nil {
		return r, fmt.Errorf("read the server's state: %w", err)
	}
	r.semi = semi.Bool
	for _, part := range []struct {
		from sql.Null[[]byte]
		to   any
	}{{receives, &r.receiver}, {failures, &r.failures}, {accounts, &r.accounts}, {threads, &r.threads}} {
		if !part.from.Valid {
			continue
		}
		if err := json.Unmarshal(part.from.V, part.to); err != nil {
			return r, fmt.Errorf("read the server's state: %w", err)
		}
	}
	return r, nil
}

// Status says how the server is, under the record that the agent goes by. Members is where the others are, as far as that is known: a receiver that is pointed at
// an address which is its source's no more has no source. It takes two round trips. A reading that ctx ends before it is over goes on, since breaking it off
// would cost what the Server remembers; the next one waits for it.
func (s *Server) Status(ctx context.Context, r durability.Record, members map[string]protocol.Member) (failover.Status, error) {
	var st failover.Status
	err := s.turnOf(ctx, lookTimeout, func(ctx context.Context) error {
		s.warm()
		unsettled := s.settle(ctx)
		now, err := s.status(ctx, r, members)
		if err != nil {
			return err // who does not answer says nothing of a clone either
		}
		if unsettled != nil {
			s.log.Error("it is not known whether the clone is complete", "op", "clone", "err", unsettled)
		}
		s.keepWriting(now, r)
		st = now
		return nil
	})
	if err != nil {
		return failover.Status{}, fmt.Errorf("replication: %w", err)
	}
	return st, nil
}

func (s *Server) status(ctx context.Context, r durability.Record, members map[string]protocol.Member) (st failover.Status, err error) {
	err = s.look.use(ctx, func(ctx context.Context, c *sql.Conn) error {
		if s.look.fresh() {
			s.log.Warn("the connection was lost: what was remembered is proven anew", "op", "status")
			s.forget()
		}
		now, err := s.read(ctx, c)
		if err != nil {
			return err
		}
		s.learn(r, s.name(now.uuid, r))
		s.proveOff(ctx, now)
		s.mu.Lock()
		s.links = now.links()
		s.mu.Unlock()
		st = s.describe(now, r, members)
		return readSets(ctx, c, &st) // after all that says that they do not change any more
	})
	if err != nil {
		return failover.Status{}, err
	}
	if failover.InEffect(s.cfg.Instance, r, st) {
		s.remember(func(m *memory) { m.enforced = max(m.enforced, r.Epoch) })
	}
	st.Serving.Enforced = s.remembered().enforced
	return st, nil
}

func readSets(ctx context.Context, c *sql.Conn, st *failover.Status) error {
	var received sql.NullString
	var purged, owned, executed string
	if err := c.QueryRowContext(ctx, setsQuery).Scan(&received, &purged, &owned, &executed); err != nil {
		return fmt.Errorf("read the server's transactions: %w", err)
	}
	for _, set := range []struct {
		text  string
		to    *gtid.Set
		parse func(string) (gtid.Set, error)
	}{{received.String, &st.Retrieved, gtid.Parse}, {purged, &st.Purged, gtid.Parse}, {owned, &st.Owned, parseOwned}, {executed, &st.Executed, gtid.Parse}} {
		var err error
		if *set.to, err = set.parse(set.text); err != nil {
			return fmt.Errorf("read the server's transactions: %w", err)
		}
	}
	return nil
}

// describe makes a status of a reading and of what is remembered.
func (s *Server) describe(now reading, r durability.Record, members map[string]protocol.Member) failover.Status {
	writes := s.writes(now)
	guarded := writes == failover.WritesOn && now.readOnly
	s.unguarded(guarded)
	m := s.hear(now)
	st := failover.Status{
		Epoch: r.Epoch, Server: s.identity(now.uuid, r), Mysqld: failover.MysqldUp, MysqldFor: time.Since(s.since), Offline: now.offline,
		Writes: writes, Guarded: guarded, Rebuilding: s.cfg.Clones.unfinished(),
		Receiver: now.source(members), Applier: now.applier(), Serving: now.serving(r),
	}
	if !m.connected.IsZero() {
		st.Receiver.Fresh = time.Since(m.connected) < freshFor
		st.Receiver.HeardAgo = min(st.Receiver.HeardAgo, time.Since(m.connected))
	}
	if st.Receiver.HeardAgo == never {
		st.Receiver.HeardAgo = st.MysqldFor
	}
	if t, _ := s.running(taskStop); t != nil {
		st.Receiver.StoppingFor = time.Since(t.since)
	}
	st.Receiver.Broken, st.Receiver.Refused = m.broken, now.refused(m.startedAt)
	st.Serving.Seal, st.Serving.Proven, st.Serving.ProbeAgo = m.seal, m.proven, s.probeAgo(st.Open(), guarded || s.guarding())
	return st
}

// writes is what super_read_only does. The variable alone is no proof: it reads 1 while the statement still waits for commits. With read_only alone the agent
// still writes, and so could a statement that waits.
func (s *Server) writes(now reading) failover.WriteState {
	off := now.superReadOnly && now.readOnly
	s.remember(func(m *memory) { m.off = m.off && off })
	switch {
	case off && s.remembered().off:
		return failover.WritesOff
	case now.superReadOnly:
		return failover.WritesStopping
	}
	if t, _ := s.running(taskReadOnly); t != nil {
		return failover.WritesStopping
	}
	return failover.WritesOn
}

// freshFor is how long a receiver is new: longer than it takes to acknowledge what had waited for it, and to tell of that.
const freshFor = 2 * time.Second

// never is for a receiver that has heard nothing.
const never = time.Duration(math.MaxInt64)

// source is how the server replicates.
func (now reading) source(members map[string]protocol.Member) failover.Receiver {
	out := failover.Receiver{State: failover.ReceiverStopped, HeardAgo: never}
	in := now.receiver
	if in == nil {
		return out
	}
	switch in.State {
	case "ON":
		out.State = failover.ReceiverRunning
	case "OFF":
	default: // CONNECTING, and what a newer MySQL may say
		out.State = failover.ReceiverConnecting
	}
	if id, ok := strings.CutPrefix(in.Note, sourceNote); ok && in.Host != "" {
		if m, known := members[id]; !known || m.Address == in.Host {
			out.Source = id
		}
	}
	// The variable is changed only while the receiver is stopped.
	out.Acknowledges = out.State != failover.ReceiverStopped && now.acknowledges
	if in.Heard != nil {
		out.HeardAgo = max(0, time.Duration(*in.Heard)*time.Microsecond)
	}
	return out
}

// hear notes when the receiver connected and when it broke, and gives what is remembered.
func (s *Server) hear(now reading) memory {
	in := now.receiver
	var heard time.Time
	if in != nil && in.Heard != nil {
		heard = time.Now().Add(-time.Duration(*in.Heard) * time.Microsecond)
	}
	s.remember(func(m *memory) {
		switch {
		case in == nil || in.State != "ON":
			m.connected = time.Time{}
		case m.connected.IsZero():
			m.connected = time.Now()
		}
		switch {
		case in == nil:
			m.broken = ""
		// Connections are tried again for ever, so what stops a receiver is something else, which stops it the next time, too.
		case in.State == "OFF" && in.Number != 0 && m.started:
			m.broken, m.brokenAt = fmt.Sprintf("%d: %s", in.Number, in.Text), time.Now()
		case in.State == "ON" && heard.After(m.brokenAt):
			m.broken = ""
		}
	})
	return s.remembered()
}

// refused says whether a receiver has failed to connect since it was started. It tries again after a second; until it has failed it is on its way, and a source whose
// replica is stopped as it comes in may look after its replicas' acknowledgements up to a second late.
func (now reading) refused(started time.Time) bool {
	in := now.receiver
	return in != nil && in.State != "ON" && in.State != "OFF" && in.Number != 0 && in.Failed != nil && !started.IsZero() &&
		time.Duration(*in.Failed)*time.Microsecond < now.begun.Sub(started)
}

// applier is why the applier does not work.
func (now reading) applier() string {
	if len(now.failures) == 0 {
		return ""
	}
	// The coordinator only says that a worker failed, and where to read why: it comes last.
	return fmt.Sprintf("%d: %s", now.failures[0].Number, now.failures[0].Text)
}

// serving is the primary's side. Whoever could replicate and is not to is in Admitted, too, under the account's name if it is nobody's of the record: so
// that it differs from what it should be.
func (now reading) serving(r durability.Record) failover.Serving {
	out := failover.Serving{SemiSync: now.semi, Acks: now.acks}
	members := recordNames(r)
	admitted := map[string]bool{}
	for _, a := range now.accounts {
		if a.Locked != "Y" {
			admitted[members.of(a.User)] = true
		}
	}
	attached := map[string]bool{}
	for _, t := range now.threads {
		if t.waits() {
			out.Waiting++
		}
		acks := orEmpty(t.Acks) == "1"
		if isAccount(t.User) || t.dumps() && acks {
			admitted[members.of(t.user())] = true
		}
		if id, known := members[t.user()]; known && t.dumps() && acks && slices.Contains(r.Ackers(), id) && is(r, id, orEmpty(t.UUID)) {
			attached[id] = true
		}
	}
	out.Admitted, out.Attached = sortedKeys(admitted), sortedKeys(attached)
	return out
}

// is says whether a replica that names itself by a server_uuid is the one that the record means.
func is(r durability.Record, id, uuid string) bool {
	want, _, _ := strings.Cut(r.Servers[id], "@")
	return want == "" || want == uuid
}

func isAccount(user *string) bool { return strings.HasPrefix(orEmpty(user), accountPrefix) }

// recordNames are the accounts of all whom a record names.
func recordNames(r durability.Record) instances {
	ids := []string{r.Primary}
	if r.Intent != nil {
		ids = append(ids, r.Intent.From, r.Intent.To)
		ids = append(ids, r.Intent.Members...)
	}
	for id := range r.Servers {
		ids = append(ids, id)
	}
	return namesOf(ids, r.Members, r.Learners)
}

func sortedKeys(set map[string]bool) []string {
	if len(set) == 0 {
		return nil
	}
	out := make([]string, 0, len(set))
	for k := range set {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}
