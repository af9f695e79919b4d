package rabbitmq

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/huker/huker/internal/bus"
)

// Headers of messages.
const (
	headerDeadline = "huker-deadline" // microseconds since 1970
	headerCall     = "huker-call"     // somebody waits for a reply
	headerFailed   = "huker-failed"   // of a reply: the handler's error
	headerCode     = "huker-code"
)

// publishPause is before a message that RabbitMQ did not take is sent again.
const publishPause = 50 * time.Millisecond

// Publish implements bus.Bus.
func (b *Bus) Publish(ctx context.Context, queue string, m bus.Message) error {
	if err := errors.Join(bus.CheckQueue(queue), bus.CheckMessage(m)); err != nil {
		return err
	}
	ctx, leave, err := b.enter(ctx, true)
	if err != nil {
		return err
	}
	defer leave()
	if m.ID == "" {
		m.ID = nonce()
	}
	return mapError("publish to "+queue, b.untilStored(ctx, queue, publishing(m)))
}

func publishing(m bus.Message) amqp.Publishing {
	p := amqp.Publishing{
		MessageId: m.ID, Type: m.Kind, Body: m.Body, DeliveryMode: amqp.Persistent, CorrelationId: nonce(), Headers: amqp.Table{},
		ContentType: "application/octet-stream",
	}
	if !m.Deadline.IsZero() {
		p.Headers[headerDeadline] = m.Deadline.UnixMicro()
	}
	return p
}

// untilStored sends until RabbitMQ has said that it is stored, or ctx ends. A message whose answer was lost is sent again, with its id.
func (b *Bus) untilStored(ctx context.Context, queue string, p amqp.Publishing) error {
	for {
		s, err := b.session(ctx)
		if err != nil {
			return err
		}
		err = s.send(ctx, queue, p)
		if err == nil || denied(err) {
			return err
		}
		if ctx.Err() != nil {
			return fmt.Errorf("%w (%w)", b.ended(ctx), err)
		}
		b.cfg.Log.DebugContext(ctx, "sending again", "op", "bus.publish", "queue", queue, "error", err)
		select {
		case <-time.After(publishPause):
		case <-ctx.Done():
		}
	}
}

// send sends once to a queue, which is made if it is not there.
func (s *session) send(ctx context.Context, queue string, p amqp.Publishing) error {
	if err := s.ensure(ctx, queue, p.ReplyTo == ""); err != nil {
		return err
	}
	var out *publisher
	err := s.bounded(ctx, func() (err error) {
		out, err = s.publisher()
		return err
	})
	if err != nil {
		return err
	}
	err = out.publish(ctx, "", queue, true, p)
	if errors.Is(err, errNowhere) {
		s.forget(queue)
	}
	return err
}

// publisher gives the channel for sending; one that was closed by an error is replaced.
func (s *session) publisher() (*publisher, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.out != nil {
		select {
		case <-s.out.gone:
		default:
			return s.out, nil
		}
	}
	out, err := newPublisher(s)
	if err != nil {
		return nil, err
	}
	s.out = out
	return out, nil
}

// errNowhere means that there is no such queue; the message is not stored.
var errNowhere = errors.New("no such queue")

// publisher is a channel on which everything sent is confirmed.
type publisher struct {
	ch   *amqp.Channel
	gone chan struct{} // closed when the channel is

	mu       sync.Mutex
	why      error
	returned map[string]bool // by correlation id
	barrier  chan chan struct{}
}

func newPublisher(s *session) (*publisher, error) {
	ch, err := s.conn.Channel()
	if err != nil {
		return nil, err
	}
	if err := ch.Confirm(false); err != nil {
		return nil, errors.Join(err, ch.Close())
	}
	p := &publisher{ch: ch, gone: make(chan struct{}), returned: map[string]bool{}, barrier: make(chan chan struct{})}
	closed := ch.NotifyClose(make(chan *amqp.Error, 1))
	// Unbuffered: what came back has been received here before the confirmation that follows it is looked at.
	returns := ch.NotifyReturn(make(chan amqp.Return))
	s.bus.wg.Go(func() {
		for {
			select {
			case r, open := <-returns:
				if !open {
					returns = nil
					continue
				}
				p.mu.Lock()
				p.returned[r.CorrelationId] = true
				p.mu.Unlock()
			case waiting := <-p.barrier:
				close(waiting)
			case reason := <-closed:
				p.mu.Lock()
				p.why = errLost
				if reason != nil {
					p.why = reason
				}
				p.mu.Unlock()
				close(p.gone)
				return
			}
		}
	})
	return p, nil
}

func (p *publisher) publish(ctx context.Context, exchange, key string, mandatory bool, m amqp.Publishing) error {
	confirm, err := p.ch.PublishWithDeferredConfirmWithContext(ctx, exchange, key, mandatory, false, m)
	if err != nil {
		return p.reason(err)
	}
	select {
	case <-confirm.Done():
	case <-p.gone:
		return p.reason(errLost)
	case <-ctx.Done():
		return ctx.Err()
	}
	if !confirm.Acked() {
		select {
		case <-p.gone: // all that was not confirmed is given up when a channel closes
			return p.reason(errLost)
		default:
			return errors.New("not taken")
		}
	}
	if mandatory && p.cameBack(m.CorrelationId) {
		return errNowhere
	}
	return nil
}

// cameBack says whether a confirmed message found no queue.
func (p *publisher) cameBack(id string) bool {
	waiting := make(chan struct{})
	select {
	case p.barrier <- waiting:
		<-waiting
	case <-p.gone:
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	came := p.returned[id]
	delete(p.returned, id)
	return came
}

// reason is why the channel closed, which tells more than what its user saw.
func (p *publisher) reason(err error) error {
	if isCode(err, amqp.ChannelError) || errors.Is(err, amqp.ErrClosed) || errors.Is(err, errLost) {
		select {
		case <-p.gone:
		case <-time.After(time.Second):
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.why != nil {
		return p.why
	}
	return err
}
