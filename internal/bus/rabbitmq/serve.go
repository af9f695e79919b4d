package rabbitmq

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/huker/huker/internal/bus"
)

const (
	// inHand is how many messages more than it handles a server has: those that wait for their next delivery.
	inHand = 16
	// maxReturns is after how many deliveries a message is given up that nobody has answered for: more than bus.MaxDeliveries, as those count too
	// that a server had in hand when it stopped, and had not begun.
	maxReturns = 4 * bus.MaxDeliveries
	// maxRetry bounds the pause before a message is delivered again.
	maxRetry = 5 * time.Second
	// outcomeDeadline bounds what is said of a message after its server was told to stop.
	outcomeDeadline = 5 * time.Second
	// reopenPause is before a queue that is not there, or went, is looked for again.
	reopenPause = 200 * time.Millisecond
)

// Serve implements bus.Bus.
func (b *Bus) Serve(ctx context.Context, queue string, concurrency int, h bus.Handler) error {
	if err := bus.CheckQueue(queue); err != nil {
		return err
	}
	if concurrency < 1 {
		return fmt.Errorf("%w: concurrency %d", bus.ErrInvalid, concurrency)
	}
	caller := ctx
	ctx, leave, err := b.enter(ctx, false)
	if err != nil {
		return err
	}
	defer leave()
	for {
		err := b.serveOnce(ctx, queue, concurrency, h)
		switch {
		case caller.Err() != nil || b.ctx.Err() != nil:
			return nil
		case denied(err):
			return mapError("serve "+queue, err)
		}
		b.cfg.Log.DebugContext(ctx, "serving again", "op", "bus.serve", "queue", queue, "error", err)
		select {
		case <-time.After(reopenPause):
		case <-ctx.Done():
		}
	}
}

// server handles messages on one channel.
type server struct {
	*session
	ch      *amqp.Channel
	handler bus.Handler
	workers sync.WaitGroup
	slots   chan struct{}
}

// serveOnce serves on one connection until ctx ends or that is lost.
func (b *Bus) serveOnce(ctx context.Context, queue string, concurrency int, h bus.Handler) error {
	s, err := b.session(ctx)
	if err != nil {
		return err
	}
	if err := s.ensure(ctx, queue, false); err != nil {
		return err
	}
	var ch *amqp.Channel
	var arriving <-chan amqp.Delivery
	tag := nonce()
	err = s.bounded(ctx, func() (err error) {
		if ch, err = s.conn.Channel(); err != nil {
			return err
		}
		if err = ch.Qos(concurrency+inHand, 0, false); err == nil {
			arriving, err = ch.Consume(queue, tag, false, false, false, false, nil)
		}
		if err != nil {
			_ = ch.Close()
		}
		return err
	})
	if err != nil {
		s.forget(queue)
		return err
	}
	defer func() { _ = ch.Close() }() // what was not answered for is free at once
	handling, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	// Handlers learn at once that their messages may be another's, also when all slots are taken.
	closed := ch.NotifyClose(make(chan *amqp.Error, 1))
	b.wg.Go(func() {
		if reason := <-closed; reason != nil {
			stop(reason)
		}
		stop(errLost)
	})
	v := &server{session: s, ch: ch, handler: h, slots: make(chan struct{}, concurrency)}
	defer v.workers.Wait() // handlers are told by their context, and have their say
	for {
		select {
		case <-handling.Done():
			_ = ch.Cancel(tag, true)
			return context.Cause(handling)
		case v.slots <- struct{}{}:
		}
		select {
		case <-handling.Done():
			_ = ch.Cancel(tag, true)
			return context.Cause(handling)
		case d, open := <-arriving:
			if !open { // the channel went, or the queue
				s.forget(queue)
				return errLost
			}
			v.workers.Go(func() {
				defer func() { <-v.slots }()
				v.deliver(handling, d)
			})
		}
	}
}

