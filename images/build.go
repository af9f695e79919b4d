package images

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/client"
)

const searchPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// Progress is told, line by line, what a build does. nil is allowed.
type Progress func(line string)

func (p Progress) say(format string, args ...any) {
	if p != nil {
		p(fmt.Sprintf(format, args...))
	}
}

// Builder makes, finds and checks images with a Docker engine. It keeps no state.
type Builder struct {
	docker client.APIClient
	log    *slog.Logger
	mirror string
	detail Progress
	now    func() time.Time
}

// Option changes a Builder.
type Option func(*Builder)

// WithMirror has packages come from a Debian mirror; "" leaves it to debootstrap's default or what the base image is set to.
func WithMirror(url string) Option { return func(b *Builder) { b.mirror = url } }

// WithDetail has what the programs of a build print told as well, line by line. Of one that fails the last lines are in the error anyway.
func WithDetail(detail Progress) Option { return func(b *Builder) { b.detail = detail } }

// NewBuilder gives a Builder.
func NewBuilder(docker client.APIClient, log *slog.Logger, options ...Option) *Builder {
	b := &Builder{docker: docker, log: log, now: time.Now}
	for _, o := range options {
		o(b)
	}
	return b
}

// Built is an image that is there.
type Built struct {
	Ref    string
	ID     string
	Facts  Facts
	Size   int64 // bytes
	Reused bool  // it was there already
}

// Resolve finds the newest image of an entry as it is now; ErrNotBuilt when there is none. It makes one call to the engine.
func (b *Builder) Resolve(ctx context.Context, e Entry) (Built, error) {
	content, err := e.Content()
	if err != nil {
		return Built{}, err
	}
	found, err := b.find(ctx, filters.Arg("label", LabelContent+"="+content))
	if err != nil {
		return Built{}, err
	}
	var best Built
	for _, s := range found {
		facts, err := factsOf(s.Labels)
		if err != nil {
			return Built{}, fmt.Errorf("image %s: %w", s.ID, err)
		}
		ref := refAmong(s.RepoTags, facts.ref())
		if ref == facts.ref() || best.Ref == "" {
			best = Built{Ref: ref, ID: s.ID, Facts: facts, Size: s.Size, Reused: true}
		}
		if ref == facts.ref() { // images that others derived from it have its labels, but not its name
			break
		}
	}
	if best.Ref == "" {
		return Built{}, fmt.Errorf("%w: %s", ErrNotBuilt, e)
	}
	return best, nil
}

// noName is what engines before 23.0 list as the name of an image that lost its name.
const noName = "<none>:<none>"

// refAmong gives the name by which an image is to be used: its own if it has it, as instances were made by that, else any.
func refAmong(names []string, own string) string {
	other := ""
	for _, n := range names {
		switch {
		case n == own:
			return own
		case n != noName && other == "":
			other = n
		}
	}
	return other
}

// rename gives the image of an entry its name back if it lost it: somebody removed it while containers of it were there, or pulled
// another one over it. To build it anew would take minutes, and give another image than those containers have.
func (b *Builder) rename(ctx context.Context, e Entry, progress Progress) error {
	content, err := e.Content()
	if err != nil {
		return err
	}
	found, err := b.find(ctx, filters.Arg("label", LabelContent+"="+content))
	if err != nil || len(found) == 0 {
		return err
	}
	facts, err := factsOf(found[0].Labels)
	if err != nil {
		return fmt.Errorf("image %s: %w", found[0].ID, err)
	}
	progress.say("naming image %s again: %s", found[0].ID, facts.ref())
	if err := b.docker.ImageTag(ctx, found[0].ID, facts.ref()); err != nil {
		return fmt.Errorf("naming image %s: %w", found[0].ID, err)
	}
	return nil
}

// find lists images, newest first.
func (b *Builder) find(ctx context.Context, by ...filters.KeyValuePair) ([]image.Summary, error) {
	found, err := b.docker.ImageList(ctx, image.ListOptions{Filters: filters.NewArgs(by...)})
	if err != nil {
		return nil, fmt.Errorf("listing images: %w", err)
	}
	slices.SortStableFunc(found, func(a, b image.Summary) int { return cmp.Compare(b.Created, a.Created) })
	return found, nil
}

// Build makes the image of an entry, or finds it made.
func (b *Builder) Build(ctx context.Context, e Entry, progress Progress) (Built, error) {
	found, err := b.Resolve(ctx, e)
	if errors.Is(err, ErrNotBuilt) {
		if err := b.rename(ctx, e, progress); err != nil {
			return Built{}, err
		}
		found, err = b.Resolve(ctx, e)
	}
	if errors.Is(err, ErrNotBuilt) {
		return b.Rebuild(ctx, e, progress)
	}
	return found, err
}

