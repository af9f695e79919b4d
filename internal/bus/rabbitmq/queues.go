package rabbitmq

import (
	"context"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

const (
	// settling is how long a new queue rests before a message in it is answered for. RabbitMQ before 3.13.5 answers that a quorum queue is made while the name
	// of its log is not on disk yet; one that is killed then comes up with a queue that has lost its log and elects no leader, for good
	// (https://github.com/rabbitmq/ra/pull/443). It flushes names when none was added for half a second, and looks every half second.
	settling = 1500 * time.Millisecond
	// longestSettling bounds the rest while others are made one after the other: names are written every three seconds at least.
	longestSettling = 5 * time.Second
	// parting is how long the name of a dropped queue that was served is kept free: its servers are told that it went by a look whether there is a queue of that
	// name, and one that was made again by then leaves them waiting at the old one for good.
	parting = time.Second
	// makingTimeout bounds one step of making a queue. RabbitMQ takes more than five seconds to delete one that has no leader.
	makingTimeout = 30 * time.Second
	// makingConcurrency bounds how many queues are made at once. Each takes RabbitMQ some 30 ms of a core, so that hundreds would not be answered in time;
	// then the connection is given up, and half of what was under way on it is made twice, which RabbitMQ 3.10 ends the next connection for, without end.
	makingConcurrency = 16
)

// dead is where a queue's messages go that were given up.
func dead(queue string) string { return queue + ".dead" }

// marker is an exchange that says: this queue has settled. One without it holds nothing that was answered for.
func marker(queue string) string { return "huker.made." + queue }

// lock is a queue of the connection that makes or drops a queue; others' are refused.
func lock(queue string) string { return "huker.making." + queue }

// ensure has a queue be there, with its dead letters', and settled if what is to be put into it will be answered for: calls need not be, who asks them
// asks again when the connection is lost. One that may not make it goes on: then it was made before.
// The making is shared by all who wait, and goes on when ctx ends.
func (s *session) ensure(ctx context.Context, queue string, settled bool) error {
	for {
		s.mu.Lock()
		if s.declared[queue] {
			s.mu.Unlock()
			return nil
		}
		c := s.busy[queue]
		if c == nil {
			c = s.claimed(queue)
			s.bus.wg.Go(func() {
				err := s.makeQueue(s.bus.ctx, queue, c.open)
				if err == nil || denied(err) {
					s.mu.Lock()
					c.err, s.declared[queue] = nil, true
					s.mu.Unlock()
				} else {
					c.err = err
				}
				s.release(queue, c)
			})
		}
		s.mu.Unlock()
		until := c.done
		if !settled {
			until = c.usable
		}
		if err := s.await(ctx, until); err != nil {
			return err
		}
		select {
		case <-c.done:
			if c.err != nil {
				return c.err
			}
		default:
			return nil
		}
	}
}

func (s *session) forget(queue string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.declared, queue)
}

// claim is held by who makes or drops a queue.
type claim struct {
	usable chan struct{} // closed when the queue is there, settled or not, and at the end
	open   func()        // closes it
	done   chan struct{} // closed at the end
	err    error         // before that
}

// claimed takes a claim that is free; under mu.
func (s *session) claimed(queue string) *claim {
	c := &claim{usable: make(chan struct{}), done: make(chan struct{})}
	c.open = sync.OnceFunc(func() { close(c.usable) })
	s.busy[queue] = c
	return c
}

func (s *session) release(queue string, c *claim) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.busy, queue)
	close(c.done)
	c.open() // after done: who finds it open without that may use the queue
}

// await waits for something on this connection.
func (s *session) await(ctx context.Context, done <-chan struct{}) error {
	select {
	case <-done:
		return nil
	case <-s.lost:
		return errLost
	case <-ctx.Done():
		return s.bus.ended(ctx)
	}
}

func (s *session) pause(ctx context.Context, d time.Duration) error {
	over := make(chan struct{})
	timer := time.AfterFunc(d, func() { close(over) })
	defer timer.Stop()
	return s.await(ctx, over)
}

// step does something on a channel of its own.
func (s *session) step(ctx context.Context, do func(*amqp.Channel) error) error {
	return s.within(ctx, makingTimeout, func() error {
		ch, err := s.conn.Channel()
		if err != nil {
			return err
		}
		err = do(ch)
		_ = ch.Close()
		return err
	})
}

// makeQueue makes a queue that is not there; usable is called before it has settled.
func (s *session) makeQueue(ctx context.Context, queue string, usable func()) error {
	there, err := s.settled(ctx, queue)
	if err != nil || there {
		return err
	}
	unlock, err := s.lock(ctx, queue)
	if err != nil {
		return err
	}
	defer unlock()
	if there, err = s.makeAnew(ctx, queue); err != nil || there {
		return err
	}
	usable()
	if err := s.settle(ctx); err != nil {
		return err
	}
	return s.step(ctx, func(ch *amqp.Channel) error {
		return ch.ExchangeDeclare(marker(queue), amqp.ExchangeFanout, true, false, true, false, nil)
	})
}

