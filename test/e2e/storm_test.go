package e2e

import (
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/huker/huker/internal/keeper"
	"github.com/huker/huker/test/site"
)

// reinforce adds a second of what may be there twice, and gives the address of the second API.
func (p *plane) reinforce() (listen string) {
	p.t.Helper()
	listen = freeAddress(p.t)
	for _, s := range slices.Clone(p.Specs) {
		switch s.Program {
		case "huker-api":
			s.Args = slices.Clone(s.Args)
			s.Args[slices.Index(s.Args, "--listen")+1] = listen
			p.Specs = append(p.Specs, s)
		case "huker-nodekeeper":
			p.Specs = append(p.Specs, s)
		}
	}
	return listen
}

// shoot ends one process of the control plane with SIGKILL, and waits until it has.
func (p *plane) shoot(n int) {
	p.t.Helper()
	require.NoError(p.t, p.Shoot(n))
}

// steady is a database that is written to all the time, on one connection: whatever happens around it, it must not notice.
type steady struct {
	id         string
	connection int
	pid        int
	conn       *sql.Conn
	stop       func()
	ended      chan error
	written    atomic.Int64
}

func (p *plane) newSteady(name string) *steady {
	p.t.Helper()
	s := &steady{id: p.create(name, 1), ended: make(chan error, 1)}
	db := open(p.t, address(p.awaitActive(s.id)), nil)
	run(p.t, db, "CREATE TABLE kept (v INT PRIMARY KEY)")
	s.pid = p.container(s.id).Pid
	var err error
	s.conn, err = db.Conn(p.t.Context())
	require.NoError(p.t, err)
	require.NoError(p.t, s.conn.QueryRowContext(p.t.Context(), "SELECT CONNECTION_ID()").Scan(&s.connection))
	ctx, cancel := context.WithCancel(context.WithoutCancel(p.t.Context()))
	s.stop = cancel
	p.t.Cleanup(cancel)
	go func() { s.ended <- s.write(ctx) }()
	return s
}

func (s *steady) write(ctx context.Context) error {
	for ctx.Err() == nil {
		inTime, cancel := context.WithTimeout(context.WithoutCancel(ctx), 20*time.Second)
		_, err := s.conn.ExecContext(inTime, "INSERT INTO kept VALUES (?)", s.written.Load())
		cancel()
		if err != nil {
			return fmt.Errorf("row %d: %w", s.written.Load(), err)
		}
		s.written.Add(1)
		time.Sleep(20 * time.Millisecond)
	}
	return nil
}

// untouched ends the writing and checks that nothing was felt.
func (s *steady) untouched(p *plane) {
	p.t.Helper()
	s.stop()
	require.NoError(p.t, <-s.ended, "a running database has noticed")
	var connection, rows int
	require.NoError(p.t, s.conn.QueryRowContext(p.t.Context(), "SELECT CONNECTION_ID(), COUNT(*) FROM kept").Scan(&connection, &rows))
	require.Equal(p.t, s.connection, connection)
	require.EqualValues(p.t, s.written.Load(), rows)
	require.Equal(p.t, s.pid, p.container(s.id).Pid)
}

// storm creates and deletes databases, by whichever API answers.
type storm struct {
	p               *plane
	apis            []string
	created, failed atomic.Int64
	mu              sync.Mutex
	odd             []string // answers that nobody should get
}

// ask asks one API and then the other, until one answers or the storm is over.
func (s *storm) ask(ctx context.Context, method, path string, body any, fine ...int) (int, map[string]any) {
	for n := rand.IntN(len(s.apis)); ctx.Err() == nil; n++ {
		code, answer, err := s.p.tryAt(s.apis[n%len(s.apis)], method, path, body)
		switch {
		case err != nil:
			time.Sleep(50 * time.Millisecond)
			continue
		case code == http.StatusServiceUnavailable: // a clear refusal
			s.failed.Add(1)
			time.Sleep(100 * time.Millisecond)
		case !slices.Contains(fine, code):
			s.mu.Lock()
			s.odd = append(s.odd, fmt.Sprintf("%s %s: %d %v", method, path, code, answer))
			s.mu.Unlock()
		}
		return code, answer
	}
	return 0, nil
}

func (s *storm) blow(ctx context.Context, worker int) {
	for n := 0; ctx.Err() == nil; n++ {
		code, answer := s.ask(ctx, http.MethodPost, "/v1.0/"+s.p.project+"/instances", createBody(fmt.Sprintf("storm-%d-%d", worker, n), 1),
			http.StatusOK, http.StatusRequestEntityTooLarge)
		if code != http.StatusOK {
			s.tidy(ctx)
			continue
		}
		s.created.Add(1)
		id := dig[string](answer, "instance", "id")
		// Some are deleted while they are made, some when they are ready.
		patience := time.Duration(rand.IntN(15)) * time.Second
		for until := time.Now().Add(patience); ctx.Err() == nil && time.Now().Before(until); time.Sleep(200 * time.Millisecond) {
			if _, answer := s.ask(ctx, http.MethodGet, s.p.path(id), nil, http.StatusOK); dig[string](answer, "instance", "status") == "ACTIVE" {
				break
			}
		}
		s.ask(ctx, http.MethodDelete, s.p.path(id), nil, http.StatusAccepted, http.StatusNotFound)
	}
}

