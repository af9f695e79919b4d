package cli

import (
	"encoding/json"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/huker/huker/internal/metastore"
	"github.com/huker/huker/internal/model"
)

// update changes a cluster's row as nodekeeper would.
func (s *service) updateCluster(id string, fn func(*model.Cluster)) {
	s.t.Helper()
	s.update(func(tx metastore.Tx) error {
		c, err := tx.Clusters().Get(s.t.Context(), id)
		if err != nil {
			return err
		}
		fn(&c)
		return tx.Clusters().Update(s.t.Context(), &c)
	})
}

func TestClusterLife(t *testing.T) {
	s := newService(t)
	t.Setenv("PATH", t.TempDir()) // what is advised to connect with depends on what is there
	r := s.run("cluster", "create", "shop", "--members", "3", "--flavor", "db.small", "--volume", "2", "--policy", "strict", "--max-lag", "30s",
		"--locality", "anti-affinity", "--database", "shop", "--user", "app")
	require.NoError(t, r.failure, r.err)
	golden(t, "cluster-create", r.out)
	made := regexp.MustCompile(`shown this once: (\S+)`).FindStringSubmatch(r.err)
	require.Len(t, made, 2, r.err)
	assert.Equal(t, s.guests.passwordOf("app"), made[1])
	assert.NotContains(t, r.out, made[1])
	golden(t, "cluster-list", s.ok("cluster", "list"))
	golden(t, "cluster-show.json", s.ok("cluster", "show", "shop", "-o", "json"))
	golden(t, "cluster-instances", s.ok("instance", "list"))
	golden(t, "cluster-member", s.ok("instance", "show", "shop-member-2"))
	id := field(t, s.ok("cluster", "show", "shop", "-o", "json"), "id")
	assert.Equal(t, id, field(t, s.ok("cluster", "show", id, "-o", "json"), "id"), "by id")

	// What is wrong with it.
	replica := field(t, s.ok("instance", "show", "shop-member-2", "-o", "json"), "id")
	s.guests.silent = replica
	s.updateCluster(id, func(c *model.Cluster) {
		c.Condition, c.Alarms = "4.1: a member is silent", []model.Alarm{{Name: "no-spare", Text: "one more loss and writes wait", Since: c.Created}}
		c.Fault = &model.Fault{Message: "m", Details: "d", Created: c.Created}
	})
	golden(t, "cluster-trouble", s.ok("cluster", "show", "shop"))
	s.guests.silent = ""
	s.updateCluster(id, func(c *model.Cluster) { c.Condition, c.Alarms, c.Fault = "", nil, nil })

	assert.Contains(t, s.ok("cluster", "show", "shop", "--history"), "The primary has never changed.")
	assert.Equal(t, "[]", strings.TrimSpace(s.ok("cluster", "history", "shop", "-o", "json")))
	r = s.run("cluster", "switchover", "shop", "--to", "shop-member-3", "--within", "5s")
	require.NoError(t, r.failure, r.err)
	assert.Contains(t, r.err, "The primary of cluster shop is shop-member-3; it was shop-member-1.")
	golden(t, "cluster-history", s.ok("cluster", "history", "shop"))
	assert.Contains(t, s.ok("cluster", "show", "shop", "--history"), "switchover, epoch")
	r = s.with(run{stdin: "y\n", terminal: true}, "cluster", "failover", "shop")
	require.NoError(t, r.failure, r.err)
	assert.Contains(t, r.err, "Give up shop-member-3, the primary of cluster shop, without asking it?")
	assert.Contains(t, r.err, "The primary of cluster shop is shop-member-1")
	s.refuseTurn = "it did not come about in time"
	assert.Contains(t, s.refused(1, "cluster", "switchover", "shop"), "the primary is shop-member-1: it did not come about in time")
	assert.Contains(t, s.ok("cluster", "show", "shop"), "did not come about: it did not come about in time")
	s.refuseTurn = ""

	assert.Contains(t, s.ok("cluster", "grow", "shop"), "shop-member-4")
	assert.Contains(t, s.ok("cluster", "grow", "shop", "--name", "spare", "--name", "other"), "spare")
	assert.Contains(t, s.refused(2, "cluster", "shrink", "shop", "spare"), "--yes")
	assert.Contains(t, s.refused(1, "cluster", "shrink", "shop", "spare", "nobody", "--yes"), `has no member "nobody"; there are ["shop-member-1"`)
	assert.NotContains(t, s.ok("cluster", "shrink", "shop", "spare", "other", "--yes"), "spare")
	assert.Contains(t, s.refused(1, "cluster", "shrink", "shop", "shop-member-1", "--yes"), "switch over to another member first")
	assert.Contains(t, s.ok("cluster", "restart", "shop"), "ACTIVE")
	out := s.ok("cluster", "update", "shop", "--policy", "available", "--min-acks", "2", "--max-lag", "1m", "--name", "store")
	assert.Regexp(t, `policy +available, 2 replicas of 3 hold a write`, out)
	assert.Contains(t, out, "store")
	assert.Contains(t, s.ok("cluster", "events", "store"), "cluster.switchover.requested")

	r = s.run("cluster", "delete", "store", "--yes")
	require.NoError(t, r.failure)
	assert.Contains(t, r.err, "Cluster store is deleted.")
	assert.Contains(t, s.refused(1, "cluster", "show", "store"), `there is no cluster "store"`)
	assert.Equal(t, "[]", strings.TrimSpace(s.ok("cluster", "list", "-o", "json")))
}

