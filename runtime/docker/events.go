package docker

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/docker/docker/api/types/events"

	"github.com/huker/huker/runtime"
)

// reconnectPause is how long Events waits between attempts to reach an engine that is away.
const reconnectPause = 250 * time.Millisecond

// eventBuffer is how many events wait for a slow reader. Docker itself drops what is not taken from it at once, and tells nobody.
const eventBuffer = 1024

var errEventsEnded = errors.New("docker: the engine's events ended")

// Events implements runtime.Runtime.
func (d *Driver) Events(ctx context.Context) (<-chan runtime.Event, error) {
	since := time.Now()
	if _, err := d.c.Ping(ctx); err != nil {
		return nil, mapError("listening to the Docker engine", err)
	}
	out := make(chan runtime.Event, eventBuffer)
	go func() {
		defer close(out)
		l := listener{d: d, out: out}
		for l.stream(ctx, since) != nil {
			since = d.reconnected(ctx)
			l.lost = true
		}
	}()
	return out, nil
}

// listener passes events on without ever waiting for their reader.
type listener struct {
	d    *Driver
	out  chan<- runtime.Event
	lost bool // since the last event that the reader was given
}

// stream passes events on until the connection breaks (an error) or ctx ends (nil). Asking from a moment in the past closes the gap between
// the caller's last look and the engine's registration of this listener.
func (l *listener) stream(ctx context.Context, since time.Time) error {
	f := l.d.filter(nil)
	f.Add("type", string(events.ContainerEventType))
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	messages, errs := l.d.c.Events(ctx, events.ListOptions{Filters: f, Since: since.Format(time.RFC3339Nano)})
	l.resync()
	retry := time.NewTicker(reconnectPause)
	defer retry.Stop()
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
		case <-retry.C:
			l.resync()
		case m := <-messages:
			if e, ok := eventOf(m); ok {
				l.pass(e)
			}
		}
	}
}

// pass drops an event that does not fit, and all that follow until the reader was told to list again.
func (l *listener) pass(e runtime.Event) {
	if l.resync(); l.lost {
		return
	}
	select {
	case l.out <- e:
	default:
		l.lost = true
	}
}

// resync tells the reader, once there is room, that something was lost.
func (l *listener) resync() {
	if !l.lost {
		return
	}
	select {
	case l.out <- runtime.Event{Kind: runtime.EventResync, Time: time.Now()}:
		l.lost = false
	default:
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

func eventOf(m events.Message) (runtime.Event, bool) {
	kind, ok := eventKind(m.Action)
	if !ok {
		return runtime.Event{}, false
	}
	e := runtime.Event{Kind: kind, Name: m.Actor.Attributes["name"], Labels: map[string]string{}, Time: time.Unix(0, m.TimeNano).UTC()}
	for k, v := range m.Actor.Attributes {
		switch k { // what Docker puts among a container's labels
		case "name", "image", "exitCode", "signal", "execID", "execDuration":
		default:
			e.Labels[k] = v
		}
	}
	if kind == runtime.EventDied {
		e.ExitCode, _ = strconv.Atoi(m.Actor.Attributes["exitCode"]) // Docker always writes a number
	}
	return e, true
}

func eventKind(action events.Action) (runtime.EventKind, bool) {
	switch action {
	case events.ActionStart, events.ActionUnPause:
		return runtime.EventStarted, true
	case events.ActionDie:
		return runtime.EventDied, true
	case events.ActionOOM:
		return runtime.EventOOM, true
	case events.ActionDestroy:
		return runtime.EventRemoved, true
	}
	return "", false
}
