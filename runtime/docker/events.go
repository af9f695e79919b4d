package docker

import (
	"context"
	"time"

	"github.com/docker/docker/api/types/events"

	"github.com/huker/huker/runtime"
)

// Events implements runtime.Runtime.
func (d *Driver) Events(ctx context.Context) (<-chan runtime.Event, error) {
	since := time.Now()
	if _, err := d.c.Ping(ctx); err != nil {
		return nil, mapError("listening to the Docker engine", err)
	}
	out := make(chan runtime.Event, 64)
	go func() {
		defer close(out)
		for ctx.Err() == nil {
			if err := d.stream(ctx, since, out); err == nil {
				return
			}
			since = d.reconnected(ctx)
			if !send(ctx, out, runtime.Event{Kind: runtime.EventResync, Time: time.Now()}) {
				return
			}
		}
	}()
	return out, nil
}

// stream passes events on until the connection breaks (an error) or ctx ends (nil). Asking from a moment in the past closes the gap between
// the caller's last look and the engine's registration of this listener.
func (d *Driver) stream(ctx context.Context, since time.Time, out chan<- runtime.Event) error {
	f := d.filter(nil)
	f.Add("type", string(events.ContainerEventType))
	messages, errs := d.c.Events(ctx, events.ListOptions{Filters: f, Since: since.Format(time.RFC3339Nano)})
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-errs:
			if ctx.Err() != nil {
				return nil
			}
			if err == nil {
				err = errEventsEnded
			}
			return err
		case m := <-messages:
			kind, ok := eventKind(string(m.Action))
			if !ok {
				continue
			}
			e := runtime.Event{Name: m.Actor.Attributes["name"], Labels: m.Actor.Attributes, Kind: kind, Time: time.Unix(0, m.TimeNano)}
			if !send(ctx, out, e) {
				return nil
			}
		}
	}
}

// reconnected waits for the engine to answer and says from when on its events count.
func (d *Driver) reconnected(ctx context.Context) time.Time {
	tick := time.NewTicker(reconnectPause)
	defer tick.Stop()
	for {
		since := time.Now()
		if _, err := d.c.Ping(ctx); err == nil {
			return since
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return since
		}
	}
}

func send(ctx context.Context, out chan<- runtime.Event, e runtime.Event) bool {
	select {
	case out <- e:
		return true
	case <-ctx.Done():
		return false
	}
}