// Rebuild makes the image of an entry anew, with the packages of now, also when there is one.
func (b *Builder) Rebuild(ctx context.Context, e Entry, progress Progress) (Built, error) {
	content, err := e.Content()
	if err != nil {
		return Built{}, err
	}
	if err := b.sweep(ctx); err != nil {
		return Built{}, err
	}
	w, err := b.source(ctx, e, progress)
	if err != nil {
		return Built{}, fmt.Errorf("building %s: %w", e, err)
	}
	id, err := b.create(ctx, w)
	if err != nil {
		return Built{}, fmt.Errorf("building %s: %w", e, err)
	}
	defer b.discard(ctx, id)
	if err := b.run(ctx, id, b.steps(progress)); err != nil {
		return Built{}, fmt.Errorf("building %s: %w", e, err)
	}
	built, err := b.publish(ctx, e, content, id, progress)
	if err != nil {
		return Built{}, fmt.Errorf("building %s: %w", e, err)
	}
	b.log.Info("image built", "op", "image.build", "entry", e.String(), "image", built.Ref, "bytes", built.Size)
	return built, nil
}

func (p Progress) line(s string) { p.say("%s", s) }

// steps tells what a recipe says that it does, and leaves what its programs say to the detail.
func (b *Builder) steps(progress Progress) Progress {
	return func(line string) {
		if step, ok := strings.CutPrefix(line, "## "); ok {
			progress.line(step)
			return
		}
		b.detail.line(line)
	}
}

// source gives the container in which an entry is built: what it starts from, and the script.
func (b *Builder) source(ctx context.Context, e Entry, progress Progress) (work, error) {
	w := work{user: "0", cmd: []string{"/bin/sh", "/huker-build/run.sh"}}
	scripts := []string{"common.sh", "prepare-mysql.sh"}
	env := map[string]string{"HUKER_UID": strconv.Itoa(UID), "HUKER_GID": strconv.Itoa(GID), "HUKER_LIBRARIES": libraries()}
	switch e.Source.Kind {
	case SourceDebian:
		ref, err := b.Base(ctx, e.Source.Suite, progress)
		if err != nil {
			return work{}, err
		}
		w.image, w.net = ref, true
		scripts = slices.Insert(scripts, 1, "install-debian.sh")
		env["HUKER_SUITE"], env["HUKER_MIRROR"], env["HUKER_PACKAGES"] = e.Source.Suite, b.mirror, strings.Join(e.Source.Packages, " ")
		for _, name := range []string{"http_proxy", "https_proxy", "no_proxy"} {
			if v := os.Getenv(name); v != "" {
				env[name] = v
			}
		}
	case SourceStock:
		if err := b.ensureStock(ctx, e.Source.Image, progress); err != nil {
			return work{}, err
		}
		w.image = e.Source.Image
	}
	var script strings.Builder
	for _, s := range scripts {
		text, err := recipe(s)
		if err != nil {
			return work{}, err
		}
		script.WriteString(text + "\n")
	}
	w.files = map[string][]byte{"/huker-build/run.sh": []byte(script.String())}
	for k, v := range env {
		w.env = append(w.env, k+"="+v)
	}
	return w, nil
}

// ensureStock has a stock image be there. One that is there is not asked for again: its name may move, and a build must not change
// under the user's feet.
func (b *Builder) ensureStock(ctx context.Context, ref string, progress Progress) error {
	_, err := b.docker.ImageInspect(ctx, ref)
	if errdefs.IsNotFound(err) {
		return b.pull(ctx, ref, progress)
	}
	if err != nil {
		return fmt.Errorf("looking for %s: %w", ref, err)
	}
	return nil
}

// publish makes an image of what a build left in its container.
func (b *Builder) publish(ctx context.Context, e Entry, content, id string, progress Progress) (Built, error) {
	f, add, err := b.describe(ctx, e, content, id)
	if err != nil {
		return Built{}, err
	}
	flat := flattener{drop: alwaysDropped(), add: add, modified: b.now()}
	if e.Source.Kind == SourceDebian {
		if err := b.prune(ctx, e, id, &flat); err != nil {
			return Built{}, err
		}
	}
	progress.say("making the image")
	ref := f.ref()
	if err := b.flatten(ctx, id, &flat, ref, changesOf(f)); err != nil {
		return Built{}, err
	}
	got, err := b.docker.ImageInspect(ctx, ref)
	if err != nil {
		return Built{}, fmt.Errorf("looking at the image: %w", err)
	}
	return Built{Ref: ref, ID: got.ID, Facts: f, Size: got.Size}, nil
}

