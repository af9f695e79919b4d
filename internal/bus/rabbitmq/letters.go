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
	return b.onSession(ctx, "drop "+queue, func(ctx context.Context, s *session) error { return s.drop(ctx, queue) })
}

// DeadLetters implements bus.Bus.
func (b *Bus) DeadLetters(ctx context.Context, queue string) ([]bus.Message, error) {
	if err := bus.CheckQueue(queue); err != nil {
		return nil, err
	}
	var letters []bus.Message
	err := b.onSession(ctx, "dead letters of "+queue, func(ctx context.Context, s *session) error {
		return s.bounded(ctx, func() (err error) {
			letters, err = s.letters(queue)
			return err
		})
	})
	return letters, err
}

func (s *session) letters(queue string) ([]bus.Message, error) {
	ch, err := s.conn.Channel()
	if err != nil {
		return nil, err
	}
	defer func() { _ = ch.Close() }() // puts them back
	var letters []bus.Message
	for {
		d, found, err := ch.Get(dead(queue), false)
		if isCode(err, amqp.NotFound) {
			return nil, nil
		}
		if err != nil || !found {
			return letters, err
		}
		letters = append(letters, letterOf(d))
	}
}

// letterOf reads a dead letter. How often it was delivered is not kept: its new queue counts anew.
func letterOf(d amqp.Delivery) bus.Message {
	m := messageOf(d)
	m.Delivery = 1
	return m
}

// onSession does something, again on another connection when the one was lost, until ctx ends.
func (b *Bus) onSession(ctx context.Context, doing string, do func(context.Context, *session) error) error {
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
		err = do(ctx, s)
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
