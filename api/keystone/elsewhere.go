package keystone

import (
	"log/slog"
	"net/http"
)

// Elsewhere answers for Huker's own identity service where an external Keystone is in its place: nothing is here, and where to sign in.
func Elsewhere(authURL string, log *slog.Logger) http.Handler {
	h := &Handler{log: log}
	if log == nil {
		h.log = slog.New(slog.DiscardHandler)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.fail(w, r, httpError{http.StatusNotFound, "Accounts are kept by another Keystone: sign in at " + authURL + "."})
	})
}
