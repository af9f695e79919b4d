package keystone

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"github.com/huker/huker/internal/identity"
)

// httpError is an answer that is not a success.
type httpError struct {
	code    int
	message string
}

func (e httpError) Error() string { return e.message }

func badRequest(format string, args ...any) error {
	return httpError{http.StatusBadRequest, fmt.Sprintf(format, args...)}
}

func forbidden(message string) error { return httpError{http.StatusForbidden, message} }

func notFound(what, id string) error {
	return httpError{http.StatusNotFound, fmt.Sprintf("Could not find %s: %s.", what, id)}
}

// titles are Keystone's, where they are not net/http's.
var titles = map[int]string{
	http.StatusRequestEntityTooLarge: "Request Entity Too Large",
	http.StatusInternalServerError:   "Internal Server Error",
}

const messageUnauthorized = "The request you have made requires authentication."

// answer turns an error into an answer. Only words that are meant for users get out.
func answer(err error) httpError {
	var known httpError
	if errors.As(err, &known) {
		return known
	}
	reason, hasReason := identity.Reason(err)
	or := func(text string) string {
		if hasReason {
			return reason
		}
		return text
	}
	var limited *identity.LimitedError
	switch {
	case errors.As(err, &limited):
		return httpError{http.StatusTooManyRequests, fmt.Sprintf("Too many failed sign-ins; try again in %d s.", limited.Seconds())}
	case errors.Is(err, identity.ErrUnauthorized):
		return httpError{http.StatusUnauthorized, or(messageUnauthorized)}
	case errors.Is(err, identity.ErrForbidden), errors.Is(err, identity.ErrLastAdmin):
		return httpError{http.StatusForbidden, or("You are not authorized to perform the requested action.")}
	case errors.Is(err, identity.ErrNotFound):
		return httpError{http.StatusNotFound, or("The resource could not be found.")}
	case errors.Is(err, identity.ErrExists):
		return httpError{http.StatusConflict, or("Conflict occurred attempting to store the resource: the name is taken.")}
	case errors.Is(err, identity.ErrInUse):
		return httpError{http.StatusConflict, or("The resource is in use.")}
	case errors.Is(err, identity.ErrInvalid):
		return httpError{http.StatusBadRequest, or("The request is invalid.")}
	case errors.Is(err, identity.ErrUnavailable):
		return httpError{http.StatusServiceUnavailable, or("The identity service cannot answer now; try again.")}
	default:
		return httpError{http.StatusInternalServerError, "An unexpected error prevented the server from fulfilling your request."}
	}
}

func (h *Handler) fail(w http.ResponseWriter, r *http.Request, err error) {
	e := answer(err)
	if e.code >= http.StatusInternalServerError && r.Context().Err() == nil {
		h.log.Error("identity request failed", "op", "keystone", "method", r.Method, "path", r.URL.Path, "code", e.code, "err", err)
	}
	var limited *identity.LimitedError
	if errors.As(err, &limited) {
		w.Header().Set("Retry-After", strconv.Itoa(limited.Seconds()))
	}
	if e.code == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", fmt.Sprintf("Keystone uri=%q", h.base(r)+PrefixIdentity+PrefixV3))
	}
	title := titles[e.code]
	if title == "" {
		title = http.StatusText(e.code)
	}
	w.Header().Set("Cache-Control", "no-store")
	_ = writeJSON(w, e.code, map[string]any{"error": failure{Code: e.code, Title: title, Message: e.message}})
}

// naming says in Keystone's words what was not found or is taken.
func naming(err error, what, name string) error {
	if _, ok := identity.Reason(err); ok {
		return err
	}
	switch {
	case errors.Is(err, identity.ErrNotFound):
		return notFound(what, name)
	case errors.Is(err, identity.ErrExists):
		return httpError{http.StatusConflict, fmt.Sprintf("Conflict occurred attempting to store %s - Duplicate entry found with name %s.", what, name)}
	}
	return err
}

// namingChange is naming for a change: the id was not found, or the new name is taken.
func namingChange(err error, what, id, name string) error {
	if errors.Is(err, identity.ErrExists) {
		return naming(err, what, name)
	}
	return naming(err, what, id)
}
