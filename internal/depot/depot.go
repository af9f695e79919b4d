// Package depot brings images to a host, from a registry when the image's name has one, else from another host that has it; and the programs that guests run.
//
// It owns how they travel between hosts, and who may ask for them. It must not know what is in an image or a program, or who needs it.
package depot

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/huker/huker/runtime"
)

// Bounds of a transfer: an image of a few hundred MB takes seconds, and what stands still for long does not come any more.
const (
	headerDeadline   = 20 * time.Second
	transferDeadline = 30 * time.Minute
)

// Path of an image on a host: Path + its name, escaped.
const Path = "/images/"

// Depot fetches images to this host.
type Depot struct {
	images runtime.Images
	client *http.Client
	group  singleflight.Group
	log    *slog.Logger
}

// New makes a depot over this host's images. dial has this host's certificate; nil where there are no other hosts.
func New(images runtime.Images, dial *tls.Config, log *slog.Logger) *Depot {
	transport := &http.Transport{TLSClientConfig: dial, ResponseHeaderTimeout: headerDeadline, IdleConnTimeout: time.Minute, DisableCompression: true}
	return &Depot{images: images, client: &http.Client{Transport: transport}, log: log}
}

// Ensure has the image on this host. sources are other hosts that have it ("https://10.0.0.2:8782"). It gives runtime.ErrNoImage when nobody has. However
// many ask for an image at once, it travels once; and it goes on when a caller gives up, so that the next one finds it.
func (d *Depot) Ensure(ctx context.Context, ref string, sources []string) error {
	_, err := d.images.InspectImage(ctx, ref)
	if !errors.Is(err, runtime.ErrNoImage) {
		return err
	}
	travels := d.group.DoChan(ref, func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), transferDeadline)
		defer cancel()
		return nil, d.fetch(ctx, ref, sources)
	})
	select {
	case r := <-travels:
		return r.Err
	case <-ctx.Done():
		return fmt.Errorf("bringing image %s: %w", ref, ctx.Err())
	}
}

func (d *Depot) fetch(ctx context.Context, ref string, sources []string) error {
	if _, err := d.images.InspectImage(ctx, ref); !errors.Is(err, runtime.ErrNoImage) {
		return err // came meanwhile
	}
	var errs []error
	if hasRegistry(ref) {
		err := d.images.PullImage(ctx, ref)
		if err == nil {
			return nil
		}
		errs = append(errs, err)
	}
	for _, source := range sources {
		began := time.Now()
		err := d.from(ctx, source, ref)
		if err == nil {
			d.log.Info("image fetched", "op", "fetch", "image", ref, "from", source, "seconds", time.Since(began).Seconds())
			return nil
		}
		d.log.Warn("image not fetched", "op", "fetch", "image", ref, "from", source, "error", err)
		errs = append(errs, err)
	}
	return fmt.Errorf("image %s: %w: %w", ref, runtime.ErrNoImage, errors.Join(append(errs, fmt.Errorf("asked %d other hosts", len(sources)))...))
}

// from loads an image as it arrives, without a copy on the disk.
func (d *Depot) from(ctx context.Context, source, ref string) error {
	a, err := d.get(ctx, source, Path+url.PathEscape(ref))
	if err != nil {
		return err
	}
	defer func() { _ = a.Body.Close() }()
	if err := d.images.LoadImage(ctx, a.Body); err != nil {
		return fmt.Errorf("loading what %s sent: %w", source, err)
	}
	// A transfer that broke off in the end, or another image than was asked for.
	got, err := d.images.InspectImage(ctx, ref)
	if err != nil {
		return fmt.Errorf("loading what %s sent: %w", source, err)
	}
	if want := a.Header.Get(idHeader); want != "" && got.ID != want {
		return fmt.Errorf("loading what %s sent: image %s has id %s, not %s", source, ref, got.ID, want)
	}
	return nil
}

// get asks another host for something that it has; the answer's body is the caller's to close.
func (d *Depot) get(ctx context.Context, source, path string) (*http.Response, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(source, "/")+path, nil)
	if err != nil {
		return nil, fmt.Errorf("asking %s: %w", source, err)
	}
	a, err := d.client.Do(r)
	if err != nil {
		return nil, fmt.Errorf("asking %s: %w", source, err)
	}
	if a.StatusCode == http.StatusOK {
		return a, nil
	}
	defer func() { _ = a.Body.Close() }()
	text, _ := io.ReadAll(io.LimitReader(a.Body, 512))
	return nil, fmt.Errorf("asking %s: %s: %s", source, a.Status, strings.TrimSpace(string(text)))
}

// hasRegistry says whether an image's name begins with the address of a registry, by Docker's own rule.
func hasRegistry(ref string) bool {
	first, _, found := strings.Cut(ref, "/")
	return found && (strings.ContainsAny(first, ".:") || first == "localhost")
}