// describe reads what the script found out, and gives the files that say so in the image.
func (b *Builder) describe(ctx context.Context, e Entry, content, id string) (Facts, map[string][]byte, error) {
	out, err := b.readFiles(ctx, id, "/huker-build/out", func(string) bool { return true })
	if err != nil {
		return Facts{}, nil, err
	}
	f := Facts{Engine: e.Engine, Series: e.Version, Version: strings.TrimSpace(string(out["version"])), UID: UID, GID: GID, Content: content}
	for _, p := range neededPlugins() {
		f.Plugins = append(f.Plugins, p.Name)
	}
	if f.Zones, err = strconv.Atoi(strings.TrimSpace(string(out["zones"]))); err != nil || (f.Zones == 0 && e.Source.Kind == SourceDebian) {
		return Facts{}, nil, fmt.Errorf("%w: the time zone tables were not filled: %q", ErrBroken, out["zones"])
	}
	if !versionName.MatchString(f.Version) || !strings.HasPrefix(f.Version+".", e.Version+".") {
		return Facts{}, nil, fmt.Errorf("%w: the source holds version %q, not one of series %s", ErrBroken, f.Version, e.Version)
	}
	params, err := parseParameters(e.Engine, f.Version, probe{out["variables.jsonl"], out["probed"], out["refused"], out["values"]})
	if err != nil {
		return Facts{}, nil, fmt.Errorf("reading the catalogue of parameters: %w", err)
	}
	if err := params.check(f); err != nil {
		return Facts{}, nil, err
	}
	add := map[string][]byte{}
	for name, v := range map[string]any{FactsFile: f, CatalogueFile: params} {
		data, err := json.MarshalIndent(v, "", " ")
		if err != nil {
			return Facts{}, nil, fmt.Errorf("encoding %s: %w", name, err)
		}
		add[strings.TrimPrefix(name, "/")] = append(data, '\n')
	}
	return f, add, nil
}

// prune has the flattener leave out packages that the server does not need, and tell of the others only.
func (b *Builder) prune(ctx context.Context, e Entry, id string, flat *flattener) error {
	dpkg, err := b.readFiles(ctx, id, "/var/lib/dpkg", func(name string) bool {
		return name == "status" || (strings.HasPrefix(name, "info/") && strings.HasSuffix(name, ".list"))
	})
	if err != nil {
		return err
	}
	lists := map[string][]byte{}
	for name, data := range dpkg {
		if base, ok := strings.CutPrefix(name, "info/"); ok {
			lists[base] = data
		}
	}
	pkgs := readPackages(dpkg["status"], lists)
	keep, err := pkgs.needed(append(shellPackages(), e.Source.Packages...), e.Source.Without)
	if err != nil {
		return fmt.Errorf("working out what the server needs: %w", err)
	}
	flat.drop = append(flat.drop, droppedPaths()...)
	flat.dropped = func(file string) bool { return pkgs.drops(file, keep) }
	flat.add["var/lib/dpkg/status"] = pkgs.status(keep)
	return nil
}

// flatten exports a container through the flattener into an image.
func (b *Builder) flatten(ctx context.Context, id string, flat *flattener, ref string, changes []string) error {
	root, err := b.docker.ContainerExport(ctx, id)
	if err != nil {
		return fmt.Errorf("exporting the container: %w", err)
	}
	defer func() { _ = root.Close() }()
	r, w := io.Pipe()
	copied := make(chan error, 1)
	go func() {
		err := flat.copy(w, root)
		w.CloseWithError(err)
		copied <- err
	}()
	importErr := b.importTar(ctx, r, ref, changes)
	_ = r.CloseWithError(errors.New("the import ended"))
	if err := <-copied; err != nil && importErr == nil {
		return err
	}
	return importErr
}

// changesOf gives the image's configuration in Dockerfile's words.
func changesOf(f Facts) []string {
	changes := []string{
		fmt.Sprintf("USER %d:%d", f.UID, f.GID), "WORKDIR /", "ENV PATH=" + searchPath, `CMD ["mysqld"]`, "EXPOSE 3306",
	}
	for k, v := range f.labels() {
		changes = append(changes, label(k, v))
	}
	slices.Sort(changes)
	return changes
}

func label(k, v string) string { return "LABEL " + k + "=" + strconv.Quote(v) }

func libraries() string {
	var l []string
	for _, p := range neededPlugins() {
		l = append(l, p.Library)
	}
	return strings.Join(l, ";")
}

// check says whether a catalogue is plausible for the image.
func (p Parameters) check(f Facts) error {
	const fewest = 400 // any MySQL since 8.0 has more
	switch {
	case p.Engine != f.Engine || p.Version != f.Version:
		return fmt.Errorf("%w: its catalogue of parameters is of %s %s, the image of %s %s", ErrBroken, p.Engine, p.Version, f.Engine, f.Version)
	case len(p.Parameters) < fewest:
		return fmt.Errorf("%w: its catalogue has %d parameters only", ErrBroken, len(p.Parameters))
	}
	for _, name := range []string{"max_connections", "rpl_semi_sync_source_timeout", "clone_max_concurrency"} {
		if v, ok := p.Find(name); !ok || !v.Dynamic {
			return fmt.Errorf("%w: its catalogue does not have %s as a dynamic parameter", ErrBroken, name)
		}
	}
	if v, ok := p.Find("datadir"); !ok || v.Dynamic {
		return fmt.Errorf("%w: its catalogue does not have datadir as a read-only parameter", ErrBroken)
	}
	return nil
}
