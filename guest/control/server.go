package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Routes.
const (
	routeStatus  = "/v1/status"         // GET ?after=SERIAL&wait=DURATION
	routeStart   = "/v1/mysqld/start"   // POST
	routeStop    = "/v1/mysqld/stop"    // POST
	routeRestart = "/v1/mysqld/restart" // POST
	routeKill    = "/v1/mysqld/kill"    // POST
	routeReplace = "/v1/agent/replace"  // POST
	routeReady   = "/v1/agent/ready"    // POST readyRequest
)

// readyRequest is the body of routeReady.
type readyRequest struct {
	Pid int `json:"pid"`
}

// errorReply is the body of every answer but 200.
type errorReply struct {
	Code  string `json:"code"`
	Error string `json:"error"`
}

// codes pair the sentinels with what they are called on the wire.
var codes = []struct {
	code string
	err  error
}{
	{"failed", ErrFailed},
	{"stopped", ErrStopped},
	{"unknown", ErrUnknown},
	{"deadline", context.DeadlineExceeded},
	{"canceled", context.Canceled},
}

func replyOf(err error) errorReply {
	for _, c := range codes {
		if errors.Is(err, c.err) {
			return errorReply{Code: c.code, Error: strings.TrimPrefix(err.Error(), c.err.Error()+": ")}
		}
	}
	return errorReply{Code: "internal", Error: err.Error()}
}

func (e errorReply) error() error {
	for _, c := range codes {
		if e.Code == c.code {
			return fmt.Errorf("%w: %s", c.err, e.Error)
		}
	}
	return errors.New("control: " + e.Error)
}

// NewHandler serves s.
func NewHandler(s Supervisor) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+routeStatus, func(w http.ResponseWriter, r *http.Request) { watch(s, w, r) })
	do := func(route string, f func(context.Context) error) {
		mux.HandleFunc("POST "+route, func(w http.ResponseWriter, r *http.Request) { answer(w, struct{}{}, f(r.Context())) })
	}
	do(routeStart, s.StartMysqld)
	do(routeStop, s.StopMysqld)
	do(routeRestart, s.RestartMysqld)
	do(routeKill, s.KillMysqld)
	do(routeReplace, s.ReplaceAgent)
	mux.HandleFunc("POST "+routeReady, func(w http.ResponseWriter, r *http.Request) {
		var req readyRequest
		if err := json.NewDecoder(io.LimitReader(r.Body, maxBody)).Decode(&req); err != nil {
			http.Error(w, `{"code":"invalid","error":"the body is no JSON"}`, http.StatusBadRequest)
			return
		}
		answer(w, struct{}{}, s.AgentReady(r.Context(), req.Pid))
	})
	return mux
}

func watch(s Supervisor, w http.ResponseWriter, r *http.Request) {
	after, err := strconv.ParseUint(r.URL.Query().Get("after"), 10, 64)
	wait, err2 := time.ParseDuration(r.URL.Query().Get("wait"))
	if err != nil || err2 != nil || wait < 0 || wait > poll {
		http.Error(w, `{"code":"invalid","error":"after or wait is out of range"}`, http.StatusBadRequest)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), wait)
	defer cancel()
	st, err := s.Watch(ctx, after)
	answer(w, st, err)
}

func answer(w http.ResponseWriter, body any, err error) {
	w.Header().Set("Content-Type", "application/json")
	if err != nil {
		w.WriteHeader(http.StatusConflict)
		body = replyOf(err)
	}
	_ = json.NewEncoder(w).Encode(body) // the caller has gone: nobody is left to tell
}
