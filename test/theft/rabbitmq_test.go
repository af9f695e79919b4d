package theft

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/huker/huker/internal/protocol"
)

const replies = "huker.replies"

func (s *site) dialRabbit(vhost string, cfg *tls.Config) (*amqp.Connection, error) {
	return amqp.DialConfig("amqps://"+s.rabbit.Address+"/", amqp.Config{
		Vhost: vhost, TLSClientConfig: cfg, SASL: []amqp.Authentication{&amqp.ExternalAuth{}}, Heartbeat: 10 * time.Second,
		Dial: amqp.DefaultDial(5 * time.Second),
	})
}

// channel gives a new one: an error ends the one that it came on.
type channels struct {
	s    *site
	cfg  *tls.Config
	conn *amqp.Connection
}

func (c *channels) do(try func(*amqp.Channel) error) error {
	if c.conn == nil || c.conn.IsClosed() {
		conn, err := c.s.dialRabbit("huker", c.cfg)
		if err != nil {
			return err
		}
		c.conn = conn
	}
	ch, err := c.conn.Channel()
	if err != nil {
		return err
	}
	defer func() { _ = ch.Close() }()
	return try(ch)
}

// published waits for the broker's word on what was sent.
func published(ch *amqp.Channel, exchange, key string, p amqp.Publishing) error {
	if err := ch.Confirm(false); err != nil {
		return err
	}
	closed := ch.NotifyClose(make(chan *amqp.Error, 1))
	confirm, err := ch.PublishWithDeferredConfirmWithContext(context.Background(), exchange, key, false, false, p)
	if err != nil {
		return err
	}
	select {
	case <-confirm.Done():
		if confirm.Acked() {
			return nil
		}
		if reason, open := <-closed; open {
			return reason
		}
		return errors.New("not taken")
	case reason := <-closed:
		return reason
	case <-time.After(10 * time.Second):
		return errors.New("no word of it")
	}
}

func rabbitDenied(err error) bool {
	var e *amqp.Error
	// ResourceLocked is what is said of another connection's own queue, and PreconditionFailed of another's name as the sender.
	return errors.As(err, &e) && (e.Code == amqp.AccessRefused || e.Code == amqp.NotAllowed || e.Code == amqp.ResourceLocked || e.Code == amqp.PreconditionFailed)
}

func (s *site) rabbitTools(t *testing.T, th *thief) *tools {
	t.Helper()
	c := &channels{s: s, cfg: tlsOf(t, th.credentials)}
	t.Cleanup(func() {
		if c.conn != nil {
			_ = c.conn.Close()
		}
	})
	o := &tools{denied: rabbitDenied}
	onQueue := func(name string, mine bool, do func(ch *amqp.Channel, queue string) error) {
		o.verbs = append(o.verbs, verb{name: name, mine: mine, do: func(_ context.Context, queue string) error {
			return c.do(func(ch *amqp.Channel) error { return do(ch, queue) })
		}})
	}
	onQueue("consume", true, func(ch *amqp.Channel, q string) error {
		_, err := ch.Consume(q, "", false, false, false, false, nil)
		return err
	})
	onQueue("consume the dead", false, func(ch *amqp.Channel, q string) error {
		_, err := ch.Consume(q+".dead", "", false, false, false, false, nil)
		return err
	})
	onQueue("get", true, func(ch *amqp.Channel, q string) error { _, _, err := ch.Get(q, false); return err })
	onQueue("purge", true, func(ch *amqp.Channel, q string) error { _, err := ch.QueuePurge(q, false); return err })
	onQueue("declare", false, func(ch *amqp.Channel, q string) error {
		_, err := ch.QueueDeclare(q, true, false, false, false, nil)
		return err
	})
	onQueue("declare its lock", false, func(ch *amqp.Channel, q string) error {
		_, err := ch.QueueDeclare("huker.making."+q, false, false, true, false, nil)
		return err
	})
	onQueue("delete", false, func(ch *amqp.Channel, q string) error { _, err := ch.QueueDelete(q, false, false, false); return err })
	onQueue("delete if empty", false, func(ch *amqp.Channel, q string) error { _, err := ch.QueueDelete(q, true, true, false); return err })
	onQueue("delete its mark", false, func(ch *amqp.Channel, q string) error { return ch.ExchangeDelete("huker.made."+q, false, false) })
	onQueue("bind to replies", false, func(ch *amqp.Channel, q string) error { return ch.QueueBind(q, "#", replies, false, nil) })
	onQueue("bind to topic", false, func(ch *amqp.Channel, q string) error { return ch.QueueBind(q, "#", "amq.topic", false, nil) })
	onQueue("unbind", false, func(ch *amqp.Channel, q string) error { return ch.QueueUnbind(q, q, "amq.direct", nil) })
	onQueue("publish", false, func(ch *amqp.Channel, q string) error {
		return published(ch, "", q, amqp.Publishing{Body: []byte("forged")})
	})
	onQueue("publish by its mark", false, func(ch *amqp.Channel, q string) error {
		return published(ch, "huker.made."+q, q, amqp.Publishing{Body: []byte("forged")})
	})
	o.attempts = s.rabbitAttempts(t, th, c)
	return o
}

