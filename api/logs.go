package api

import (
	"context"
	"net/http"
	"strconv"

	"github.com/danielgtaylor/huma/v2"

	"github.com/huker/huker/internal/protocol"
)

// LogsBody lists a database's logs.
type LogsBody struct {
	Logs []Log `json:"logs"`
}

// LogBody is one of them.
type LogBody struct {
	Log Log `json:"log"`
}

// Log of a database. Sizes in bytes. What is published goes to an object store, which there is not yet.
type Log struct {
	Name      string  `json:"name"`
	Type      string  `json:"type" enum:"SYS,USER"`
	Status    string  `json:"status" enum:"Disabled,Enabled,Ready"`
	Published int64   `json:"published"`
	Pending   int64   `json:"pending"`
	Container *string `json:"container"`
	Prefix    *string `json:"prefix"`
	Metafile  *string `json:"metafile"`
}

// LogActionBody names a log and what to do with it; nothing is to show it.
type LogActionBody struct {
	Name    string `json:"name" minLength:"1" maxLength:"255"`
	Enable  Flag   `json:"enable,omitempty"`
	Disable Flag   `json:"disable,omitempty"`
	Publish Flag   `json:"publish,omitempty"`
	Discard Flag   `json:"discard,omitempty"`
}

// LogContentBody is a part of a log.
type LogContentBody struct {
	Name    string `json:"name"`
	Content []byte `json:"content"`
	Offset  int64  `json:"offset" doc:"Of the content's first byte"`
	Size    int64  `json:"size" doc:"Of the log"`
}

// maxLogRead is the most that a guest gives at once.
const maxLogRead = 256 << 10

func (s *server) logRoutes(t *table) {
	on(t, spec{method: http.MethodGet, path: "instances/{id}/log", id: "listLogs", tag: "logs", summary: "List the logs",
		status: http.StatusOK, errs: guestErrors}, s.listLogs)
	on(t, spec{method: http.MethodPost, path: "instances/{id}/log", id: "actOnLog", tag: "logs", summary: "Show, switch or empty a log",
		status: http.StatusOK, errs: append([]int{http.StatusNotImplemented}, guestErrors...)}, s.actOnLog)
	on(t, spec{method: http.MethodGet, path: "instances/{id}/log/{log}/content", id: "readLog", tag: "extensions",
		summary: "Read a part of a log (Huker's own)", status: http.StatusOK, errs: guestErrors, query: []param{
			{"offset", huma.TypeInteger, "The first byte; a negative one counts from the end. Default 0."},
			{"limit", huma.TypeInteger, "The most bytes; at most 262144."},
		}}, s.readLog)
}

func logView(l protocol.Log) Log {
	v := Log{Name: l.Name, Type: l.Type, Status: "Disabled", Pending: l.Size}
	switch {
	case l.Enabled && l.Size > 0:
		v.Status = "Ready"
	case l.Enabled:
		v.Status = "Enabled"
	}
	return v
}

func (s *server) listLogs(ctx context.Context, r *request, _ *none) (*LogsBody, error) {
	i, err := s.guest(ctx, r)
	if err != nil {
		return nil, err
	}
	logs, err := s.Guests.Logs(ctx, i.ID)
	if err != nil {
		return nil, guestFault(i.ID, err)
	}
	body := &LogsBody{Logs: make([]Log, 0, len(logs))}
	for k := range logs {
		body.Logs = append(body.Logs, logView(logs[k]))
	}
	return body, nil
}

func (s *server) actOnLog(ctx context.Context, r *request, in *LogActionBody) (*LogBody, error) {
	if in.Enable && in.Disable {
		return nil, badRequest("Cannot enable and disable log.")
	}
	i, err := s.guest(ctx, r)
	if err != nil {
		return nil, err
	}
	if in.Publish {
		return nil, notImplemented("Logs cannot be published: there is no object store yet. Read them at instances/%s/log/%s/content.", i.ID, clip(in.Name))
	}
	if in.Enable || in.Disable || in.Discard {
		l, err := s.Guests.SetLog(ctx, i.ID, protocol.LogSet{
			Name: in.Name, Enable: bool(in.Enable), Disable: bool(in.Disable), Discard: bool(in.Discard),
		})
		if err != nil {
			return nil, guestFault(i.ID, err)
		}
		return &LogBody{Log: logView(l)}, nil
	}
	logs, err := s.Guests.Logs(ctx, i.ID)
	if err != nil {
		return nil, guestFault(i.ID, err)
	}
	for k := range logs {
		if logs[k].Name == in.Name {
			return &LogBody{Log: logView(logs[k])}, nil
		}
	}
	return nil, notFound("Log %s cannot be found.", clip(in.Name))
}

// readLog works in any state in which the guest may answer: a log is of most use when the database does not start.
func (s *server) readLog(ctx context.Context, r *request, _ *none) (*LogContentBody, error) {
	offset, limit := int64(0), maxLogRead
	if text := r.query.Get("offset"); text != "" {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return nil, badRequest("The offset must be an integer.")
		}
		offset = n
	}
	if text := r.query.Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			return nil, badRequest("The limit must be an integer of at least 1.")
		}
		limit = min(n, maxLogRead)
	}
	i, err := s.instance(ctx, r)
	if err != nil {
		return nil, err
	}
	if i.HostID == "" {
		return nil, notReady(&i)
	}
	chunk, err := s.Guests.ReadLog(ctx, i.ID, protocol.LogRead{Name: r.path["log"], Offset: offset, Limit: limit})
	if err != nil {
		return nil, guestFault(i.ID, err)
	}
	return &LogContentBody{Name: r.path["log"], Content: append([]byte{}, chunk.Data...), Offset: chunk.Offset, Size: chunk.Size}, nil
}
