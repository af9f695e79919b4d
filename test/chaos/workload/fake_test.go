package workload

import (
	"context"
	"database/sql/driver"
	"errors"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/go-sql-driver/mysql"
)

// server pretends to be a database, as far as the workloads need one, and cheats as it is told.
type server struct {
	mu        sync.Mutex
	set       []int64
	registers map[int64]int64
	held      sync.Mutex // by a transaction: there is one at a time
	commits   int
	open      bool
	away      bool // whoever connects is refused
	started   int64

	// insert may change what becomes of the nth row; nil: it is stored and acknowledged.
	insert func(n int, row int64) (stored []int64, err error)
	// read may change what is read of the set.
	read func(rows []int64) []int64
	// commit may change what becomes of the nth commit of registers: whether it is done, and what is said.
	commit func(n int) (done bool, err error)
	// stale has registers be read as they were a while ago.
	stale map[int64]int64
}

var (
	errLost    = mysql.ErrInvalidConn // the connection ended while an answer was waited for
	errRefused = &mysql.MySQLError{Number: 1290, Message: "read only"}
	errOffline = &mysql.MySQLError{Number: 3032, Message: "offline"}
)

func newServer() *server { return &server{registers: map[int64]int64{}, open: true} }

// change changes the server while it is used.
func (s *server) change(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

func (s *server) Connect(context.Context) (driver.Conn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.away {
		return nil, errOffline
	}
	s.started++
	return &connection{s: s, id: s.started}, nil
}

func (s *server) Driver() driver.Driver { return nil }

type connection struct {
	s       *server
	id      int64
	in      bool // a transaction, which holds the server
	changes map[int64]int64
}

func (c *connection) Prepare(string) (driver.Stmt, error) { return nil, errors.New("not here") }
func (c *connection) Begin() (driver.Tx, error)           { return nil, errors.New("not here") }

func (c *connection) Close() error {
	c.end()
	return nil
}

func (c *connection) end() {
	if c.in {
		c.in, c.changes = false, nil
		c.s.held.Unlock()
	}
}

func (c *connection) ExecContext(_ context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	arg := func(n int) int64 { return args[n].Value.(int64) }
	switch query {
	case begin:
		c.s.held.Lock()
		c.in, c.changes = true, map[int64]int64{}
		return driver.ResultNoRows, nil
	case commit:
		defer c.end()
		return driver.ResultNoRows, c.s.apply(c.changes)
	case registerPut:
		if c.in {
			c.changes[arg(0)] = arg(1)
			return driver.ResultNoRows, nil
		}
		c.s.held.Lock()
		defer c.s.held.Unlock()
		return driver.ResultNoRows, c.s.apply(map[int64]int64{arg(0): arg(1)})
	case registerChange:
		c.changes[arg(1)] = arg(0)
		return driver.ResultNoRows, nil
	case setInsert:
		return driver.ResultNoRows, c.s.add(arg(0))
	case watchWrite:
		c.s.mu.Lock()
		defer c.s.mu.Unlock()
		if !c.s.open {
			return nil, errRefused
		}
		return driver.ResultNoRows, nil
	}
	if strings.HasPrefix(query, "CREATE TABLE") || strings.HasPrefix(query, "DELETE") || strings.HasPrefix(query, "INSERT INTO chaos_re") {
		return driver.ResultNoRows, nil
	}
	return nil, errors.New("what is " + query)
}

func (s *server) apply(changes map[int64]int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.commits++
	done, err := true, error(nil)
	if s.commit != nil {
		done, err = s.commit(s.commits)
	}
	if done {
		maps.Copy(s.registers, changes)
	}
	return err
}

func (s *server) add(row int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.insert == nil {
		s.set = append(s.set, row)
		return nil
	}
	s.commits++
	stored, err := s.insert(s.commits, row)
	s.set = append(s.set, stored...)
	return err
}

func (c *connection) QueryContext(_ context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	switch query {
	case registerGet, registerHold:
		key := args[0].Value.(int64)
		v, ok := c.s.registers[key]
		if c.s.stale != nil && query == registerGet {
			v, ok = c.s.stale[key]
		}
		if !ok {
			return &table{columns: 1}, nil
		}
		return &table{columns: 1, rows: [][]driver.Value{{v}}}, nil
	case setRead:
		rows := slices.Clone(c.s.set)
		if c.s.read != nil {
			rows = c.s.read(rows)
		}
		t := &table{columns: 1}
		for _, r := range rows {
			if r >= args[0].Value.(int64) {
				t.rows = append(t.rows, []driver.Value{r})
			}
		}
		return t, nil
	case watchLook:
		if c.s.away {
			return nil, errLost
		}
		return &table{columns: 4, rows: [][]driver.Value{{!c.s.open, false, "server", c.id}}}, nil
	}
	return nil, errors.New("what is " + query)
}

type table struct {
	columns int
	rows    [][]driver.Value
}

func (t *table) Columns() []string { return make([]string, t.columns) }
func (t *table) Close() error      { return nil }

func (t *table) Next(to []driver.Value) error {
	if len(t.rows) == 0 {
		return io.EOF
	}
	copy(to, t.rows[0])
	t.rows = t.rows[1:]
	return nil
}