func (s *site) rabbitAttempts(t *testing.T, th *thief, c *channels) []attempt {
	t.Helper()
	var o []attempt
	add := func(name string, try func(ch *amqp.Channel) error) {
		o = append(o, attempt{name, func(context.Context) error { return c.do(try) }})
	}
	var exchanges []struct{ Name string }
	s.manage("/api/exchanges/huker", &exchanges)
	require.Greater(t, len(exchanges), 5)
	for _, e := range exchanges {
		if e.Name == replies {
			continue
		}
		add(fmt.Sprintf("publish to %q", e.Name), func(ch *amqp.Channel) error {
			return published(ch, e.Name, protocol.GuestQueue(s.guests[1]), amqp.Publishing{Body: []byte("forged")})
		})
		add(fmt.Sprintf("bind %q to replies", e.Name), func(ch *amqp.Channel) error { return ch.ExchangeBind(replies, "#", e.Name, false, nil) })
		add(fmt.Sprintf("bind replies to %q", e.Name), func(ch *amqp.Channel) error { return ch.ExchangeBind(e.Name, "#", replies, false, nil) })
		add(fmt.Sprintf("delete exchange %q", e.Name), func(ch *amqp.Channel) error { return ch.ExchangeDelete(e.Name, false, false) })
	}
	var queues []struct{ Name string }
	s.manage("/api/queues/huker", &queues)
	found := false
	for _, q := range queues {
		if q.Name == th.queue {
			continue
		}
		found = found || len(q.Name) > 6 && q.Name[:6] == "reply."
		add("steal from "+q.Name, func(ch *amqp.Channel) error {
			_, err := ch.Consume(q.Name, "", true, false, false, false, nil)
			return err
		})
		add("get from "+q.Name, func(ch *amqp.Channel) error { _, _, err := ch.Get(q.Name, true); return err })
		add("purge "+q.Name, func(ch *amqp.Channel) error { _, err := ch.QueuePurge(q.Name, false); return err })
		add("delete "+q.Name, func(ch *amqp.Channel) error { _, err := ch.QueueDelete(q.Name, false, false, false); return err })
		add("take over "+q.Name, func(ch *amqp.Channel) error {
			_, err := ch.QueueDeclare(q.Name, false, true, true, false, nil)
			return err
		})
		add("divert "+q.Name, func(ch *amqp.Channel) error { return ch.QueueUnbind(q.Name, q.Name, replies, nil) })
	}
	require.True(t, found, "there are queues of replies: %v", queues)
	add("delete replies", func(ch *amqp.Channel) error { return ch.ExchangeDelete(replies, false, false) })
	add("declare replies", func(ch *amqp.Channel) error {
		return ch.ExchangeDeclare(replies, "fanout", true, false, false, false, nil)
	})
	add("declare an exchange", func(ch *amqp.Channel) error {
		return ch.ExchangeDeclare("mallory", "fanout", true, false, false, false, nil)
	})
	add("declare a queue of one's own", func(ch *amqp.Channel) error { _, err := ch.QueueDeclare("", false, true, true, false, nil); return err })
	add("overhear replies", func(ch *amqp.Channel) error { return ch.QueueBind(th.queue, "#", replies, false, nil) })
	for _, sender := range []string{"root", "guest." + s.guests[1], protocol.HostPrincipal(s.hosts[1])} {
		add("reply as "+sender, func(ch *amqp.Channel) error {
			return published(ch, replies, "reply.x", amqp.Publishing{UserId: sender})
		})
	}
	require.NoError(t, c.do(func(ch *amqp.Channel) error {
		return published(ch, replies, "reply.x", amqp.Publishing{UserId: th.principal})
	}), "a reply of its own")
	for _, vhost := range []string{"/", "huker2", ""} {
		o = append(o, attempt{fmt.Sprintf("virtual host %q", vhost), func(context.Context) error {
			conn, err := s.dialRabbit(vhost, c.cfg)
			if err == nil {
				_ = conn.Close()
			}
			return err
		}})
	}
	for _, login := range [][2]string{{th.principal, ""}, {"root", ""}, {"root", "guest"}, {"guest", "guest"}} {
		o = append(o, attempt{"password of " + login[0], func(context.Context) error {
			conn, err := amqp.DialConfig("amqps://"+s.rabbit.Address+"/", amqp.Config{
				Vhost: "huker", TLSClientConfig: c.cfg, SASL: []amqp.Authentication{&amqp.PlainAuth{Username: login[0], Password: login[1]}},
			})
			if err == nil {
				_ = conn.Close()
			}
			if errors.Is(err, amqp.ErrSASL) || errors.Is(err, amqp.ErrCredentials) {
				return &amqp.Error{Code: amqp.AccessRefused}
			}
			return err
		}})
	}
	return append(o, s.managementAttempts(t, th)...)
}