// tidy deletes what was created though its answer was lost, so that the quota has room again.
func (s *storm) tidy(ctx context.Context) {
	_, answer := s.ask(ctx, http.MethodGet, "/v1.0/"+s.p.project+"/instances", nil, http.StatusOK)
	all, _ := answer["instances"].([]any)
	for _, i := range all {
		if strings.HasPrefix(dig[string](i, "name"), "storm-") && dig[string](i, "status") == "ACTIVE" {
			s.ask(ctx, http.MethodDelete, s.p.path(dig[string](i, "id")), nil, http.StatusAccepted, http.StatusNotFound)
		}
	}
}

// stormOfKills kills each process of the control plane and of its engines in turn, while databases are made and deleted: in the end everything is as was
// asked for, nothing is left over, and the databases that run have not noticed.
func stormOfKills(t *testing.T) {
	p := newPlane(t)
	second := p.reinforce()
	p.start()
	calm := []*steady{p.newSteady("steady-0"), p.newSteady("steady-1")}
	s := &storm{p: p, apis: []string{p.listen, second}}
	ctx, over := context.WithCancel(t.Context())
	defer over()
	var workers sync.WaitGroup
	for n := range 4 {
		workers.Go(func() { s.blow(ctx, n) })
	}
	type victim struct {
		name string
		kill func()
		back func()
	}
	var victims []victim
	for n, spec := range p.Specs {
		victims = append(victims, victim{fmt.Sprintf("%s %d", spec.Program, n), func() { p.shoot(n) }, func() { p.launch() }})
	}
	for n, server := range onSite.ZooKeeper.Servers {
		victims = append(victims, victim{fmt.Sprintf("ZooKeeper %d", n), server.Kill, func() { server.Launch(t); onSite.ZooKeeper.AwaitUp(t, n) }})
	}
	victims = append(victims,
		victim{"RabbitMQ", onSite.RabbitMQ.Kill, func() { onSite.RabbitMQ.Up(t) }},
		victim{"MySQL", func() { require.NoError(t, onSite.MySQL.Down()) }, func() { require.NoError(t, onSite.MySQL.Up()) }})
	const seed = 20
	order := rand.New(rand.NewPCG(seed, seed)).Perm(len(victims))
	for _, n := range order {
		v := victims[n]
		time.Sleep(3 * time.Second) // the storm blows
		v.kill()
		time.Sleep(2 * time.Second)
		v.back()
		t.Logf("%s was killed and came back; %d created so far, %d refused", v.name, s.created.Load(), s.failed.Load())
	}
	time.Sleep(3 * time.Second)
	over()
	workers.Wait()
	require.Empty(t, s.odd)
	require.Greater(t, s.created.Load(), int64(len(victims))/2, "no storm: %d were created", s.created.Load())

	// What there is comes to be as it was asked for.
	p.Bury()
	var left []any
	require.Eventually(t, func() bool {
		code, answer, err := p.try(http.MethodGet, "/v1.0/"+p.project+"/instances", nil)
		left, _ = answer["instances"].([]any)
		return err == nil && code == http.StatusOK && !slices.ContainsFunc(left, func(i any) bool {
			return dig[string](i, "status") != "ACTIVE" || dig[string](i, "operating_status") != "HEALTHY"
		})
	}, 3*time.Minute, 200*time.Millisecond, "%v", left)
	t.Logf("%d created, %d requests refused, %d there at the end", s.created.Load(), s.failed.Load(), len(left))
	containers, err := p.list(t.Context(), nil)
	require.NoError(t, err)
	require.Len(t, containers, len(left), "one container for each, on one host")
	for _, c := range calm {
		c.untouched(p)
	}
	for _, i := range left {
		code, _ := p.call(http.MethodDelete, p.path(dig[string](i, "id")), nil)
		require.Equal(t, http.StatusAccepted, code)
	}
	for _, i := range left {
		p.awaitGone(dig[string](i, "id"))
	}
	require.Empty(t, p.leftovers())
}

