package e2e

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/huker/huker/internal/testenv"
)

// Twenty at once; the quota refuses the next.
func TestTwentyAtOnce(t *testing.T) {
	p := newPlane(t)
	p.start()
	const n = 20
	var wg sync.WaitGroup
	ids := make([]string, n)
	codes := make([]int, n)
	for i := range n {
		wg.Add(1)
		go func() {
			defer wg.Done()
			code, answer, err := p.try(http.MethodPost, "/v1.0/"+p.project+"/instances", createBody("n", 1))
			if err == nil {
				codes[i], ids[i] = code, dig[string](answer, "instance", "id")
			}
		}()
	}
	wg.Wait()
	for i := range n {
		require.Equal(t, http.StatusOK, codes[i])
	}
	code, answer := p.call(http.MethodPost, "/v1.0/"+p.project+"/instances", createBody("one too many", 1))
	require.Equal(t, http.StatusRequestEntityTooLarge, code)
	require.Contains(t, dig[string](answer, "overLimit", "message"), "instances")
	addresses := map[string]bool{}
	for _, id := range ids {
		addresses[address(p.awaitActive(id))] = true
	}
	require.Len(t, addresses, n, "each has an address of its own")
	for _, id := range ids {
		code, _ := p.call(http.MethodDelete, p.path(id), nil)
		require.Equal(t, http.StatusAccepted, code)
	}
	for _, id := range ids {
		p.awaitGone(id)
	}
	require.Empty(t, p.leftovers())
}

// No secret in logs, process lists, docker inspect, or files that others can read.
func TestSecretsStaySecret(t *testing.T) {
	p := newPlane(t)
	p.start()
	id := p.create("private", 1)
	p.awaitActive(id)
	_, answer := p.call(http.MethodPost, p.path(id)+"/root", nil)
	rootPassword := dig[string](answer, "user", "password")
	require.NotEmpty(t, rootPassword, "%v", answer)
	secrets := map[string]string{
		"a user's password": testPassword, "root's password": rootPassword, "the administrator's password": p.admin().Password,
		"a token": p.token, "a private key": "PRIVATE KEY",
	}
	places := map[string]string{"the control plane's log": p.log.String()}
	docker := testenv.RequireBinary(t, "docker")
	name := p.container(id).Name
	places["docker inspect"], _ = command(t, docker, "inspect", name)
	places["docker logs"], _ = command(t, docker, "logs", name)
	places["process list"], _ = command(t, "ps", "axwwe")
	for place, text := range places {
		require.NotEmpty(t, text, place)
		for what, secret := range secrets {
			require.NotContains(t, text, secret, "%s in %s", what, place)
		}
	}
	for _, log := range []string{"error", "general", "slow_query"} {
		_, answer := p.call(http.MethodGet, p.path(id)+"/log/"+log+"/content?limit=200000", nil)
		text, err := json.Marshal(answer)
		require.NoError(t, err)
		require.NotContains(t, string(text), testPassword)
		require.NotContains(t, string(text), rootPassword)
	}
	require.NoError(t, filepath.Walk(p.dir, func(path string, i os.FileInfo, err error) error {
		if err != nil || i.Mode()&os.ModeSymlink != 0 || filepath.Base(filepath.Dir(path)) == "bin" {
			return err
		}
		if i.Mode().IsRegular() && i.Mode().Perm()&0o007 != 0 && !strings.HasSuffix(path, ".crt") {
			t.Errorf("%s has mode %04o", path, i.Mode().Perm())
		}
		return nil
	}))
	top, err := os.Stat(p.dir)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o700), top.Mode().Perm())
}

// A database's container can do as little as possible.
func TestHardening(t *testing.T) {
	p := newPlane(t)
	p.start()
	id := p.create("hard", 1)
	p.awaitActive(id)
	text, err := command(t, testenv.RequireBinary(t, "docker"), "inspect", p.container(id).Name)
	require.NoError(t, err)
	var all []struct {
		Config     struct{ User string }
		HostConfig struct {
			ReadonlyRootfs, Privileged                         bool
			CapAdd, CapDrop, SecurityOpt                       []string
			Memory, MemorySwap, CPUPeriod, CPUQuota, PidsLimit int64 // encoding/json does not mind case
		}
	}
	require.NoError(t, json.Unmarshal([]byte(text), &all))
	c := all[0]
	require.Equal(t, "999:999", c.Config.User)
	require.True(t, c.HostConfig.ReadonlyRootfs)
	require.False(t, c.HostConfig.Privileged)
	require.Empty(t, c.HostConfig.CapAdd)
	require.Equal(t, []string{"ALL"}, c.HostConfig.CapDrop)
	require.Contains(t, c.HostConfig.SecurityOpt, "no-new-privileges")
	require.EqualValues(t, 512<<20, c.HostConfig.Memory)
	require.EqualValues(t, 512<<20, c.HostConfig.MemorySwap, "no swap")
	require.Equal(t, c.HostConfig.CPUPeriod, c.HostConfig.CPUQuota, "one core")
	require.Positive(t, c.HostConfig.CPUQuota)
	require.Positive(t, c.HostConfig.PidsLimit)
}
