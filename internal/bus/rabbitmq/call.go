package rabbitmq

import (
	"context"
	"errors"
	"fmt"
	"sync"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/huker/huker/internal/bus"
)

// Call implements bus.Bus.
func (b *Bus) Call(ctx context.Context, queue string, m bus.Message) ([]byte, error) {
	if err := errors.Join(bus.CheckQueue(queue), bus.CheckMessage(m)); err != nil {
		return nil, err
	}
	deadline, ok := ctx.Deadline()
	if !ok {
		return nil, fmt.Errorf("%w: a call needs a deadline", bus.ErrInvalid)
	}
	ctx, leave, err := b.enter(ctx, true)
	if err != nil {
		return nil, err
	}
	defer leave()
	if m.ID == "" {
		m.ID = nonce()
	}
	if m.Deadline.IsZero() || m.Deadline.After(deadline) {
		m.Deadline = deadline
	}
	for {
		body, err := b.callOnce(ctx, queue, m)
		if !errors.Is(err, errLost) {
			return body, err
		}
	}
}

// callOnce asks on one connection; errLost means that this one is gone, and the reply with it.
func (b *Bus) callOnce(ctx context.Context, queue string, m bus.Message) ([]byte, error) {
	doing := "call " + m.Kind + " of " + queue
	s, err := b.session(ctx)
	if err != nil {
		return nil, mapError(doing, err)
	}
	var in *replies
	err = s.bounded(ctx, func() (err error) {
		in, err = s.inbox()
		return err
	})
	if err != nil {
		select {
		case <-s.lost:
			return nil, errLost
		default:
		}
		if denied(err) || ctx.Err() != nil {
			return nil, mapError(doing, err)
		}
		return nil, fmt.Errorf("%w: %w", errLost, err)
	}
	p := publishing(m)
	p.ReplyTo = in.name
	p.Headers[headerCall] = true
	answer := in.expect(p.CorrelationId)
	defer in.forget(p.CorrelationId)
	if err := b.untilStored(ctx, queue, p); err != nil {
		if errors.Is(err, context.DeadlineExceeded) { // whether it was stored or not: no reply came
			return nil, fmt.Errorf("%s: %w: %w", doing, bus.ErrTimeout, err)
		}
		return nil, mapError(doing, err)
	}
	select {
	case d := <-answer:
		return opened(d)
	case <-in.gone:
		return nil, errLost
	case <-ctx.Done():
	}
	if b.ctx.Err() != nil {
		return nil, mapError(doing, b.ended(ctx))
	}
	return nil, fmt.Errorf("%s: %w: %w", doing, bus.ErrTimeout, ctx.Err())
}

// opened takes a reply apart.
func opened(d amqp.Delivery) ([]byte, error) {
	if failed, _ := d.Headers[headerFailed].(bool); failed {
		code, _ := d.Headers[headerCode].(string)
		return nil, &bus.CallError{Code: code, Message: string(d.Body)}
	}
	return d.Body, nil
}

// replies is where a connection's answers arrive.
type replies struct {
	name string
	gone chan struct{} // closed when nothing arrives any more

	mu      sync.Mutex
	waiting map[string]chan amqp.Delivery
}

// inbox gives the connection's queue for replies, and makes it first.
func (s *session) inbox() (*replies, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.replies != nil {
		select {
		case <-s.replies.gone:
		default:
			return s.replies, nil
		}
	}
	ch, err := s.conn.Channel()
	if err != nil {
		return nil, err
	}
	in := &replies{name: "reply." + nonce(), gone: make(chan struct{}), waiting: map[string]chan amqp.Delivery{}}
	arriving, err := in.open(ch)
	if err != nil {
		return nil, errors.Join(err, ch.Close())
	}
	s.bus.wg.Go(func() {
		for d := range arriving {
			in.mu.Lock()
			answer := in.waiting[d.CorrelationId]
			delete(in.waiting, d.CorrelationId)
			in.mu.Unlock()
			if answer != nil {
				answer <- d
			}
		}
		close(in.gone)
	})
	s.replies = in
	return in, nil
}

func (r *replies) open(ch *amqp.Channel) (<-chan amqp.Delivery, error) {
	if err := ch.ExchangeDeclare(replyExchange, amqp.ExchangeDirect, true, false, false, false, nil); err != nil {
		return nil, err
	}
	if _, err := ch.QueueDeclare(r.name, false, true, true, false, nil); err != nil {
		return nil, err
	}
	if err := ch.QueueBind(r.name, r.name, replyExchange, false, nil); err != nil {
		return nil, err
	}
	return ch.Consume(r.name, "", true, true, false, false, nil)
}

func (r *replies) expect(id string) <-chan amqp.Delivery {
	answer := make(chan amqp.Delivery, 1)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.waiting[id] = answer
	return answer
}

func (r *replies) forget(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.waiting, id)
}
