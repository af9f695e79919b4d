package e2e

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The control plane is killed and comes back: a database never notices.
func TestControlPlaneDiesDatabasesGoOn(t *testing.T) {
	p := newPlane(t)
	p.start()
	id := p.create("steady", 1)
	db := open(t, address(p.awaitActive(id)), nil)
	pid := p.container(id).Pid
	run(t, db, "CREATE TABLE kept (v INT PRIMARY KEY)")
	p.kill()
	run(t, db, "INSERT INTO kept VALUES (1)")
	p.start()
	run(t, db, "INSERT INTO kept VALUES (2)")
	require.Equal(t, pid, p.container(id).Pid)
	p.awaitActive(id)
	code, answer := p.call(http.MethodGet, p.path(id)+"/databases", nil)
	require.Equal(t, http.StatusOK, code, "the agent has found its way back: %v", answer)
}

// Docker restarts, the machine reboots (everything is killed and started again): all databases come back, with no one's help.
func TestDatabasesComeBack(t *testing.T) {
	d := newDockerd(t, "")
	p := newPlaneOn(t, d.host())
	p.start()
	ids := []string{p.create("a", 1), p.create("b", 1)}
	for n, id := range ids {
		db := open(t, address(p.awaitActive(id)), nil)
		run(t, db, "CREATE TABLE kept (v INT PRIMARY KEY)")
		run(t, db, "INSERT INTO kept VALUES (?)", n)
	}
	back := func(t *testing.T) {
		for n, id := range ids {
			addr := ""
			require.Eventually(t, func() bool {
				code, i := p.show(id)
				addr = address(i)
				return code == http.StatusOK && i["status"] == "ACTIVE" && i["operating_status"] == "HEALTHY" && answers(t, addr, n)
			}, readyDeadline, 100*time.Millisecond)
		}
	}
	t.Run("docker stops and starts", func(t *testing.T) {
		d.stop(syscall.SIGTERM)
		d.start()
		back(t)
	})
	t.Run("docker is killed", func(t *testing.T) {
		d.stop(syscall.SIGKILL)
		d.start()
		back(t)
	})
	t.Run("the machine reboots", func(t *testing.T) {
		pids := []int{}
		for _, id := range ids {
			pids = append(pids, p.container(id).Pid)
		}
		p.kill()
		for _, pid := range pids {
			require.Positive(t, pid)
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		d.crash()
		d.start()
		p.start()
		back(t)
	})
}

// answers reports whether the database at addr holds the row.
func answers(t *testing.T, addr string, row int) bool {
	db := open(t, addr, nil)
	defer func() { _ = db.Close() }()
	var n int
	err := db.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM kept WHERE v = ?", row).Scan(&n)
	return err == nil && n == 1
}

// Inside a database: mysqld and the agent are killed; the one is back at once, the other's death is not felt.
func TestKilledInsideADatabase(t *testing.T) {
	p := newPlane(t)
	p.start()
	id := p.create("inside", 1)
	addr := address(p.awaitActive(id))
	db := open(t, addr, nil)
	run(t, db, "CREATE TABLE kept (v INT PRIMARY KEY)")
	run(t, db, "INSERT INTO kept VALUES (0)")
	mysqld, agent := p.process(id, "mysqld"), p.process(id, "huker-guestagent")
	require.Positive(t, mysqld) // 0 would stand for this test itself
	require.Positive(t, agent)

	require.NoError(t, syscall.Kill(agent, syscall.SIGKILL))
	require.Eventually(t, func() bool {
		now := p.process(id, "huker-guestagent")
		return now != 0 && now != agent
	}, time.Minute, 50*time.Millisecond, "a new agent")
	require.Equal(t, mysqld, p.process(id, "mysqld"))
	require.Eventually(t, func() bool {
		code, _ := p.call(http.MethodGet, p.path(id)+"/users", nil)
		return code == http.StatusOK
	}, time.Minute, 100*time.Millisecond, "the new agent answers")

	require.NoError(t, syscall.Kill(mysqld, syscall.SIGKILL))
	require.Eventually(t, func() bool { return answers(t, addr, 0) }, time.Minute, 50*time.Millisecond, "mysqld serves again")
	require.NotEqual(t, mysqld, p.process(id, "mysqld"))
	p.awaitActive(id)

	require.NoError(t, p.engineOf(id).Signal(t.Context(), p.container(id).Name, "SIGKILL"))
	require.Eventually(t, func() bool { return answers(t, addr, 0) }, time.Minute, 50*time.Millisecond, "the container is back")
	p.awaitActive(id)
}

// process gives the pid, on the host, of a program that the supervisor of an instance has started; 0 when there is none.
func (p *plane) process(id, name string) int {
	p.t.Helper()
	supervisor := p.container(id).Pid
	dirs, err := filepath.Glob("/proc/[0-9]*")
	require.NoError(p.t, err)
	for _, dir := range dirs {
		stat, err := os.ReadFile(filepath.Join(dir, "stat"))
		if err != nil {
			continue // gone meanwhile
		}
		// "pid (name) state ppid ...": the name may hold anything.
		var state string
		var parent int
		if _, err := fmt.Sscan(string(stat[strings.LastIndexByte(string(stat), ')')+1:]), &state, &parent); err != nil || parent != supervisor {
			continue
		}
		cmdline, err := os.ReadFile(filepath.Join(dir, "cmdline"))
		if err == nil && strings.HasPrefix(filepath.Base(strings.Split(string(cmdline), "\x00")[0]), name) {
			pid, err := strconv.Atoi(filepath.Base(dir))
			require.NoError(p.t, err)
			return pid
		}
	}
	return 0
}

// Disk full, and no image: the user is told why, and can delete.
func TestTroubleIsTold(t *testing.T) {
	t.Run("no image", func(t *testing.T) {
		p := newPlane(t, "--image", "mysql:1.2.3=huker/no-such-image:1")
		p.start()
		body := createBody("nothing", 1)
		body["instance"].(map[string]any)["datastore"] = map[string]any{"type": "mysql", "version": "1.2.3"}
		code, answer := p.call(http.MethodPost, "/v1.0/"+p.project+"/instances", body)
		require.Equal(t, http.StatusOK, code, "%v", answer)
		p.toldAndDeleted(dig[string](answer, "instance", "id"), "image")
	})
	t.Run("disk full", func(t *testing.T) {
		disk := t.TempDir()
		require.NoError(t, syscall.Mount("tmpfs", disk, "tmpfs", 0, "size=600m"))
		t.Cleanup(func() { _ = syscall.Unmount(disk, syscall.MNT_DETACH) })
		d := newDockerd(t, disk)
		p := newPlaneOn(t, d.host())
		p.start()
		var fs syscall.Statfs_t
		require.NoError(t, syscall.Statfs(disk, &fs))
		fill := int64(fs.Bavail)*fs.Bsize - 30<<20
		f, err := os.Create(filepath.Join(disk, "fill"))
		require.NoError(t, err)
		require.NoError(t, syscall.Fallocate(int(f.Fd()), 0, 0, fill))
		require.NoError(t, f.Close())
		p.toldAndDeleted(p.create("full", 1), "space")
	})
}

// toldAndDeleted: the instance comes to ERROR with a reason that names the trouble, and can be deleted.
func (p *plane) toldAndDeleted(id, trouble string) {
	p.t.Helper()
	i := p.await(id, "ERROR", func(_ int, i map[string]any) bool { return i["status"] == "ERROR" })
	require.Contains(p.t, dig[string](i, "fault", "message"), trouble, "%v", i)
	code, _ := p.call(http.MethodDelete, p.path(id), nil)
	require.Equal(p.t, http.StatusAccepted, code)
	p.awaitGone(id)
	require.Empty(p.t, p.leftovers())
}

// A newer Huker brings a newer agent: it takes over in every database, and mysqld does not notice.
func TestNewerAgentTakesOver(t *testing.T) {
	bin, err := binaries()
	require.NoError(t, err)
	newer := t.TempDir()
	for _, name := range []string{"huker-supervisor", "huker-guestagent"} {
		data, err := os.ReadFile(filepath.Join(bin, name))
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(newer, name), append(data, "newer"...), 0o755))
	}
	p := newPlane(t)
	p.start()
	id := p.create("agent", 1)
	db := open(t, address(p.awaitActive(id)), nil)
	connection := query[int](t, db, "SELECT CONNECTION_ID()")
	mysqld, agent := p.process(id, "mysqld"), p.process(id, "huker-guestagent")
	p.kill()
	p.start("--bin-dir", newer)
	require.Eventually(t, func() bool {
		now := p.process(id, "huker-guestagent")
		return now != 0 && now != agent
	}, time.Minute, 100*time.Millisecond)
	require.Equal(t, mysqld, p.process(id, "mysqld"))
	require.Equal(t, connection, query[int](t, db, "SELECT CONNECTION_ID()"), "the client's connection goes on")
	require.Eventually(t, func() bool {
		code, _ := p.call(http.MethodGet, p.path(id)+"/users", nil)
		return code == http.StatusOK
	}, time.Minute, 100*time.Millisecond, "the newer agent answers")
}
