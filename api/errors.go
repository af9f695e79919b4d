package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"github.com/huker/huker/internal/bus"
	"github.com/huker/huker/internal/identity"
	"github.com/huker/huker/internal/metastore"
	"github.com/huker/huker/internal/protocol"
)

// faultKeys are the names of Trove's faults. Source: Trove's wsgi.Fault.
var faultKeys = map[int]string{
	http.StatusBadRequest:            "badRequest",
	http.StatusUnauthorized:          "unauthorized",
	http.StatusForbidden:             "forbidden",
	http.StatusNotFound:              "itemNotFound",
	http.StatusMethodNotAllowed:      "badMethod",
	http.StatusConflict:              "conflict",
	http.StatusRequestEntityTooLarge: "overLimit",
	http.StatusUnsupportedMediaType:  "badMediaType",
	http.StatusUnprocessableEntity:   "unprocessableEntity",
	http.StatusTooManyRequests:       "overLimit",
	http.StatusInternalServerError:   "instanceFault",
	http.StatusNotImplemented:        "notImplemented",
	http.StatusServiceUnavailable:    "serviceUnavailable",
}

// fault is an error with its answer. Its message goes to the client and carries no secret.
type fault struct {
	status  int
	message string
	header  http.Header
	cause   error // for the log
}

func (f *fault) Error() string {
	if f.cause != nil {
		return f.message + ": " + f.cause.Error()
	}
	return f.message
}

func (f *fault) Unwrap() error { return f.cause }

// body is {"itemNotFound": {"code": 404, "message": "..."}}.
func (f *fault) body() map[string]FaultBody {
	return map[string]FaultBody{faultKeys[f.status]: {Code: f.status, Message: f.message}}
}

func faultf(status int, format string, args ...any) error {
	return &fault{status: status, message: fmt.Sprintf(format, args...)}
}

func badRequest(format string, args ...any) error {
	return faultf(http.StatusBadRequest, format, args...)
}

func notFound(format string, args ...any) error {
	return faultf(http.StatusNotFound, format, args...)
}

func forbidden(format string, args ...any) error {
	return faultf(http.StatusForbidden, format, args...)
}

func unprocessable(format string, args ...any) error {
	return faultf(http.StatusUnprocessableEntity, format, args...)
}

func notImplemented(format string, args ...any) error {
	return faultf(http.StatusNotImplemented, format, args...)
}

// asFault says how an error is answered. What nobody foresaw is a 500 that names nothing but the request.
func asFault(err error, requestID string) *fault {
	var f *fault
	var limited *identity.LimitedError
	var tooLong *http.MaxBytesError
	switch {
	case errors.As(err, &f):
		return f
	case errors.As(err, &limited):
		return &fault{status: http.StatusTooManyRequests, message: "Too many sign-in attempts; try again later.", cause: err,
			header: http.Header{"Retry-After": {strconv.Itoa(limited.Seconds())}}}
	case errors.Is(err, identity.ErrUnauthorized):
		return &fault{status: http.StatusUnauthorized, message: "The request you have made requires authentication.", cause: err}
	case errors.Is(err, identity.ErrForbidden):
		return &fault{status: http.StatusForbidden, message: "You are not allowed to do this.", cause: err}
	case errors.Is(err, identity.ErrUnavailable):
		message := "It cannot be found out now who you are; try again."
		if reason, ok := identity.Reason(err); ok { // which service it is that does not answer
			message = reason
		}
		return &fault{status: http.StatusServiceUnavailable, message: message, cause: err}
	case errors.As(err, &tooLong):
		return &fault{status: http.StatusRequestEntityTooLarge, message: fmt.Sprintf("The request's body is larger than %d bytes.", tooLong.Limit)}
	case errors.Is(err, metastore.ErrUnknown):
		return &fault{status: http.StatusServiceUnavailable, message: "It is not known whether this was carried out: look before you ask again.", cause: err}
	case errors.Is(err, metastore.ErrUnavailable):
		return &fault{status: http.StatusServiceUnavailable, message: "The metadata cannot be reached now; nothing was changed. Try again.", cause: err}
	case errors.Is(err, metastore.ErrClosed), errors.Is(err, metastore.ErrConflict):
		return &fault{status: http.StatusServiceUnavailable, message: "The service is busy or shutting down; try again.", cause: err}
	case errors.Is(err, context.DeadlineExceeded):
		return &fault{status: http.StatusServiceUnavailable, message: "The request took too long.", cause: err}
	case errors.Is(err, context.Canceled):
		return &fault{status: http.StatusServiceUnavailable, message: "The request was cancelled.", cause: err}
	}
	return &fault{status: http.StatusInternalServerError, cause: err,
		message: "Internal error. Its cause is in the server's log under " + requestID + "."}
}

// guestFault says how what a guest answered, or did not, is answered.
func guestFault(instance string, err error) error {
	if err == nil {
		return nil
	}
	var ce *bus.CallError
	switch {
	case errors.As(err, &ce):
		switch ce.Code {
		case protocol.CodeNotFound:
			return &fault{status: http.StatusNotFound, message: sentence(ce.Message), cause: err}
		case protocol.CodeExists, protocol.CodeInvalid:
			// Trove answers 400, not 409, for a name that is taken. Source: wsgi.Controller.exception_map.
			return &fault{status: http.StatusBadRequest, message: sentence(ce.Message), cause: err}
		case protocol.CodeNotReady:
			return &fault{status: http.StatusUnprocessableEntity, cause: err,
				message: fmt.Sprintf("Instance %s is not ready: %s.", instance, ce.Message)}
		}
		// The guest's own words may hold more than its user should see.
		return &fault{status: http.StatusInternalServerError, cause: err,
			message: fmt.Sprintf("The database of instance %s could not do this.", instance)}
	case errors.Is(err, bus.ErrTimeout), errors.Is(err, context.DeadlineExceeded):
		return &fault{status: http.StatusServiceUnavailable, cause: err,
			message: fmt.Sprintf("Instance %s did not answer in time; what was asked for may still be carried out.", instance)}
	case errors.Is(err, bus.ErrTooLarge):
		return &fault{status: http.StatusBadRequest, message: "The request is too large for one call; ask for less at once.", cause: err}
	case errors.Is(err, bus.ErrUnavailable):
		return &fault{status: http.StatusServiceUnavailable, cause: err,
			message: fmt.Sprintf("Instance %s cannot be reached now; try again.", instance)}
	}
	return err
}

// sentence gives a message as it is shown: capital letter, full stop.
func sentence(s string) string {
	if s == "" {
		return "The request was refused."
	}
	if s[0] >= 'a' && s[0] <= 'z' {
		s = string(s[0]-'a'+'A') + s[1:]
	}
	if last := s[len(s)-1]; last != '.' && last != '!' && last != '?' {
		s += "."
	}
	return s
}