func TestClusterCreatedByPrograms(t *testing.T) {
	s := newService(t)
	out := s.ok("cluster", "create", "shop", "--members", "2", "--user", "bob", "-o", "json")
	assert.Equal(t, s.guests.passwordOf("bob"), field(t, out, "password"))
	var k struct{ Instances []any }
	require.NoError(t, json.Unmarshal([]byte(out), &k))
	assert.Len(t, k.Instances, 2)
	r := s.with(run{stdin: "mine\n"}, "cluster", "create", "other", "--members", "1", "--user", "eve", "--password-stdin")
	require.NoError(t, r.failure)
	assert.Equal(t, "mine", s.guests.passwordOf("eve"))
	assert.NotContains(t, r.out+r.err, "mine")
	assert.Contains(t, r.out, "no replica holds a write")
}

func TestClusterMistakes(t *testing.T) {
	s := newService(t)
	for _, args := range [][]string{
		{"cluster"}, {"cluster", "create"}, {"cluster", "create", "a", "--members", "0"}, {"cluster", "create", "a", "--members", "10"},
		{"cluster", "create", "a", "--policy", "lax"}, {"cluster", "create", "a", "--min-acks", "-1"}, {"cluster", "create", "a", "--max-lag", "1500ms"},
		{"cluster", "create", "a", "--max-lag", "10"}, {"cluster", "create", "a", "--password-stdin"}, {"cluster", "create", "a", "--timeout", "0s"},
		{"cluster", "show"}, {"cluster", "show", "a", "--read-only"}, {"cluster", "show", "a", "--dsn", "odbc"}, {"cluster", "show", "a", "--user", "u"},
		{"cluster", "show", "a", "--dsn", "uri", "--history"}, {"cluster", "grow", "a", "--count", "0"}, {"cluster", "grow", "a", "--count", "2", "--name", "x"},
		{"cluster", "shrink", "a"}, {"cluster", "switchover", "a", "--within", "10ms"}, {"cluster", "update", "a"}, {"cluster", "update", "a", "--policy", "x"},
		{"cluster", "history", "a", "--limit", "-1"}, {"cluster", "events", "a", "--limit", "-1"}, {"cluster", "connect"}, {"cluster", "connect", "a", "b"},
		{"instance", "create", "a", "--replica-count", "2"}, {"instance", "create", "a", "--replica-of", "b", "--replica-count", "4"},
		{"instance", "create", "a", "--replica-of", "b", "--flavor", "x"}, {"instance", "create", "a", "--replica-of", "b", "--user", "x"},
	} {
		s.refused(2, args...)
	}
	assert.Empty(t, s.asked(), "nothing is asked of the service before the command line is right")
	assert.Contains(t, s.refused(1, "cluster", "create", "a", "--members", "2", "--min-acks", "2"), "1 replicas only")
	assert.Contains(t, s.refused(1, "cluster", "create", "a", "--members", "1", "--policy", "strict"), "never acknowledge a write")
	s.ok("cluster", "create", "twin", "--members", "1")
	s.ok("cluster", "create", "twin", "--members", "1")
	assert.Contains(t, s.refused(1, "cluster", "show", "twin"), `"twin" is the name of 2 clusters`)
}

func TestWaitingForClusters(t *testing.T) {
	s := newService(t)
	s.set(true, "")
	assert.Contains(t, s.ok("cluster", "create", "slow", "--members", "2", "--no-wait"), "BUILD")
	r := s.run("cluster", "create", "slower", "--members", "2", "--timeout", "1s")
	assert.Equal(t, 1, r.code)
	assert.Contains(t, r.failure.Error(), "waited 1s for cluster slower to be ready; it goes on")
	assert.Contains(t, r.err, "Waiting for cluster slower to be ready (BUILD: 0 of 2 members are ready; slower-member-1 is in BUILD; slower-member-2 is in BUILD)")
	assert.Equal(t, 1, strings.Count(r.err, "Waiting for"), "a line only when something changes")
	assert.Contains(t, s.refused(1, "cluster", "connect", "slow", "--user", "u"), "cluster slow has no address yet")
	assert.Contains(t, s.ok("cluster", "show", "slow"), "it has no place yet")
	id := field(t, s.ok("cluster", "show", "slow", "-o", "json"), "id")
	s.updateCluster(id, func(c *model.Cluster) {
		c.Status, c.Fault = model.StatusError, &model.Fault{Message: "its record is gone", Created: c.Created}
	})
	assert.Contains(t, s.refused(1, "cluster", "update", "slow", "--name", "slow2"), "cluster slow2 is in ERROR: its record is gone")
	s.set(false, "")
	s.ok("cluster", "delete", "slow2", "--force", "--yes")

	s.set(false, "no space left on the host")
	assert.Contains(t, s.refused(1, "cluster", "create", "broken", "--members", "2", "--timeout", "5s"), "no space left on the host")
}

