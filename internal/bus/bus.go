// Package bus carries durable messages between Huker's parts: asked now, done at least once.
//
// It owns the interface, its errors and limits; an engine (embedded, RabbitMQ) lives in a package of its own and
// passes bustest. It must not know what the messages mean.
package bus

import (
	"context"
	"errors"
	"time"
)

// Limits of every engine.
const (
	MaxBody       = 512 << 10 // bytes
	MaxDeliveries = 8         // then a message goes to the dead letters
)

// Errors that every engine returns, wrapped.
var (
	// ErrRejected, returned by a handler, sends the message to the dead letters at once.
	ErrRejected = errors.New("bus: rejected")
	// ErrUnavailable means that the engine could not be reached, so that it is not known whether the message was stored.
	ErrUnavailable = errors.New("bus: unavailable")
	// ErrTimeout means that no reply came before the context's deadline; the call may still be carried out.
	ErrTimeout  = errors.New("bus: no reply in time")
	ErrTooLarge = errors.New("bus: message too large")
	ErrDenied   = errors.New("bus: denied")
)

// Message is what travels. ID makes redeliveries recognizable; it is made by the engine when empty.
type Message struct {
	ID       string
	Kind     string
	Body     []byte
	Deadline time.Time // after it the message is dropped unhandled; zero: never
	Delivery int       // 1 for the first; set on delivery
}

// Handler handles one message. For a published message nil acknowledges it, and an error has it delivered again, later. For a
// call the body or the error goes back to the caller, and the message is done with.
type Handler func(ctx context.Context, m Message) ([]byte, error)

// CallError is a handler's error as its caller sees it. Code is the text of the handler's Coder, or "".
type CallError struct {
	Code    string
	Message string
}

func (e *CallError) Error() string { return e.Message }

// Coder is implemented by errors that carry a stable code across the bus.
type Coder interface{ ErrorCode() string }

// Bus is one client's connection. Queue names are [a-z0-9.-]+, made on first use, and kept when nobody listens.
type Bus interface {
	// Publish returns nil when the message is stored so that it survives a crash.
	Publish(ctx context.Context, queue string, m Message) error
	// Call sends a message and waits for the handler's reply, until ctx ends (ErrTimeout). ctx must have a deadline.
	Call(ctx context.Context, queue string, m Message) ([]byte, error)
	// Serve handles a queue's messages, up to concurrency at once, until ctx ends; several servers share a queue's messages. A message
	// whose server died is delivered again, to another or to the next one.
	Serve(ctx context.Context, queue string, concurrency int, h Handler) error
	// Drop removes a queue with all that is in it.
	Drop(ctx context.Context, queue string) error
	// DeadLetters lists the messages of a queue that were given up.
	DeadLetters(ctx context.Context, queue string) ([]Message, error)
	Close() error
}

// Gatekeeper makes and takes back the rights with which one guest or host may use the engine.
type Gatekeeper interface {
	// Admit allows principal to serve each of queues (and so to reply to its calls), and nothing else. Idempotent.
	Admit(ctx context.Context, principal string, queues []string) error
	// Expel takes everything back; open connections lose their rights too. No error when it is unknown.
	Expel(ctx context.Context, principal string) error
}
