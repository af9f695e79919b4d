package e2e

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/stretchr/testify/require"

	"github.com/huker/huker/test/disk"
)

// shrinkDisk has an instance's volume be a file system of its own, with so much room in it, and starts its container anew on it. The function makes plenty of room.
func (p *plane) shrinkDisk(id string, room int64) (grow func()) {
	p.t.Helper()
	path := ""
	volumes, err := p.engineOf(id).ListVolumes(p.t.Context(), map[string]string{"io.huker.instance": id})
	require.NoError(p.t, err)
	for _, v := range volumes {
		path = v.Path
	}
	require.NotEmpty(p.t, path)
	run := func(argv ...string) {
		out, err := exec.CommandContext(p.t.Context(), argv[0], argv[1:]...).CombinedOutput()
		require.NoError(p.t, err, "%v: %s", argv, out)
	}
	name := p.container(id).Name
	run("docker", "-H", p.host, "stop", "-t", "20", name)
	disk.Own(p.t, path, 2<<30)
	require.NoError(p.t, disk.Fill(path, room))
	run("docker", "-H", p.host, "start", name)
	return func() { require.NoError(p.t, disk.Empty(path)) }
}

// filler is who writes until a disk is full, and goes on trying.
type filler struct {
	db      *sql.DB
	acked   sync.Map // rows
	count   atomic.Int64
	refused atomic.Int64 // with MySQL's error 1290
	others  sync.Map     // errors that should not be
}

func (f *filler) run(ctx context.Context, writers int, wg *sync.WaitGroup) {
	var next atomic.Int64
	row := bytes.Repeat([]byte("a row. "), 32<<10)
	for range writers {
		wg.Go(func() {
			for ctx.Err() == nil {
				n := next.Add(1)
				_, err := f.db.ExecContext(context.WithoutCancel(ctx), "INSERT INTO filled VALUES (?, ?)", n, row)
				var me *mysql.MySQLError
				switch {
				case err == nil:
					f.acked.Store(n, true)
					f.count.Add(1)
				case errors.As(err, &me) && me.Number == 1290:
					f.refused.Add(1)
					select {
					case <-time.After(20 * time.Millisecond):
					case <-ctx.Done():
					}
				default:
					f.others.Store(err.Error(), n)
				}
			}
		})
	}
}

// check: all that was acknowledged is there, and nobody met another error than that which says why.
func (f *filler) check(t *testing.T) {
	t.Helper()
	f.others.Range(func(err, n any) bool { t.Errorf("row %v: %v", n, err); return true })
	rows, err := f.db.QueryContext(t.Context(), "SELECT n FROM filled")
	require.NoError(t, err)
	defer func() { _ = rows.Close() }()
	there := map[int64]bool{}
	for rows.Next() {
		var n int64
		require.NoError(t, rows.Scan(&n))
		there[n] = true
	}
	require.NoError(t, rows.Err())
	f.acked.Range(func(n, _ any) bool {
		if !there[n.(int64)] {
			t.Errorf("row %v was acknowledged, and is not there", n)
		}
		return true
	})
}

// TestDiskFills: eight writers fill the disk of a database that is alone, and eight that of a cluster's primary. They are refused with an error that says why before
// it is full; what there is can be read; nobody is taken for lost, and nothing that was acknowledged is; and when there is room they go on by themselves.
func TestDiskFills(t *testing.T) {
	t.Parallel()
	p := newPlane(t)
	p.start()
	t.Cleanup(p.logGuests)
	alone, cluster := p.create("alone", 1), p.createCluster("shop", 3)
	c := p.awaitCluster(cluster, "whole", whole)
	p.awaitActive(alone)
	primary := primaryOf(c)
	p.kill() // so that nobody takes the primary's place, or starts anything meanwhile
	const room = 200 << 20
	grows := []func(){p.shrinkDisk(alone, room), p.shrinkDisk(primary, room)}
	p.start()
	ids := []string{alone, primary}
	fillers := []*filler{{db: open(t, p.addressOf(alone), nil)}, {db: open(t, dig[string](c, "endpoints", "read_write", "address"), nil)}}
	for n, f := range fillers { // what is written down of them may be of before
		require.Eventually(t, func() bool {
			_, err := f.db.ExecContext(t.Context(), "CREATE TABLE IF NOT EXISTS filled (n BIGINT PRIMARY KEY, v LONGBLOB)")
			return err == nil
		}, readyDeadline, 20*time.Millisecond, "%s does not come back on a small disk", ids[n])
	}
	c = p.awaitCluster(cluster, "whole on a small disk", whole)
	require.Equal(t, primary, primaryOf(c))
	epoch := c["epoch"]

	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var pids []int
	var writing sync.WaitGroup
	for n, f := range fillers {
		pids = append(pids, p.process(ids[n], "mysqld"))
		f.run(ctx, 8, &writing)
	}
	defer writing.Wait()
	defer stop()
	began := time.Now()
	for n, f := range fillers {
		require.Eventually(t, func() bool { return f.refused.Load() > 100 }, 40*time.Second, 20*time.Millisecond, "%s is not refused; %d rows", ids[n], f.count.Load())
		t.Logf("%s: %d rows after %s", ids[n], f.count.Load(), time.Since(began).Round(time.Millisecond))
	}
	for _, id := range ids {
		i := p.await(id, "told to be full", func(_ int, i map[string]any) bool {
			return strings.Contains(dig[string](i, "fault", "message"), "takes no writes")
		})
		require.Equal(t, "ACTIVE", i["status"])
	}
	c = p.awaitCluster(cluster, "told to be full", func(_ int, c map[string]any) bool {
		told := fmt.Sprint(c["alarms"])
		return strings.Contains(told, "disk-full") && strings.Contains(told, "takes no writes (error 1290)")
	})
	require.Equal(t, "ACTIVE", c["status"])
	before := []int64{fillers[0].count.Load(), fillers[1].count.Load()}
	time.Sleep(4 * time.Second) // longer than it takes for a primary to be taken for lost
	for n, f := range fillers {
		require.Equal(t, before[n], f.count.Load(), "it takes writes")
		require.GreaterOrEqual(t, query[int64](t, f.db, "SELECT COUNT(*) FROM filled"), before[n])
		require.Equal(t, pids[n], p.process(ids[n], "mysqld"), "mysqld has died of it")
	}
	_, c = p.showCluster(cluster)
	require.Equal(t, primary, primaryOf(c))
	require.Equal(t, epoch, c["epoch"], "%v", c)

	began = time.Now()
	for _, grow := range grows {
		grow()
	}
	for n, f := range fillers {
		require.Eventually(t, func() bool { return f.count.Load() > before[n] }, 10*time.Second, 10*time.Millisecond, "%s takes no writes", ids[n])
		t.Logf("%s takes writes %s after there was room", ids[n], time.Since(began).Round(time.Millisecond))
	}
	p.awaitCluster(cluster, "whole again", whole)
	for _, id := range ids {
		p.await(id, "well", func(_ int, i map[string]any) bool { return i["fault"] == nil && i["status"] == "ACTIVE" })
	}
	stop()
	writing.Wait() // what is answered while it is checked is not what was there
	for n, f := range fillers {
		f.check(t)
		require.Equal(t, pids[n], p.process(ids[n], "mysqld"))
	}
}
