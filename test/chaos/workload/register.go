package workload

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/huker/huker/test/chaos/check"
)

// Registers has clients read, write and swap the values of some registers.
type Registers struct {
	Connector driver.Connector
	Clock     Clock
	Seed      uint64
	Clients   int           // 0: 6
	Keys      int           // used at a time; 0: 3
	Length    int           // operations on a register, before another takes its place; 0: 400
	Pace      time.Duration // of each client, between two operations; 0: as fast as it goes
	// Sure has readers commit something in the transaction that they read in: then a primary that cannot get acknowledgements any more does not
	// answer them. Without it such a one may answer what was true before.
	Sure bool

	mu     sync.Mutex
	ops    []check.Op
	used   int // operations given out
	values int64
	seen   map[int]int64 // of each key, what was found or written last
}

const (
	registerCreate  = "CREATE TABLE IF NOT EXISTS chaos_register (k INT PRIMARY KEY, v BIGINT NOT NULL)"
	registerEmpty   = "DELETE FROM chaos_register"
	registerGet     = "SELECT v FROM chaos_register WHERE k = ?"
	registerHold    = "SELECT v FROM chaos_register WHERE k = ? FOR UPDATE"
	registerChange  = "UPDATE chaos_register SET v = ? WHERE k = ?"
	registerPut     = "INSERT INTO chaos_register (k, v) VALUES (?, ?) ON DUPLICATE KEY UPDATE v = VALUES(v)"
	registerReading = "INSERT INTO chaos_reading (k) VALUES (?)"
	readingCreate   = "CREATE TABLE IF NOT EXISTS chaos_reading (id BIGINT AUTO_INCREMENT PRIMARY KEY, k INT NOT NULL)"
)

// prepared is how many registers are made beforehand; later ones come into being when they are written to.
const prepared = 1000

// Prepare makes the registers, and waits until that is done.
func (r *Registers) Prepare(ctx context.Context) error {
	var values []string
	for k := range prepared {
		values = append(values, fmt.Sprintf("(%d,0)", k))
	}
	return prepare(ctx, r.Connector, registerCreate, readingCreate, registerEmpty, "INSERT INTO chaos_register VALUES "+strings.Join(values, ","))
}

// Run works until ctx ends, and returns when every request has come to its end.
func (r *Registers) Run(ctx context.Context) {
	for of, usual := range map[*int]int{&r.Clients: 6, &r.Keys: 3, &r.Length: 400} {
		if *of == 0 {
			*of = usual
		}
	}
	r.seen = map[int]int64{}
	var clients sync.WaitGroup
	for n := range r.Clients {
		clients.Go(func() { r.work(ctx, n) })
	}
	clients.Wait()
}

func (r *Registers) work(ctx context.Context, client int) {
	session := NewSession(r.Connector)
	defer session.Close()
	dice := rand.New(rand.NewPCG(r.Seed, uint64(client)))
	asked := context.WithoutCancel(ctx)
	for ctx.Err() == nil {
		o := r.draw(dice, client)
		o.Sent = r.Clock.Now()
		switch o.Action {
		case check.Get:
			r.get(asked, session, &o)
		case check.Put:
			o.Outcome, _ = session.Exec(asked, registerPut, o.Key, o.Value)
		case check.Swap:
			r.swap(asked, session, &o)
		}
		o.Done = r.Clock.Now()
		r.note(o)
		pause := r.Pace
		if o.Outcome != check.OK {
			pause = max(pause, 10*time.Millisecond)
		}
		if pause > 0 {
			_ = Wait(ctx, pause)
		}
	}
}

// draw chooses what to do next.
func (r *Registers) draw(dice *rand.Rand, client int) check.Op {
	r.mu.Lock()
	defer r.mu.Unlock()
	generation := r.used / (r.Keys * r.Length)
	r.used++
	o := check.Op{Client: client, Key: generation*r.Keys + dice.IntN(r.Keys)}
	switch dice.IntN(4) {
	case 0:
		r.values++
		o.Action, o.Value = check.Put, r.values
	case 1:
		r.values++
		o.Action, o.Value, o.Expect = check.Swap, r.values, r.seen[o.Key]
	default:
		o.Action = check.Get
	}
	return o
}

func (r *Registers) note(o check.Op) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ops = append(r.ops, o)
	if o.Outcome == check.OK {
		switch {
		case o.Action == check.Put, o.Action == check.Swap && o.Found == o.Expect:
			r.seen[o.Key] = o.Value
		default:
			r.seen[o.Key] = o.Found
		}
	}
}

func value(ctx context.Context, c *sql.Conn, query string, key int) (v int64, err error) {
	err = c.QueryRowContext(ctx, query, key).Scan(&v)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, nil
	}
	return v, err
}

func (r *Registers) get(ctx context.Context, session *Session, o *check.Op) {
	o.Outcome, _ = session.Transact(ctx, func(ctx context.Context, c *sql.Conn) (err error) {
		if r.Sure {
			if _, err := c.ExecContext(ctx, registerReading, o.Key); err != nil {
				return err
			}
		}
		o.Found, err = value(ctx, c, registerGet, o.Key)
		return err
	})
}

func (r *Registers) swap(ctx context.Context, session *Session, o *check.Op) {
	o.Outcome, _ = session.Transact(ctx, func(ctx context.Context, c *sql.Conn) (err error) {
		if o.Found, err = value(ctx, c, registerHold, o.Key); err != nil || o.Found != o.Expect {
			return err
		}
		if o.Found == 0 { // it may not be there yet
			_, err = c.ExecContext(ctx, registerPut, o.Key, o.Value)
		} else {
			_, err = c.ExecContext(ctx, registerChange, o.Value, o.Key)
		}
		return err
	})
}

// Finish gives the verdict. It is to be called when Run has returned.
func (r *Registers) Finish() check.Registers {
	r.mu.Lock()
	defer r.mu.Unlock()
	const patience = 20 * time.Second
	return check.CheckRegisters(r.ops, patience)
}
