package api

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/huker/huker/internal/metastore"
	"github.com/huker/huker/internal/model"
)

// EventsBody is an instance's history, oldest first.
type EventsBody struct {
	Events []Event `json:"events"`
}

// Event is a line of it.
type Event struct {
	ID        int64  `json:"id"`
	Time      Time   `json:"time"`
	Kind      string `json:"kind"`
	Message   string `json:"message"`
	RequestID string `json:"request_id"`
}

// maxEvents is the most that is given; older ones are left out first.
const maxEvents = 1000

func (s *server) eventRoutes(t *table) {
	on(t, spec{method: http.MethodGet, path: "instances/{id}/events", id: "listEvents", tag: "extensions",
		summary: "Show an instance's history (Huker's own)", status: http.StatusOK, errs: []int{http.StatusBadRequest},
		query: []param{{"limit", huma.TypeInteger, "Only so many of the newest; at most 1000."}}}, s.listEvents)
}

func (s *server) listEvents(ctx context.Context, r *request, _ *none) (*EventsBody, error) {
	limit, _, err := r.page(maxEvents)
	if err != nil {
		return nil, err
	}
	body := &EventsBody{}
	err = s.Store.View(ctx, func(tx metastore.Tx) error {
		i, err := r.load(ctx, tx, r.path["id"])
		if err != nil {
			return err
		}
		events, err := tx.Events().List(ctx, i.ID, limit)
		body.Events = eventViews(events)
		return err
	})
	return body, err
}

func eventViews(events []model.Event) []Event {
	views := make([]Event, 0, len(events))
	for i := range events {
		e := &events[i]
		views = append(views, Event{ID: e.ID, Time: Time{e.Time}, Kind: e.Kind, Message: e.Message, RequestID: e.RequestID})
	}
	return views
}