// managementAttempts are on RabbitMQ's HTTP API, with the certificate and with names without passwords.
func (s *site) managementAttempts(t *testing.T, th *thief) []attempt {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: tlsOf(t, th.credentials)}, Timeout: 10 * time.Second}
	t.Cleanup(client.CloseIdleConnections)
	var o []attempt
	for _, login := range [][2]string{{}, {th.principal, ""}, {"root", ""}, {"guest", "guest"}} {
		for _, r := range []struct{ method, path, body string }{
			{http.MethodGet, "/api/whoami", ""},
			{http.MethodGet, "/api/overview", ""},
			{http.MethodGet, "/api/users", ""},
			{http.MethodGet, "/api/definitions", ""},
			{http.MethodGet, "/api/connections", ""},
			{http.MethodGet, "/api/queues/huker", ""},
			{http.MethodPut, "/api/users/mallory", `{"password":"x","tags":"administrator"}`},
			{http.MethodPut, "/api/permissions/huker/" + url.PathEscape(th.principal), `{"configure":".*","write":".*","read":".*"}`},
			{http.MethodDelete, "/api/users/guest." + s.guests[1], ""},
			{http.MethodPost, "/api/queues/huker/guest." + s.guests[1] + "/get", `{"count":1,"ackmode":"ack_requeue_true","encoding":"auto"}`},
			{http.MethodPost, "/api/exchanges/huker/amq.default/publish", `{"properties":{},"routing_key":"keeper","payload":"x","payload_encoding":"string"}`},
			{http.MethodPut, "/api/parameters/shovel/huker/x", `{"value":{}}`},
		} {
			o = append(o, attempt{fmt.Sprintf("%s %s as %q", r.method, r.path, login[0]), func(ctx context.Context) error {
				q, err := http.NewRequestWithContext(ctx, r.method, s.rabbit.Management+r.path, bytes.NewReader([]byte(r.body)))
				if err != nil {
					return err
				}
				if login[0] != "" {
					q.SetBasicAuth(login[0], login[1])
				}
				a, err := client.Do(q)
				if err != nil {
					return err
				}
				_ = a.Body.Close()
				switch a.StatusCode {
				case http.StatusUnauthorized, http.StatusForbidden:
					return &amqp.Error{Code: amqp.AccessRefused}
				case http.StatusOK, http.StatusCreated, http.StatusNoContent:
					return nil
				}
				return fmt.Errorf("the management answers %s", a.Status)
			}})
		}
	}
	return o
}

// testWhatRabbitMQTells is what docs/OPERATIONS.md says that RabbitMQ does not keep from whoever may connect: whether a queue is there, and how many
// messages and servers it has.
func testWhatRabbitMQTells(t *testing.T, s *site) {
	th := s.guestThief(0)
	c := &channels{s: s, cfg: tlsOf(t, th.credentials)}
	var q amqp.Queue
	require.NoError(t, c.do(func(ch *amqp.Channel) (err error) {
		q, err = ch.QueueDeclarePassive(protocol.GuestQueue(s.guests[1]), true, false, false, false, nil)
		return err
	}), "if this is refused, RabbitMQ got better, and the documentation is wrong")
	require.Equal(t, 1, q.Consumers)
	_ = c.conn.Close()
}
