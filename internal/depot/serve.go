package depot

import (
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"strings"

	"github.com/huker/huker/runtime"
)

// idHeader carries the image's id at the sender.
const idHeader = "X-Image-Id"

// Handler serves this host's images to principals that allow lets in, known by the certificates they came with. Only what offers
// lets through is given out: an engine may hold images of others.
func Handler(images runtime.Images, allow func(principal string) bool, offers func(runtime.Image) bool, log *slog.Logger) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		principal := principalOf(r)
		if !allow(principal) {
			http.Error(w, "this certificate does not allow it", http.StatusForbidden)
			return
		}
		escaped, ok := strings.CutPrefix(r.URL.EscapedPath(), Path)
		ref, err := url.PathUnescape(escaped)
		if !ok || err != nil || ref == "" {
			http.NotFound(w, r)
			return
		}
		if r.Method != http.MethodGet {
			http.Error(w, "GET only", http.StatusMethodNotAllowed)
			return
		}
		image, err := images.InspectImage(r.Context(), ref)
		switch {
		case errors.Is(err, runtime.ErrNoImage), errors.Is(err, runtime.ErrInvalid), err == nil && !offers(image):
			http.Error(w, "no such image here", http.StatusNotFound)
			return
		case err != nil:
			log.Warn("looking for an image", "op", "serve", "image", ref, "error", err)
			http.Error(w, "the container runtime does not answer", http.StatusServiceUnavailable)
			return
		}
		w.Header().Set("Content-Type", "application/x-tar")
		w.Header().Set(idHeader, image.ID)
		if err := images.SaveImage(r.Context(), ref, w); err != nil {
			log.Warn("sending an image", "op", "serve", "image", ref, "to", principal, "error", err)
			panic(http.ErrAbortHandler) //nolint:forbidigo // how net/http is told to break the answer off, which the receiver must see
		}
	})
}

func principalOf(r *http.Request) string {
	if r.TLS == nil || len(r.TLS.VerifiedChains) == 0 || len(r.TLS.VerifiedChains[0]) == 0 {
		return ""
	}
	return r.TLS.VerifiedChains[0][0].Subject.CommonName
}
