package e2e

import (
	"context"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/huker/huker/runtime"
	"github.com/huker/huker/runtime/docker"
	"github.com/huker/huker/test/site"
)

// onSite is where deployments are made while it is set; else each is a `huker serve` of its own.
var onSite *site.Site

// welcome adds the site's hosts to a deployment that has just begun, and waits until they take databases.
func (p *plane) welcome() {
	p.t.Helper()
	path := "/v1.0/" + p.project + "/mgmt/hosts"
	_, answer := p.call("GET", path, nil)
	known, _ := answer["hosts"].([]any)
	if len(known) == 0 {
		for _, id := range p.hosts {
			code, answer := p.call("POST", path, map[string]any{"host": map[string]any{"name": id}})
			require.Equal(p.t, 201, code, "%v", answer)
		}
	}
	require.Eventually(p.t, func() bool {
		_, answer := p.call("GET", path, nil)
		all, _ := answer["hosts"].([]any)
		ready := 0
		for _, h := range all {
			if _, trouble := h.(map[string]any)["trouble"]; dig[bool](h, "up") && dig[string](h, "subnet") != "" && !trouble {
				ready++ // trouble: what its guests run is still on its way from another host
			}
		}
		_, versions := p.call("GET", "/v1.0/"+p.project+"/datastores/mysql/versions", nil)
		offered, _ := versions["versions"].([]any)
		return ready == len(p.hosts) && len(offered) > 0
	}, time.Minute, 50*time.Millisecond, "the hosts do not come:\n%s", p.log.tail(8192))
}

// list gives the containers on all of a deployment's hosts.
func (p *plane) list(ctx context.Context, labels map[string]string) ([]runtime.State, error) {
	var all []runtime.State
	for _, e := range p.engines {
		some, err := e.List(ctx, labels)
		if err != nil {
			return nil, err
		}
		all = append(all, some...)
	}
	return all, nil
}

// engineOf gives the engine that has an instance's container.
func (p *plane) engineOf(id string) *docker.Driver {
	p.t.Helper()
	for _, e := range p.engines {
		all, err := e.List(p.t.Context(), map[string]string{"io.huker.instance": id})
		require.NoError(p.t, err)
		if len(all) > 0 {
			return e
		}
	}
	require.Fail(p.t, "no host has the container")
	return nil
}
