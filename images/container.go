package images

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/pkg/stdcopy"
)

// leftoverAge is how long a build may run at most; a container of a build that is older was left by one that was killed.
const leftoverAge = time.Hour

// buildNetwork is the host's own: it reaches the package mirror wherever the host does, and needs no bridge, which an engine may not
// have. Nothing in a build listens.
const buildNetwork = "host"

// tailLines is how much of a failed script's output is in the error.
const tailLines = 15

// work is a container of a build: made, run to its end and removed.
type work struct {
	image  string
	user   string
	cmd    []string
	env    []string
	files  map[string][]byte // put in before it starts, by absolute path
	host   *container.HostConfig
	labels map[string]string // more of them
	net    bool
}

// create makes the container. The caller removes it with discard.
func (b *Builder) create(ctx context.Context, w work) (string, error) {
	labels := map[string]string{labelBuild: strconv.FormatInt(b.now().Unix(), 10)}
	for k, v := range w.labels {
		labels[k] = v
	}
	host := w.host
	if host == nil {
		host = &container.HostConfig{}
	}
	host.NetworkMode = "none"
	if w.net {
		host.NetworkMode = buildNetwork
	}
	cfg := &container.Config{Image: w.image, User: w.user, Entrypoint: w.cmd, Cmd: []string{}, Env: w.env, Labels: labels, WorkingDir: "/"}
	made, err := b.docker.ContainerCreate(ctx, cfg, host, nil, nil, "huker-build-"+strings.ToLower(rand.Text()[:12]))
	if err != nil {
		return "", fmt.Errorf("making a container of %s: %w", w.image, err)
	}
	if len(w.files) > 0 {
		if err := b.docker.CopyToContainer(ctx, made.ID, "/", bytes.NewReader(tarOf(w.files)), container.CopyToContainerOptions{}); err != nil {
			b.discard(ctx, made.ID)
			return "", fmt.Errorf("copying the recipe into the container: %w", err)
		}
	}
	return made.ID, nil
}

// discard removes a container also when ctx has ended.
func (b *Builder) discard(ctx context.Context, id string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	if err := b.docker.ContainerRemove(ctx, id, container.RemoveOptions{Force: true, RemoveVolumes: true}); err != nil {
		b.log.Warn("a container of a build was not removed", "op", "image.build", "container", id, "error", err)
	}
}

// run starts the container and waits for its end. Each line that it prints goes to line.
func (b *Builder) run(ctx context.Context, id string, line func(string)) error {
	ended, failed := b.docker.ContainerWait(ctx, id, container.WaitConditionNextExit)
	if err := b.docker.ContainerStart(ctx, id, container.StartOptions{}); err != nil {
		return fmt.Errorf("starting the container: %w", err)
	}
	logs, err := b.docker.ContainerLogs(ctx, id, container.LogsOptions{ShowStdout: true, ShowStderr: true, Follow: true})
	if err != nil {
		return fmt.Errorf("following the container: %w", err)
	}
	defer func() { _ = logs.Close() }()
	said := readLines(logs, line)
	select {
	case err := <-failed:
		return fmt.Errorf("waiting for the container: %w", err)
	case r := <-ended:
		if r.StatusCode != 0 {
			return fmt.Errorf("the script ended with status %d; its last lines:\n%s", r.StatusCode, said)
		}
	}
	return nil
}

// tail keeps the last lines of what a program says.
type tail struct{ lines []string }

func (t *tail) add(line string) {
	if t.lines = append(t.lines, line); len(t.lines) > tailLines {
		t.lines = t.lines[1:]
	}
}

// String gives them as they were printed.
func (t *tail) String() string { return strings.Join(t.lines, "\n") }

// readLines hands each line of a container's log to line and gives the last ones.
func readLines(logs io.Reader, line func(string)) *tail {
	r, w := io.Pipe()
	go func() {
		_, err := stdcopy.StdCopy(w, w, logs)
		w.CloseWithError(err)
	}()
	said := &tail{}
	sc := bufio.NewScanner(r)
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		line(sc.Text())
		said.add(sc.Text())
	}
	_ = r.CloseWithError(io.ErrClosedPipe) // lets the copy end when a line was too long
	return said
}

// readFiles gives the files below dir of a container, by their path below it, each of at most 32 MiB, for which want is true.
func (b *Builder) readFiles(ctx context.Context, id, dir string, want func(string) bool) (map[string][]byte, error) {
	rc, _, err := b.docker.CopyFromContainer(ctx, id, dir)
	if err != nil {
		return nil, fmt.Errorf("reading %s of the container: %w", dir, err)
	}
	defer func() { _ = rc.Close() }()
	out := map[string][]byte{}
	tr := tar.NewReader(rc)
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, fmt.Errorf("reading %s of the container: %w", dir, err)
		}
		_, name, _ := strings.Cut(h.Name, "/") // the first part is dir's own name
		if name == "" {
			name = h.Name // dir is a file
		}
		if h.Typeflag != tar.TypeReg || !want(name) {
			continue
		}
		data, err := io.ReadAll(io.LimitReader(tr, 32<<20))
		if err != nil {
			return nil, fmt.Errorf("reading %s/%s of the container: %w", dir, name, err)
		}
		out[name] = data
	}
}

// sweep removes containers that a killed build left.
func (b *Builder) sweep(ctx context.Context) error {
	list, err := b.docker.ContainerList(ctx, container.ListOptions{All: true, Filters: filters.NewArgs(filters.Arg("label", labelBuild))})
	if err != nil {
		return fmt.Errorf("listing containers: %w", err)
	}
	for _, c := range list {
		began, err := strconv.ParseInt(c.Labels[labelBuild], 10, 64)
		if err == nil && b.now().Sub(time.Unix(began, 0)) > leftoverAge {
			b.log.Info("removing what a killed build left", "op", "image.build", "container", c.ID)
			b.discard(ctx, c.ID)
		}
	}
	return nil
}

// tarOf packs files by absolute path.
func tarOf(files map[string][]byte) []byte {
	var buf bytes.Buffer
	tw := tar.NewWriter(&buf)
	for name, data := range files { // a bytes.Buffer does not fail
		_ = tw.WriteHeader(&tar.Header{Name: strings.TrimPrefix(path.Clean(name), "/"), Mode: 0o755, Size: int64(len(data)), Typeflag: tar.TypeReg})
		_, _ = tw.Write(data)
	}
	_ = tw.Close()
	return buf.Bytes()
}

// engineStream reads the messages of a long call to the engine to their end and gives the error or the last status among them.
func engineStream(r io.Reader, line func(string)) (last string, err error) {
	d := json.NewDecoder(r)
	for {
		var m struct {
			Status string          `json:"status"`
			Stream string          `json:"stream"`
			Error  string          `json:"error"`
			Aux    json.RawMessage `json:"aux"`
		}
		if err := d.Decode(&m); errors.Is(err, io.EOF) {
			return last, nil
		} else if err != nil {
			return last, fmt.Errorf("reading the engine's answer: %w", err)
		}
		if m.Error != "" {
			return last, errors.New(strings.TrimSpace(m.Error))
		}
		if s := strings.TrimSpace(m.Status + m.Stream); s != "" {
			last = s
			line(s)
		}
	}
}
