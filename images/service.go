package images

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/docker/docker/api/types/build"
	"github.com/docker/docker/api/types/filters"
)

// serviceFiles is all of the project that goes into the service's image.
func serviceFiles() []string {
	return []string{"Dockerfile", "bin/huker", "bin/huker-guestagent", "bin/huker-supervisor"}
}

// BuildService makes the image of Huker's own service from the Dockerfile and the programs in dir/bin, or finds it made: its content
// hash is that of these files. version is a label only.
func (b *Builder) BuildService(ctx context.Context, dir, version string, progress Progress) (Built, error) {
	content, err := serviceContent(dir)
	if err != nil {
		return Built{}, err
	}
	ref := "huker/huker:" + content[:12]
	found, err := b.find(ctx, filters.Arg("label", LabelKind+"="+KindService), filters.Arg("reference", ref))
	if err != nil {
		return Built{}, err
	}
	if len(found) > 0 {
		return Built{Ref: ref, ID: found[0].ID, Size: found[0].Size, Facts: Facts{Version: found[0].Labels[LabelVersion], Content: content}, Reused: true}, nil
	}
	base, err := b.Base(ctx, serviceSuite, progress)
	if err != nil {
		return Built{}, fmt.Errorf("building the service's image: %w", err)
	}
	progress.say("making the image of the service")
	r, w := io.Pipe()
	go func() { w.CloseWithError(packFiles(w, dir, serviceFiles())) }()
	defer func() { _ = r.CloseWithError(errors.New("the build ended")) }()
	res, err := b.docker.ImageBuild(ctx, r, build.ImageBuildOptions{
		Tags: []string{ref}, Remove: true, ForceRemove: true, BuildArgs: b.serviceArgs(base), NetworkMode: buildNetwork,
		Labels: map[string]string{LabelKind: KindService, LabelContent: content, LabelVersion: version},
	})
	if err != nil {
		return Built{}, fmt.Errorf("building the service's image: %w", err)
	}
	defer func() { _ = res.Body.Close() }()
	said := &tail{}
	if _, err := engineStream(res.Body, func(line string) { said.add(line); b.detail.line(line) }); err != nil {
		return Built{}, fmt.Errorf("building the service's image: %w; its last lines:\n%s", err, said)
	}
	got, err := b.docker.ImageInspect(ctx, ref)
	if err != nil {
		return Built{}, fmt.Errorf("looking at the service's image: %w", err)
	}
	return Built{Ref: ref, ID: got.ID, Size: got.Size, Facts: Facts{Version: version, Content: content}}, nil
}

// ServiceBase gives the minimal Debian that Huker's own services are made on.
func (b *Builder) ServiceBase(ctx context.Context, progress Progress) (string, error) {
	return b.Base(ctx, serviceSuite, progress)
}

func (b *Builder) serviceArgs(base string) map[string]*string {
	suite := serviceSuite
	return map[string]*string{"BASE": &base, "MIRROR": &b.mirror, "SUITE": &suite}
}

// serviceContent hashes the service's files and the base below them.
func serviceContent(dir string) (string, error) {
	h := sha256.New()
	fmt.Fprintf(h, "service %d %s\n", builderVersion, baseRef(serviceSuite))
	for _, name := range serviceFiles() {
		f, err := os.Open(filepath.Join(dir, filepath.FromSlash(name)))
		if err != nil {
			return "", fmt.Errorf("reading what goes into the service's image (make build): %w", err)
		}
		st, err := f.Stat()
		if err == nil {
			fmt.Fprintf(h, "%s %d\n", name, st.Size())
			_, err = io.Copy(h, f)
		}
		_ = f.Close()
		if err != nil {
			return "", fmt.Errorf("reading %s: %w", name, err)
		}
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// packFiles writes files below dir as a tar stream, executable, without owners and times: the engine's cache compares them.
func packFiles(w io.Writer, dir string, names []string) error {
	tw := tar.NewWriter(w)
	for _, name := range names {
		if err := packFile(tw, filepath.Join(dir, filepath.FromSlash(name)), name); err != nil {
			return fmt.Errorf("packing %s: %w", name, err)
		}
	}
	return tw.Close()
}

func packFile(tw *tar.Writer, file, name string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	if err := tw.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o755, Size: st.Size()}); err != nil {
		return err
	}
	_, err = io.Copy(tw, f)
	return err
}
