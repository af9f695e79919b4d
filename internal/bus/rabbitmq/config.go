package rabbitmq

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"
)

// Defaults.
const (
	DefaultVHost     = "huker"
	defaultHeartbeat = 5 * time.Second
	dialTimeout      = 5 * time.Second
	// answerTimeout bounds what RabbitMQ takes to answer one request. One that starts may take requests in and never answer them: then another connection
	// is worth more than patience.
	answerTimeout = 5 * time.Second
	// requestTimeout bounds a request whose context has no deadline.
	requestTimeout = 10 * time.Second
)

// Config says where RabbitMQ is and as whom to come.
type Config struct {
	Servers []string    // host:port; the next is tried when one does not answer
	TLS     *tls.Config // with the client's certificate, whose CommonName is the user; nil: plain TCP
	// Username and Password come in place of the certificate's name where they are set.
	Username, Password string
	VHost              string // empty: DefaultVHost
	// Heartbeat bounds how long a dead connection is not noticed: once here, twice at the server. 1 s and up; 0: 5 s.
	Heartbeat time.Duration
	// RetryFirst is the pause before a message whose handler failed is delivered again; it doubles each time. 0: 100 ms.
	RetryFirst time.Duration
	Log        *slog.Logger // nil: none
}

func (c *Config) fill() error {
	if len(c.Servers) == 0 {
		return errors.New("rabbitmq: no servers are given")
	}
	if c.VHost == "" {
		c.VHost = DefaultVHost
	}
	if c.Heartbeat == 0 {
		c.Heartbeat = defaultHeartbeat
	}
	if c.Heartbeat < time.Second {
		return fmt.Errorf("rabbitmq: a heartbeat of %s is shorter than a second", c.Heartbeat)
	}
	if c.RetryFirst == 0 {
		c.RetryFirst = 100 * time.Millisecond
	}
	if c.Log == nil {
		c.Log = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	return nil
}
