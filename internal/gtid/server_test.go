package gtid

import (
	"context"
	"database/sql"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/stretchr/testify/require"

	"github.com/huker/huker/guest/mysqltest"
	"github.com/huker/huker/internal/testenv"
)

// mysqlServer gives a connection to a real mysqld.
func mysqlServer(ctx context.Context, t *testing.T) *sql.DB {
	t.Helper()
	testenv.RequireDocker(t)
	s := mysqltest.Start(t)
	db, err := sql.Open("mysql", "root@unix("+s.Socket()+")/?interpolateParams=true")
	require.NoError(t, err)
	t.Cleanup(func() { _ = db.Close() })
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := db.PingContext(ctx)
		if err == nil {
			return db
		}
		select {
		case <-ctx.Done():
			t.Fatalf("mysqld does not answer: %v", err)
		case <-tick.C:
		}
	}
}

// mangled is a text with a few characters changed: most are malformed, each in its own way.
func mangled(r *rand.Rand, text string) string {
	const alphabet = "0123456789abcdefABCDEFgtz_:-,{} \t\r\n\v;+$\x00é"
	b := []byte(text)
	for range r.IntN(4) {
		at := r.IntN(len(b) + 1)
		switch c := alphabet[r.IntN(len(alphabet))]; {
		case at == len(b) || r.IntN(3) == 0:
			b = append(b[:at], append([]byte{c}, b[at:]...)...)
		case r.IntN(2) == 0:
			b = append(b[:at], b[at+1:]...)
		default:
			b[at] = c
		}
	}
	return strings.ToValidUTF8(string(b), "?")
}

// TestServer: this package and a real mysqld say the same of thousands of texts and pairs.
func TestServer(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("a real mysqld")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	db := mysqlServer(ctx, t)
	r := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 1)) //nolint:gosec // a test; what fails is printed

	refused, taken := 0, 0
	text := func(text string) {
		var theirs string
		err := db.QueryRowContext(ctx, "SELECT GTID_SUBTRACT(?, '')", text).Scan(&theirs)
		ours, ourErr := Parse(text)
		var malformed *mysql.MySQLError
		if errors.As(err, &malformed) && malformed.Number == 1772 {
			refused++
			require.Error(t, ourErr, "mysqld refuses %q", text)
			return
		}
		require.NoError(t, err, "%q", text)
		taken++
		require.NoError(t, ourErr, "mysqld takes %q", text)
		require.Equal(t, theirs, ours.String(), "%q", text)
	}
	for form := range forms {
		text(form)
	}
	for range 4000 {
		text(mangled(r, random(r)))
	}
	require.Greater(t, refused, 500)
	require.Greater(t, taken, 500)

	subsets := 0
	for range 4000 {
		one, other := random(r), random(r)
		if r.IntN(3) == 0 { // unrelated pairs are hardly ever subsets
			other += "," + one
		}
		var subset bool
		var less, union string
		err := db.QueryRowContext(ctx, "SELECT GTID_SUBSET(?, ?), GTID_SUBTRACT(?, ?), GTID_SUBTRACT(CONCAT(?, ',', ?), '')", one, other, one, other, one, other).
			Scan(&subset, &less, &union)
		require.NoError(t, err)
		a, b := parse(t, one), parse(t, other)
		require.Equal(t, subset, b.Contains(a), "GTID_SUBSET(%q, %q)", one, other)
		require.Equal(t, less, a.Subtract(b).String(), "GTID_SUBTRACT(%q, %q)", one, other)
		require.Equal(t, union, a.Union(b).String(), "%q and %q", one, other)
		if subset {
			subsets++
		}
	}
	require.Greater(t, subsets, 500)
	t.Logf("%d texts refused, %d taken, %d of 4000 pairs subsets", refused, taken, subsets)
}
