package bench

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/huker/huker/internal/testenv"
)

// rounds of each side; they take turns, so that a slow moment of the machine hits both.
const rounds = 5

// BenchmarkCreateToFirstQuery: from the request to the API to the first query's answer at the database's address, image present; side by side
// with `docker run` of the same image that initializes and starts a server. Target: <= 3 s.
func BenchmarkCreateToFirstQuery(b *testing.B) {
	p := start(b)
	ref := image(b)
	var huker, plain []float64
	for b.Loop() {
		huker, plain = huker[:0], plain[:0]
		for range rounds {
			began := time.Now()
			id := p.create(b, "2")
			firstQuery(b, p.address(b, id), user, password)
			huker = append(huker, time.Since(began).Seconds())
			p.remove(b, id)

			began = time.Now()
			name := "bench-plain-" + testenv.Suffix(b)
			b.Cleanup(func() { discard(b, name) })
			run(b, "docker", "run", "-d", "--name", name, "--memory", "1g", "--cpus", "1", "--entrypoint", "sh", ref, "-c", plainStart)
			firstQuery(b, plainAddress(b, name), "bench", password)
			plain = append(plain, time.Since(began).Seconds())
			discard(b, name)
		}
	}
	slices.Sort(huker)
	slices.Sort(plain)
	require.Len(b, huker, rounds)
	b.ReportMetric(huker[rounds/2], "huker-p50-s")
	b.ReportMetric(huker[rounds-1], "huker-max-s")
	b.ReportMetric(plain[rounds/2], "docker-run-p50-s")
	b.ReportMetric(huker[rounds/2]/plain[rounds/2], "ratio")
	b.ReportMetric(0, "ns/op")
}

// plainStart is what an image's own entry point does at first: initialize, then serve.
const plainStart = `
mysqld --no-defaults --initialize-insecure --datadir=/var/lib/mysql/d &&
echo "CREATE USER bench@'%' IDENTIFIED BY '` + password + `'; GRANT ALL ON *.* TO bench@'%'; CREATE DATABASE bench;" > /tmp/init.sql &&
exec mysqld --no-defaults --datadir=/var/lib/mysql/d --socket=/tmp/s --pid-file=/tmp/p --mysqlx=OFF --secure-file-priv=NULL --init-file=/tmp/init.sql`