// makeAnew makes a queue that is to settle then, with nothing in it that was there; there says that another has made it since.
func (s *session) makeAnew(ctx context.Context, queue string) (there bool, err error) {
	select {
	case s.bus.making <- struct{}{}:
		defer func() { <-s.bus.making }()
	case <-s.lost:
		return false, errLost
	case <-ctx.Done():
		return false, s.bus.ended(ctx)
	}
	if there, err = s.settled(ctx, queue); err != nil || there {
		return there, err
	}
	if err := s.step(ctx, func(ch *amqp.Channel) error { return remove(ch, queue) }); err != nil {
		return false, err
	}
	return false, s.step(ctx, func(ch *amqp.Channel) error { return declare(ch, queue) })
}

// settled says whether a queue is there and was answered for.
func (s *session) settled(ctx context.Context, queue string) (bool, error) {
	err := s.step(ctx, func(ch *amqp.Channel) error {
		if err := ch.ExchangeDeclarePassive(marker(queue), amqp.ExchangeFanout, true, false, true, false, nil); err != nil {
			return err
		}
		_, err := ch.QueueDeclarePassive(queue, true, false, false, false, nil)
		return err
	})
	if isCode(err, amqp.NotFound) {
		return false, nil
	}
	return err == nil, err
}

// lock waits until nobody else, in no process, makes or drops that queue.
func (s *session) lock(ctx context.Context, queue string) (unlock func(), err error) {
	for {
		err := s.step(ctx, func(ch *amqp.Channel) error {
			_, err := ch.QueueDeclare(lock(queue), false, false, true, false, nil)
			return err
		})
		if err == nil {
			break
		}
		if !isCode(err, amqp.ResourceLocked) {
			return nil, err
		}
		if err := s.pause(ctx, reopenPause); err != nil {
			return nil, err
		}
	}
	return func() {
		_ = s.step(context.WithoutCancel(ctx), func(ch *amqp.Channel) error { // goes with the connection at the latest
			_, err := ch.QueueDelete(lock(queue), false, false, false)
			return err
		})
	}, nil
}

// remove takes the marker first: what is left when that is all is made anew.
func remove(ch *amqp.Channel, queue string) error {
	if err := ch.ExchangeDelete(marker(queue), false, false); err != nil {
		return err
	}
	if _, err := ch.QueueDelete(queue, false, false, false); err != nil {
		return err
	}
	_, err := ch.QueueDelete(dead(queue), false, false, false)
	return err
}

func declare(ch *amqp.Channel, queue string) error {
	if _, err := ch.QueueDeclare(dead(queue), true, false, false, false, amqp.Table{amqp.QueueTypeArg: amqp.QueueTypeQuorum}); err != nil {
		return err
	}
	_, err := ch.QueueDeclare(queue, true, false, false, false, amqp.Table{
		amqp.QueueTypeArg: amqp.QueueTypeQuorum, "x-delivery-limit": 2 * maxReturns, // servers give messages up before
		"x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead(queue),
	})
	return err
}

// settle waits until RabbitMQ has flushed the names of queues that were made.
func (s *session) settle(ctx context.Context) error {
	b, begun := s.bus, time.Now()
	b.mu.Lock()
	b.made = begun
	b.mu.Unlock()
	for {
		b.mu.Lock()
		rest := min(settling-time.Since(b.made), longestSettling-time.Since(begun))
		b.mu.Unlock()
		if rest <= 0 {
			return nil
		}
		if err := s.pause(ctx, rest); err != nil {
			return err
		}
	}
}

// drop takes a queue away, with its dead letters.
func (s *session) drop(ctx context.Context, queue string) error {
	for {
		s.mu.Lock()
		c := s.busy[queue]
		if c == nil {
			delete(s.declared, queue)
			c = s.claimed(queue)
			s.mu.Unlock()
			defer s.release(queue, c)
			break
		}
		s.mu.Unlock()
		if err := s.await(ctx, c.done); err != nil {
			return err
		}
	}
	unlock, err := s.lock(ctx, queue)
	if err != nil {
		return err
	}
	defer unlock()
	served := false
	err = s.step(ctx, func(ch *amqp.Channel) error {
		q, err := ch.QueueDeclarePassive(queue, true, false, false, false, nil)
		served = q.Consumers > 0
		return err
	})
	if err != nil && !isCode(err, amqp.NotFound) {
		return err
	}
	if err := s.step(ctx, func(ch *amqp.Channel) error { return remove(ch, queue) }); err != nil || !served {
		return err
	}
	return s.pause(ctx, parting)
}
