package rabbitmq

import (
	"context"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/huker/huker/internal/bus"
)

// Drop implements bus.Bus.
func (b *Bus) Drop(ctx context.Context, queue string) error {
	if err := bus.CheckQueue(queue); err != nil {
		return err
	}
	return b.onChannel(ctx, "drop "+queue, func(s *session, ch *amqp.Channel) error {
		s.forget(queue)
		if _, err := ch.QueueDelete(queue, false, false, false); err != nil {
			return err
		}
		_, err := ch.QueueDelete(dead(queue), false, false, false)
		return err
	})
}

// DeadLetters implements bus.Bus.
func (b *Bus) DeadLetters(ctx context.Context, queue string) ([]bus.Message, error) {
	if err := bus.CheckQueue(queue); err != nil {
		return nil, err
	}
	var letters []bus.Message
	err := b.onChannel(ctx, "dead letters of "+queue, func(_ *session, ch *amqp.Channel) error {
		letters = nil
		for {
			d, found, err := ch.Get(dead(queue), false)
			if isCode(err, amqp.NotFound) {
				return nil
			}
			if err != nil || !found {
				return err // closing the channel puts them back
			}
			letters = append(letters, letterOf(d))
		}
	})
	return letters, err
}

// letterOf reads a dead letter. How often it was delivered is not kept: its new queue counts anew.
func letterOf(d amqp.Delivery) bus.Message {
	m := messageOf(d)
	m.Delivery = 1
	return m
}

// onChannel does something on a channel of its own, again on another connection when the one was lost, until ctx ends.
func (b *Bus) onChannel(ctx context.Context, doing string, do func(*session, *amqp.Channel) error) error {
	ctx, leave, err := b.enter(ctx, true)
	if err != nil {
		return err
	}
	defer leave()
	for {
		s, err := b.session(ctx)
		if err != nil {
			return mapError(doing, err)
		}
		err = s.bounded(ctx, func() error {
			ch, err := s.conn.Channel()
			if err == nil {
				err = do(s, ch)
				_ = ch.Close()
			}
			return err
		})
		if err == nil || denied(err) || ctx.Err() != nil {
			return mapError(doing, err)
		}
		select {
		case <-s.lost:
		case <-time.After(publishPause): // the library tells of a loss a moment later
			select {
			case <-s.lost:
			default:
				return mapError(doing, err)
			}
		}
	}
}
