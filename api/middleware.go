package api

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"regexp"
	"runtime/debug"

	"github.com/google/uuid"

	"github.com/huker/huker/internal/identity"
)

// requestIDHeader carries a request's name in and out, so that a client can give it to whoever reads the log.
const requestIDHeader = "X-Openstack-Request-Id"

var requestID = regexp.MustCompile(`^req-[A-Za-z0-9-]{1,64}$`)

// trace is what the log will say of a request. One goroutine writes it.
type trace struct {
	id     string
	op     string
	caller identity.Caller
	err    error
}

type traceKey struct{}

func traceOf(ctx context.Context) *trace {
	if t, ok := ctx.Value(traceKey{}).(*trace); ok {
		return t
	}
	return &trace{}
}

// recorder remembers what was answered.
type recorder struct {
	http.ResponseWriter
	status int
	bytes  int
}

func (r *recorder) WriteHeader(status int) {
	if r.status == 0 {
		r.status = status
		r.ResponseWriter.WriteHeader(status)
	}
}

func (r *recorder) Write(b []byte) (int, error) {
	r.WriteHeader(http.StatusOK)
	n, err := r.ResponseWriter.Write(b)
	r.bytes += n
	return n, err
}

// Unwrap lets http.ResponseController reach the connection.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// middleware surrounds every request: its name, its time, its line in the log, and what happens when a handler panics.
func (s *server) middleware(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := s.Clock()
		t := &trace{id: r.Header.Get(requestIDHeader)}
		if !requestID.MatchString(t.id) {
			t.id = "req-" + uuid.NewString()
		}
		ctx, cancel := context.WithTimeout(context.WithValue(r.Context(), traceKey{}, t), s.Limits.Request)
		defer cancel()
		r = r.WithContext(ctx)
		rec := &recorder{ResponseWriter: w}
		h := w.Header()
		h.Set(requestIDHeader, t.id)
		h.Set("Cache-Control", "no-store") // some answers hold passwords
		h.Set("X-Content-Type-Options", "nosniff")
		defer func() {
			if p := recover(); p != nil {
				s.Log.Error("a handler panicked", "request", t.id, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
				s.refuse(rec, r, &fault{status: http.StatusInternalServerError, message: "Internal error. Its cause is in the server's log under " + t.id + "."})
			}
			s.logLine(r, rec, t, slog.Duration("took", s.Clock().Sub(start)))
		}()
		next.ServeHTTP(rec, r)
	})
}

// logLine is the access log. Bodies, tokens and queries are not in it.
func (s *server) logLine(r *http.Request, rec *recorder, t *trace, took slog.Attr) {
	level := slog.LevelInfo
	if rec.status >= http.StatusInternalServerError && rec.status != http.StatusNotImplemented {
		level = slog.LevelError
	}
	path := r.URL.EscapedPath()
	if len(path) > maxLoggedPath {
		path = path[:maxLoggedPath] + "..."
	}
	attrs := []slog.Attr{
		slog.String("request", t.id), slog.String("method", r.Method), slog.String("path", path), slog.Int("status", rec.status),
		slog.Int("bytes", rec.bytes), took, slog.String("remote", r.RemoteAddr), slog.String("op", t.op),
		slog.String("account", t.caller.AccountID), slog.String("project", t.caller.ProjectID),
	}
	if t.err != nil {
		attrs = append(attrs, slog.String("error", t.err.Error()))
	}
	s.Log.LogAttrs(context.WithoutCancel(r.Context()), level, "request", attrs...)
}

const maxLoggedPath = 512
