package admin

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/huker/huker/guest/mysqltest"
)

// The package's tests share one server; what each makes has names of its own.
var shared struct {
	*mysqltest.Server
	admin   *Server
	once    sync.Once
	err     error
	skipped string
	cleanup []func()
}

const agentPassword = "agent-password-1"

type mainTB struct{}

func (mainTB) Helper()                   {}
func (mainTB) Cleanup(f func())          { shared.cleanup = append(shared.cleanup, f) }
func (mainTB) Fatalf(f string, a ...any) { panic(fmt.Sprintf(f, a...)) }
func (mainTB) Skipf(f string, a ...any)  { shared.skipped = fmt.Sprintf(f, a...); panic(errSkipped) }

var errSkipped = errors.New("skipped")

func TestMain(m *testing.M) {
	code := m.Run()
	for _, f := range shared.cleanup {
		f()
	}
	os.Exit(code)
}

func startShared() (err error) {
	defer func() {
		if r := recover(); r != nil && !errors.Is(asError(r), errSkipped) {
			err = asError(r)
		}
	}()
	shared.Server = mysqltest.Start(mainTB{})
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := prepareShared(ctx); err != nil {
		return err
	}
	db, err := Dial(Login{Socket: shared.Socket(), User: AgentUser, Password: agentPassword}, 4)
	if err != nil {
		return err
	}
	shared.cleanup = append([]func(){func() { _ = db.Close() }}, shared.cleanup...)
	shared.admin = New(db, Logs{Error: filepath.Join(shared.Dir, "error.log"), SlowQuery: filepath.Join(shared.Dir, "slow.log"), General: filepath.Join(shared.Dir, "general.log")})
	_, err = shared.admin.Open(ctx)
	return err
}

func asError(r any) error {
	if e, ok := r.(error); ok {
		return e
	}
	return fmt.Errorf("%v", r)
}

// prepareShared takes the fresh server over as the agent does.
func prepareShared(ctx context.Context) error {
	root, err := waitFor(ctx, Login{Socket: shared.Socket(), User: "root", Local: true})
	if err != nil {
		return err
	}
	a := NewAccounts(root)
	for _, step := range []func() error{
		func() error { return a.AllowWrites(ctx) },
		func() error { return a.MakeAgent(ctx, agentPassword) },
		func() error { return a.MakeAgent(ctx, agentPassword) }, // twice is no harm
		func() error { return a.DropDefaults(ctx) },
		func() error { return a.DropDefaults(ctx) },
		func() error { return a.Close(ctx) },
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return root.db.Close()
}

func waitFor(ctx context.Context, l Login) (*Server, error) {
	db, err := Dial(l, 1)
	if err != nil {
		return nil, err
	}
	s := New(db, Logs{})
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := s.Ping(ctx)
		if err == nil {
			return s, nil
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("mysqld does not answer: %w", err)
		case <-tick.C:
		}
	}
}

func server(t *testing.T) *Server {
	t.Helper()
	shared.once.Do(func() { shared.err = startShared() })
	if shared.err != nil {
		t.Fatal(shared.err)
	}
	if shared.skipped != "" {
		t.Skip(shared.skipped)
	}
	return shared.admin
}