// leaderWakesUpLate suspends the nodekeeper that leads in the middle of its work. Another goes on; and the first, which still believes to lead when it
// wakes up, changes nothing any more.
func leaderWakesUpLate(t *testing.T) {
	for _, point := range []string{string(keeper.PointPlaced), string(keeper.PointEnsured), string(keeper.PointPrepared)} {
		t.Run(point, func(t *testing.T) {
			p := newPlane(t)
			p.start("--fault", "stop:"+point)
			n := slices.IndexFunc(p.Specs, func(s site.Spec) bool { return s.Program == "huker-nodekeeper" })
			leader := p.Process(n)
			id := p.create("late", 1)
			require.Eventually(t, func() bool { return suspended(leader.Pid) }, time.Minute, 10*time.Millisecond, "the point is not passed")
			p.reinforce()
			p.launch()
			db := open(t, address(p.awaitActive(id)), nil)
			run(t, db, "CREATE TABLE kept (v INT PRIMARY KEY)")
			connection := query[int](t, db, "SELECT CONNECTION_ID()")
			before := p.container(id)
			_, wanted := p.show(id)
			mark := len(p.log.String())
			require.NoError(t, syscall.Kill(leader.Pid, syscall.SIGCONT))
			// It finds out, and stands for election again.
			require.Eventually(t, func() bool { return strings.Contains(p.log.String()[mark:], "standing again") }, time.Minute, 20*time.Millisecond,
				"the former leader does not notice:\n%s", p.log.tail(4096))
			said := p.log.String()[mark:]
			t.Logf("refused for its term: %t", strings.Contains(said, "term is over") || strings.Contains(said, "term_over"))
			require.Equal(t, before, p.container(id))
			require.Equal(t, connection, query[int](t, db, "SELECT CONNECTION_ID()"))
			_, now := p.show(id)
			require.Equal(t, wanted, now)
			code, _ := p.call(http.MethodDelete, p.path(id), nil)
			require.Equal(t, http.StatusAccepted, code)
			p.awaitGone(id)
			require.Empty(t, p.leftovers())
		})
	}
}

// suspended says whether a process is stopped.
func suspended(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, after, _ := strings.Cut(string(stat), ") ")
	return strings.HasPrefix(after, "T")
}

// enginesAway takes RabbitMQ, and then ZooKeeper, away for long: databases serve, requests wait or are refused clearly, and all is well after. How long is
// HUKER_E2E_AWAY, 5 minutes if that is not set.
func enginesAway(t *testing.T) {
	away := 5 * time.Minute
	if text := os.Getenv("HUKER_E2E_AWAY"); text != "" {
		var err error
		away, err = time.ParseDuration(text)
		require.NoError(t, err)
	}
	p := newPlane(t)
	p.start()
	calm := p.newSteady("steady")
	for _, engine := range []struct {
		name       string
		down, back func()
	}{
		{"RabbitMQ", onSite.RabbitMQ.Kill, func() { onSite.RabbitMQ.Up(t) }},
		{"ZooKeeper", func() {
			for _, s := range onSite.ZooKeeper.Servers {
				s.Kill()
			}
		}, func() {
			for _, s := range onSite.ZooKeeper.Servers {
				s.Launch(t)
			}
			for n := range onSite.ZooKeeper.Servers {
				onSite.ZooKeeper.AwaitUp(t, n)
			}
		}},
	} {
		engine.down()
		began := time.Now()
		code, answer := p.call(http.MethodPost, "/v1.0/"+p.project+"/instances", createBody("asked-for-meanwhile", 1))
		t.Logf("%s is away: create: %d %v", engine.name, code, dig[string](answer, "serviceUnavailable", "message"))
		require.Contains(t, []int{http.StatusOK, http.StatusServiceUnavailable}, code, "%v", answer)
		id := dig[string](answer, "instance", "id")
		for time.Since(began) < away {
			code, _ := p.show(calm.id)
			require.Equal(t, http.StatusOK, code, "what is known can be read")
			code, answer := p.call(http.MethodGet, p.path(calm.id)+"/users", nil)
			require.Contains(t, []int{http.StatusOK, http.StatusServiceUnavailable, http.StatusGatewayTimeout, http.StatusUnprocessableEntity}, code, "%v", answer)
			time.Sleep(time.Second)
		}
		require.Positive(t, calm.written.Load())
		engine.back()
		if id != "" {
			p.awaitActive(id)
			code, _ := p.call(http.MethodDelete, p.path(id), nil)
			require.Equal(t, http.StatusAccepted, code)
			p.awaitGone(id)
		}
		p.awaitActive(calm.id)
		require.Eventually(t, func() bool {
			code, _ := p.call(http.MethodGet, p.path(calm.id)+"/users", nil)
			return code == http.StatusOK
		}, 2*time.Minute, 200*time.Millisecond, "its agent answers again")
	}
	calm.untouched(p)
	code, _ := p.call(http.MethodDelete, p.path(calm.id), nil)
	require.Equal(t, http.StatusAccepted, code)
	p.awaitGone(calm.id)
	require.Empty(t, p.leftovers())
}
