package rabbitmq

import (
	"context"
	"errors"
	"fmt"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/huker/huker/internal/bus"
)

// errLost means that the connection or channel went: what was under way is not known, and may be done again on the next one.
var errLost = errors.New("the connection was lost")

// mapError gives RabbitMQ's errors the bus's meaning.
func mapError(doing string, err error) error {
	var e *amqp.Error
	switch {
	case err == nil:
		return nil
	case errors.Is(err, bus.ErrDenied), errors.Is(err, bus.ErrUnavailable), errors.Is(err, bus.ErrTimeout), errors.Is(err, bus.ErrInvalid):
		return fmt.Errorf("%s: %w", doing, err)
	case errors.As(err, &e) && (e.Code == amqp.AccessRefused || e.Code == amqp.NotAllowed):
		return fmt.Errorf("%s: %w: %s", doing, bus.ErrDenied, e.Reason)
	default:
		return fmt.Errorf("%s: %w: %w", doing, bus.ErrUnavailable, err)
	}
}

func isCode(err error, code int) bool {
	var e *amqp.Error
	return errors.As(err, &e) && e.Code == code
}

// denied says whether asking again is no use.
func denied(err error) bool {
	return isCode(err, amqp.AccessRefused) || isCode(err, amqp.NotAllowed) || errors.Is(err, bus.ErrDenied)
}

// ended is why a context ended, in the bus's words.
func (b *Bus) ended(ctx context.Context) error {
	if b.ctx.Err() != nil {
		return fmt.Errorf("%w: the bus was closed", bus.ErrUnavailable)
	}
	return fmt.Errorf("%w: %w", bus.ErrUnavailable, ctx.Err())
}