func TestConnectToCluster(t *testing.T) {
	s := newService(t)
	s.ok("cluster", "create", "shop", "--members", "2", "--user", "app", "--database", "shop")
	bin := t.TempDir()
	install(t, bin, "mysql", fakeMysql)
	t.Setenv("PATH", bin+":/usr/bin:/bin")
	for flag, host := range map[string]string{"--read-only=false": "10.99.1.1", "--read-only": "10.99.1.2"} {
		r := s.with(run{stdin: secret + "\nSELECT 1;\n"}, "cluster", "connect", "shop", "--password-stdin", flag)
		require.NoError(t, r.failure, r.err)
		assert.Contains(t, left(t, bin, "options"), `host="`+host+`"`)
		assert.Contains(t, left(t, bin, "options"), `user="app"`, "the only one")
		assert.Equal(t, testCA, left(t, bin, "ca"))
	}
	ca := filepath.Join(t.TempDir(), "ca.pem")
	assert.Equal(t, "app:PASSWORD@tcp(10.99.1.1:3306)/shop?tls=huker\n", s.ok("cluster", "show", "shop", "--dsn", "go", "--database", "shop", "--ca", ca))
	assert.Equal(t, "mysql://app:PASSWORD@10.99.1.2:3306/?ssl-mode=REQUIRED\n", s.ok("cluster", "show", "shop", "--dsn", "uri", "--read-only"))

	// Databases and users by the cluster's name.
	s.ok("database", "create", "shop", "more")
	assert.Contains(t, s.ok("database", "list", "shop"), "more")
	s.ok("user", "create", "shop", "second")
	assert.Contains(t, s.ok("user", "list", "shop"), "second")
	s.ok("root", "enable", "shop")
	assert.Contains(t, s.refused(1, "database", "list", "nothing"), `there is no instance "nothing"`)
}

func TestReplicasOfInstances(t *testing.T) {
	s := newService(t)
	s.ok("instance", "create", "shop", "--volume", "2")
	assert.NotContains(t, s.ok("instance", "list"), "ROLE")
	golden(t, "replicas", s.ok("instance", "create", "copy", "--replica-of", "shop", "--replica-count", "2"))
	golden(t, "replica", s.ok("instance", "show", "copy-1"))
	assert.Contains(t, s.ok("instance", "show", "shop"), "replicas")
	one := s.ok("instance", "create", "third", "--replica-of", "shop", "-o", "json")
	assert.Equal(t, "replica", field(t, one, "role"))
	assert.Contains(t, s.refused(1, "instance", "create", "x", "--replica-of", "copy-1"), "replica of a replica")

	assert.Regexp(t, `role +primary`, s.ok("instance", "promote", "copy-2"))
	assert.Regexp(t, `role +replica`, s.ok("instance", "show", "shop"))
	s.refuseTurn = "no"
	assert.Contains(t, s.refused(1, "instance", "promote", "copy-1"), "it did not come about: copy-1 is a replica as before")
	s.refuseTurn = ""
	assert.NotContains(t, s.ok("instance", "detach", "copy-1"), "replica of")
	assert.Contains(t, s.refused(1, "instance", "detach", "copy-1"), "not a replica")
	assert.Contains(t, s.refused(1, "instance", "eject", "copy-2", "--yes"), "its database answers")
	assert.Contains(t, s.refused(2, "instance", "eject", "copy-2"), "--yes")
	s.guests.silent = field(t, s.ok("instance", "show", "copy-2", "-o", "json"), "id")
	s.ok("instance", "eject", "copy-2", "--yes")
	assert.Regexp(t, `role +replica`, s.ok("instance", "show", "copy-2"))
}

func TestClusterCompletion(t *testing.T) {
	s := newService(t)
	s.ok("cluster", "create", "shop", "--members", "2")
	for want, args := range map[string][]string{
		"shop\tACTIVE":          {"cluster", "show", ""},
		"shop-member-2\tACTIVE": {"cluster", "shrink", "shop", ""},
		"shop-member-2":         {"cluster", "switchover", "shop", "--to", ""},
		"strict":                {"cluster", "create", "x", "--policy", ""},
		"soft-anti-affinity":    {"cluster", "create", "x", "--locality", ""},
		"shop-member-1":         {"instance", "create", "x", "--replica-of", ""},
	} {
		out := s.ok(append([]string{"__complete"}, args...)...)
		assert.Contains(t, out, want, args)
		if args[1] == "shrink" || args[1] == "switchover" {
			assert.NotContains(t, out, "shop-member-1", "the primary stays")
		}
	}
	assert.NotContains(t, s.ok("__complete", "cluster", "delete", "shop", ""), "shop\t", "it is there already")
}
