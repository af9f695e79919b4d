package images

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
)

// verifyTime bounds a verification.
const verifyTime = 5 * time.Minute

// Check is one thing that was looked at.
type Check struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail,omitempty"`
}

// Report is the result of a verification.
type Report struct {
	Ref    string        `json:"ref"`
	Facts  Facts         `json:"facts"`
	Checks []Check       `json:"checks"`
	Took   time.Duration `json:"took_ns"`
}

// Err is nil when every check holds, else ErrBroken with those that do not.
func (r Report) Err() error {
	var bad []string
	for _, c := range r.Checks {
		if !c.OK {
			bad = append(bad, c.Name+": "+c.Detail)
		}
	}
	if len(bad) == 0 {
		return nil
	}
	return fmt.Errorf("%w: %s: %s", ErrBroken, r.Ref, strings.Join(bad, "; "))
}

// Verify boots the server of a database image as Huker runs it and looks whether it has what Huker needs. An error means that this
// could not be done; what does not hold is in the report.
func (b *Builder) Verify(ctx context.Context, ref string) (Report, error) {
	ctx, cancel := context.WithTimeout(ctx, verifyTime)
	defer cancel()
	began := b.now()
	img, err := b.docker.ImageInspect(ctx, ref)
	if errdefs.IsNotFound(err) {
		return Report{}, fmt.Errorf("%w: %s", ErrNotBuilt, ref)
	}
	if err != nil {
		return Report{}, fmt.Errorf("looking at %s: %w", ref, err)
	}
	facts, err := factsOf(img.Config.Labels)
	if err != nil {
		return Report{}, fmt.Errorf("verifying %s: %w", ref, err)
	}
	if err := b.sweep(ctx); err != nil {
		return Report{}, err
	}
	r := Report{Ref: ref, Facts: facts}
	user := fmt.Sprintf("%d:%d", facts.UID, facts.GID)
	r.Checks = append(r.Checks, Check{Name: "configured user", OK: img.Config.User == user, Detail: img.Config.User})
	id, err := b.create(ctx, verification(ref, facts))
	if err != nil {
		return Report{}, fmt.Errorf("verifying %s: %w", ref, err)
	}
	defer b.discard(ctx, id)
	r.Checks = append(r.Checks, b.checkFiles(ctx, id, facts)...)
	var said []Check
	if err := b.run(ctx, id, func(line string) {
		if c, ok := parseCheck(line); ok {
			said = append(said, c)
		}
	}); err != nil {
		r.Checks = append(r.Checks, Check{Name: "script", Detail: err.Error()})
	}
	r.Checks = append(append(r.Checks, said...), missing(said, facts)...)
	r.Took = b.now().Sub(began)
	return r, nil
}

// verification is the container of a verification, hardened as an instance's.
func verification(ref string, f Facts) work {
	script, err := recipe("verify-mysql.sh")
	if err != nil {
		script = "exit 1" // cannot be: it is embedded, and a test reads it
	}
	owner := fmt.Sprintf("uid=%d,gid=%d,mode=0700", f.UID, f.GID)
	pids := int64(512)
	return work{
		image: ref, user: fmt.Sprintf("%d:%d", f.UID, f.GID), cmd: []string{"/bin/sh", "-c", script},
		env: []string{
			"HUKER_UID=" + strconv.Itoa(f.UID), "HUKER_GID=" + strconv.Itoa(f.GID), "HUKER_VERSION=" + f.Version,
			"HUKER_PLUGINS=" + strings.Join(f.Plugins, ","), "HUKER_ZONES=" + strconv.Itoa(f.Zones), "HUKER_LIBRARIES=" + libraries(),
		},
		host: &container.HostConfig{
			ReadonlyRootfs: true, CapDrop: []string{"ALL"}, SecurityOpt: []string{"no-new-privileges"},
			Tmpfs:     map[string]string{"/tmp": owner, DataDir: owner + ",size=1g"},
			Resources: container.Resources{PidsLimit: &pids},
		},
	}
}

// checkFiles looks at what the image says of itself.
func (b *Builder) checkFiles(ctx context.Context, id string, f Facts) []Check {
	var stored Facts
	facts := Check{Name: "facts", OK: true}
	if err := b.readJSON(ctx, id, FactsFile, &stored); err != nil {
		facts = Check{Name: "facts", Detail: err.Error()}
	} else if stored.Version != f.Version || stored.Content != f.Content || stored.UID != f.UID || stored.Zones != f.Zones || !slices.Equal(stored.Plugins, f.Plugins) {
		facts = Check{Name: "facts", Detail: "the image's labels and its " + FactsFile + " differ"}
	}
	var params Parameters
	catalogue := Check{Name: "catalogue", OK: true}
	err := b.readJSON(ctx, id, CatalogueFile, &params)
	if err == nil {
		err = params.check(f)
		catalogue.Detail = fmt.Sprintf("%d parameters", len(params.Parameters))
	}
	if err != nil {
		catalogue = Check{Name: "catalogue", Detail: err.Error()}
	}
	return []Check{facts, catalogue}
}

// Parameters reads the catalogue of parameters out of an image, without running it.
func (b *Builder) Parameters(ctx context.Context, ref string) (Parameters, error) {
	id, err := b.create(ctx, work{image: ref, cmd: []string{"/bin/true"}})
	if err != nil {
		return Parameters{}, err
	}
	defer b.discard(ctx, id)
	var p Parameters
	if err := b.readJSON(ctx, id, CatalogueFile, &p); err != nil {
		return Parameters{}, fmt.Errorf("image %s: %w", ref, err)
	}
	return p, nil
}

func (b *Builder) readJSON(ctx context.Context, id, file string, into any) error {
	got, err := b.readFiles(ctx, id, file, func(string) bool { return true })
	if errdefs.IsNotFound(err) {
		return fmt.Errorf("%w: there is no %s", ErrBroken, file)
	}
	if err != nil {
		return err
	}
	data, ok := got[path.Base(file)]
	if !ok {
		return fmt.Errorf("%w: %s is not a file", ErrBroken, file)
	}
	if err := json.Unmarshal(data, into); err != nil {
		return fmt.Errorf("%w: reading %s: %w", ErrBroken, file, err)
	}
	return nil
}

// parseCheck reads a line of the script: "check<TAB>name<TAB>ok|failed<TAB>detail".
func parseCheck(line string) (Check, bool) {
	f := strings.SplitN(line, "\t", 4)
	if len(f) != 4 || f[0] != "check" || f[1] == "" || (f[2] != "ok" && f[2] != "failed") {
		return Check{}, false
	}
	return Check{Name: f[1], OK: f[2] == "ok", Detail: strings.TrimSpace(f[3])}, true
}

// missing gives a failed check for each that the script should have come to: a script that stopped early proves nothing.
func missing(said []Check, f Facts) []Check {
	want := []string{"user", "hardened", "libraries", "template", "starts", "version", "semi-sync", "clone", "accounts", "no transactions", "time zones", "shutdown"}
	for _, p := range f.Plugins {
		want = append(want, "plugin "+p)
	}
	for _, p := range neededPlugins() {
		if !slices.Contains(f.Plugins, p.Name) {
			want = append(want, "plugin "+p.Name)
		}
	}
	var out []Check
	for _, name := range want {
		if !slices.ContainsFunc(said, func(c Check) bool { return c.Name == name }) {
			out = append(out, Check{Name: name, Detail: errNotReached.Error()})
		}
	}
	return out
}

var errNotReached = errors.New("not reached")
