// Package deploy puts a control plane on this host, and takes it away again: `huker up` and `huker down`.
//
// It owns the control plane's container and the order of taking things down. It must not know what runs inside.
package deploy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/huker/huker/network"
	"github.com/huker/huker/runtime"
)

// Bounds.
const (
	stopGrace      = 90 * time.Second // a database's clean shutdown
	planeGrace     = 20 * time.Second
	healthDeadline = 90 * time.Second
	healthEvery    = 100 * time.Millisecond
)

// roleLabel tells the control plane's container from databases.
const (
	roleLabel = "io.huker.role"
	rolePlane = "control-plane"
)

// Engine is what a deployment needs of the container runtime.
type Engine interface {
	runtime.Runtime
	runtime.Volumes
	RemoveNetwork(ctx context.Context, name string) error
	ListNetworks(ctx context.Context, labels map[string]string) ([]runtime.Network, error)
}

// Plane says how the control plane's container is to be.
type Plane struct {
	Name    string   // of the deployment
	DataDir string   // bound at the same path inside: Docker mounts parts of it into databases
	Socket  string   // of Docker, on the host
	Image   string   // Huker's service image
	Args    []string // of `huker serve`
	Health  string   // URL
}

func (p Plane) container() string { return p.Name + "-control" }

// spec binds only what is there after a reboot, before anything else has run: else Docker could not start the container then, and does not
// try twice. iptables' lock, /run/xtables.lock, is not; with nf_tables, which both sides have to use (see backend), there is no need of it.
func (p Plane) spec() runtime.Spec {
	return runtime.Spec{
		Name: p.container(), Image: p.Image, Entrypoint: []string{"/usr/local/bin/huker"}, Args: append([]string{"serve"}, p.Args...),
		Labels: map[string]string{roleLabel: rolePlane}, Network: "host", ReadOnly: true, NoNewPrivs: true, Restart: true,
		AddCaps: []string{"NET_ADMIN", "NET_RAW"}, StopGrace: planeGrace,
		Mounts: []runtime.Mount{
			{Kind: runtime.MountBind, Source: p.DataDir, Target: p.DataDir},
			{Kind: runtime.MountBind, Source: p.Socket, Target: "/var/run/docker.sock"},
			{Kind: runtime.MountMemory, Target: "/tmp", SizeMB: 64},
		},
	}
}

// Up has the control plane run as told and waits until it is healthy. A container that was made otherwise is replaced; databases are
// not touched.
func Up(ctx context.Context, e Engine, p Plane, say func(string)) error {
	if err := os.MkdirAll(p.DataDir, 0o700); err != nil {
		return fmt.Errorf("making the data directory: %w", err)
	}
	spec := p.spec()
	there, err := e.Inspect(ctx, spec.Name)
	switch {
	case errors.Is(err, runtime.ErrNotFound):
	case err != nil:
		return err
	case there.Labels[runtime.SpecLabel] != spec.Hash():
		say("replacing the control plane (databases go on)")
		if err := e.Stop(ctx, spec.Name, planeGrace); err != nil {
			return err
		}
		if err := e.Remove(ctx, spec.Name); err != nil {
			return err
		}
		there = runtime.State{}
	}
	if err := e.Create(ctx, spec); err != nil {
		return err
	}
	if there.Phase != runtime.PhaseRunning {
		say("starting the control plane")
	}
	if err := e.Start(ctx, spec.Name); err != nil { // one that runs is left alone
		return err
	}
	return awaitHealth(ctx, p)
}

func awaitHealth(ctx context.Context, p Plane) error {
	ctx, cancel := context.WithTimeout(ctx, healthDeadline)
	defer cancel()
	tick := time.NewTicker(healthEvery)
	defer tick.Stop()
	for {
		err := healthy(ctx, p.Health)
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("the control plane is not healthy: %w (docker logs %s tells more)", err, p.container())
		}
	}
}

func healthy(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	answer, err := (&http.Client{}).Do(r)
	if err != nil {
		return err
	}
	defer func() { _ = answer.Body.Close() }()
	body, _ := io.ReadAll(io.LimitReader(answer.Body, 4096))
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", answer.Status, body)
	}
	return nil
}

// Down takes away everything of a deployment but its data: the control plane first, so that it does not bring back what goes; then
// the databases, with a clean shutdown; then rules and network. With purge the data goes too.
func Down(ctx context.Context, e Engine, name, dataDir string, purge bool, say func(string)) error {
	plane := Plane{Name: name}.container()
	say("stopping the control plane")
	if err := e.Stop(ctx, plane, planeGrace); err != nil && !errors.Is(err, runtime.ErrNotFound) {
		return err
	}
	if err := e.Remove(ctx, plane); err != nil {
		return err
	}
	if err := removeContainers(ctx, e, say); err != nil {
		return err
	}
	wall, err := network.NewFirewall(name, "")
	if err != nil {
		return err
	}
	if err := errors.Join(wall.Remove(ctx), network.NewBalancer(name, "").Remove(ctx)); err != nil {
		return err
	}
	nets, err := e.ListNetworks(ctx, nil)
	if err != nil {
		return err
	}
	for _, n := range nets {
		if err := e.RemoveNetwork(ctx, n.Name); err != nil {
			return fmt.Errorf("removing network %s (is a container of yours in it? disconnect it): %w", n.Name, err)
		}
	}
	if !purge {
		return nil
	}
	return removeData(ctx, e, dataDir, say)
}

// removeContainers stops all databases at once and removes them.
func removeContainers(ctx context.Context, e Engine, say func(string)) error {
	all, err := e.List(ctx, nil)
	if err != nil {
		return err
	}
	if len(all) > 0 {
		say(fmt.Sprintf("shutting down %d databases", len(all)))
	}
	errs := make([]error, len(all))
	var wg sync.WaitGroup
	for i, c := range all {
		wg.Add(1)
		go func() {
			defer wg.Done()
			if err := e.Stop(ctx, c.Name, stopGrace); err != nil && !errors.Is(err, runtime.ErrNotFound) {
				errs[i] = err
				return
			}
			errs[i] = e.Remove(ctx, c.Name)
		}()
	}
	wg.Wait()
	return errors.Join(errs...)
}

func removeData(ctx context.Context, e Engine, dataDir string, say func(string)) error {
	volumes, err := e.ListVolumes(ctx, nil)
	if err != nil {
		return err
	}
	say(fmt.Sprintf("removing %d volumes and %s", len(volumes), dataDir))
	for _, v := range volumes {
		if err := e.RemoveVolume(ctx, v.Name); err != nil {
			return err
		}
	}
	// Only what looks like ours: a mistyped directory must not cost a home.
	if _, err := os.Stat(filepath.Join(dataDir, "pki")); err != nil {
		return nil //nolint:nilerr // nothing of ours is there
	}
	if err := os.RemoveAll(dataDir); err != nil {
		return fmt.Errorf("removing the data directory: %w", err)
	}
	return nil
}