// deliver handles a message and answers for it. serving ends when that does, or when the channel is gone.
func (v *server) deliver(serving context.Context, d amqp.Delivery) {
	m := messageOf(d)
	if !m.Deadline.IsZero() && !time.Now().Before(m.Deadline) {
		_ = d.Ack(false)
		return
	}
	if m.Delivery > maxReturns {
		v.bus.cfg.Log.Error("a message kills its servers", "op", "bus.serve", "queue", d.RoutingKey, "kind", m.Kind, "id", m.ID)
		_ = d.Reject(false)
		return
	}
	ctx, cancel := serving, context.CancelFunc(func() {})
	if !m.Deadline.IsZero() {
		ctx, cancel = context.WithDeadline(serving, m.Deadline)
	}
	defer cancel()
	body, err := v.handle(ctx, m)
	call, _ := d.Headers[headerCall].(bool)
	switch {
	case err != nil && serving.Err() != nil && !errors.Is(err, bus.ErrRejected):
		_ = d.Nack(false, true) // told to stop in the middle: another may do it
	case call:
		if v.reply(serving, d, body, err) == nil {
			_ = d.Ack(false)
		}
	case err == nil:
		_ = d.Ack(false)
	case errors.Is(err, bus.ErrRejected), m.Delivery >= bus.MaxDeliveries:
		v.bus.cfg.Log.Error("message rejected", "op", "bus.serve", "queue", d.RoutingKey, "kind", m.Kind, "id", m.ID, "error", err)
		_ = d.Reject(false)
	default:
		pause := min(v.bus.cfg.RetryFirst<<min(m.Delivery-1, 20), maxRetry)
		v.bus.cfg.Log.Warn("handling failed", "op", "bus.serve", "queue", d.RoutingKey, "kind", m.Kind, "id", m.ID, "delivery", m.Delivery, "again", pause,
			"error", err)
		v.workers.Go(func() {
			select {
			case <-time.After(pause):
			case <-serving.Done():
			}
			_ = d.Nack(false, true)
		})
	}
}

func messageOf(d amqp.Delivery) bus.Message {
	m := bus.Message{ID: d.MessageId, Kind: d.Type, Body: d.Body, Delivery: 1}
	if at, ok := d.Headers[headerDeadline].(int64); ok {
		m.Deadline = time.UnixMicro(at)
	}
	if n, ok := d.Headers["x-delivery-count"].(int64); ok {
		m.Delivery = int(n) + 1
	}
	return m
}

var errPanicked = errors.New("the handler panicked")

func (v *server) handle(ctx context.Context, m bus.Message) (body []byte, err error) {
	defer func() {
		if r := recover(); r != nil {
			v.bus.cfg.Log.Error("a handler panicked", "op", "bus.serve", "kind", m.Kind, "id", m.ID, "panic", fmt.Sprint(r), "stack", string(debug.Stack()))
			body, err = nil, errPanicked
		}
	}()
	return v.handler(ctx, m)
}

// reply says what came of a call. The call is answered for only after that, so that it is made again when this connection does not get it out.
func (v *server) reply(serving context.Context, d amqp.Delivery, body []byte, failure error) error {
	if failure == nil && len(body) > bus.MaxBody {
		failure = fmt.Errorf("%w: a reply of %d bytes", bus.ErrTooLarge, len(body))
	}
	p := amqp.Publishing{CorrelationId: d.CorrelationId, Body: body, Headers: amqp.Table{}}
	if failure != nil {
		p.Body = []byte(failure.Error())
		p.Headers[headerFailed] = true
		var coder bus.Coder
		if errors.As(failure, &coder) {
			p.Headers[headerCode] = coder.ErrorCode()
		}
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(serving), outcomeDeadline)
	defer cancel()
	out, err := v.publisher()
	if err == nil {
		err = out.publish(ctx, replyExchange, d.ReplyTo, false, p)
	}
	if err != nil {
		v.bus.cfg.Log.Warn("a reply did not get out", "op", "bus.serve", "queue", d.RoutingKey, "kind", d.Type, "id", d.MessageId, "error", err)
	}
	return err
}
