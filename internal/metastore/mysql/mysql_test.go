package mysql_test

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/huker/huker/internal/metastore"
	"github.com/huker/huker/internal/metastore/metastoretest"
	"github.com/huker/huker/internal/metastore/mysql"
	"github.com/huker/huker/internal/metastore/mysql/mysqltest"
)

// shared is the server that tests share which do it no harm; each has a database of its own.
var shared struct {
	once    sync.Once
	server  *mysqltest.Server
	skipped string
	failed  string
	cleanup []func()
}

var errOver = errors.New("over")

type mainTB struct{}

func (mainTB) Helper()                   {}
func (mainTB) Cleanup(f func())          { shared.cleanup = append(shared.cleanup, f) }
func (mainTB) Fatalf(f string, a ...any) { shared.failed = fmt.Sprintf(f, a...); panic(errOver) }
func (mainTB) Skipf(f string, a ...any)  { shared.skipped = fmt.Sprintf(f, a...); panic(errOver) }

func TestMain(m *testing.M) {
	code := m.Run()
	for i := len(shared.cleanup) - 1; i >= 0; i-- {
		shared.cleanup[i]()
	}
	os.Exit(code)
}

func server(tb testing.TB) *mysqltest.Server {
	tb.Helper()
	shared.once.Do(func() {
		defer func() {
			if r := recover(); r != nil && r != errOver { //nolint:errorlint // the very one
				panic(r)
			}
		}()
		shared.server = mysqltest.Start(mainTB{})
	})
	if shared.skipped != "" {
		tb.Skip(shared.skipped)
	}
	require.NotNil(tb, shared.server, shared.failed)
	return shared.server
}

// config has patience with a server that is gone: how soon it is back on a busy machine is not what is tested.
func config(address string, l mysqltest.Login) mysql.Config {
	return mysql.Config{Address: address, Database: l.Database, User: l.User, Password: l.Password}.Patience(2 * time.Minute)
}

// openAt opens a store, and closes it when the test is over.
func openAt(tb testing.TB, cfg mysql.Config) *mysql.Store {
	tb.Helper()
	s, err := mysql.Open(tb.Context(), cfg)
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, s.Close()) })
	return s
}

func open(tb testing.TB) metastore.Store {
	tb.Helper()
	s := server(tb)
	return openAt(tb, config(s.Socket(), s.Database(tb)))
}

// openShared gives a database of a server, that any number of stores can be opened on.
func openShared(s *mysqltest.Server) metastoretest.OpenShared {
	return func(tb testing.TB) func() (metastore.Store, error) {
		l := s.Database(tb)
		return func() (metastore.Store, error) {
			st, err := mysql.Open(tb.Context(), config(s.Socket(), l))
			if err != nil {
				return nil, err
			}
			tb.Cleanup(func() { require.NoError(tb, st.Close()) })
			return st, nil
		}
	}
}

func TestConformance(t *testing.T) { metastoretest.Run(t, open) }

func TestShared(t *testing.T) { metastoretest.RunShared(t, openShared(server(t))) }

func TestCrash(t *testing.T) {
	t.Parallel()
	s := mysqltest.Start(t) // of its own
	metastoretest.RunCrash(t, openShared(s), s.Kill)
}

func BenchmarkMySQL(b *testing.B) { metastoretest.Bench(b, open) }
