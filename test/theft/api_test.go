package theft

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"
	"go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/huker/huker/internal/bus"
	"github.com/huker/huker/internal/metastore/mysql/mysqltest"
	"github.com/huker/huker/internal/protocol"
)

func (s *site) keyTools(t *testing.T, th *thief) *tools {
	if s.zk != nil {
		return s.zkKeyTools(t, th)
	}
	return s.etcdKeyTools(t, th)
}

func (s *site) queueTools(t *testing.T, th *thief) *tools {
	if s.rabbit != nil {
		return s.rabbitTools(t, th)
	}
	return s.etcdQueueTools(t, th)
}

// doors are where one gets in with a certificate.
func (s *site) doors() map[string]func(ctx context.Context, cfg *tls.Config) error {
	t := s.t
	if s.etcd != nil {
		return map[string]func(ctx context.Context, cfg *tls.Config) error{
			"etcd": func(ctx context.Context, cfg *tls.Config) error {
				_, err := etcdserverpb.NewKVClient(s.etcdConnection(t, cfg)).Range(ctx, &etcdserverpb.RangeRequest{
					Key: []byte(etcdKey(protocol.GuestStatusKey(s.guests[0]))),
				})
				return err
			},
		}
	}
	return map[string]func(ctx context.Context, cfg *tls.Config) error{
		"ZooKeeper": func(ctx context.Context, cfg *tls.Config) error {
			z, err := dialZK(ctx, s.zk.Servers[0].Address, cfg)
			if err != nil {
				return err
			}
			defer func() { _ = z.conn.Close() }()
			_, err = z.ask(ctx, zkExists, append(zkString(zkKeys), 0)) // more than it takes to be told nothing
			return err
		},
		"RabbitMQ": func(_ context.Context, cfg *tls.Config) error {
			conn, err := s.dialRabbit("huker", cfg)
			if err != nil {
				return err
			}
			return conn.Close()
		},
	}
}

// testAPI asks the API with the certificate, and with all else that is stolen, in place of a token.
func testAPI(t *testing.T, th *thief) {
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: tlsOf(t, th.credentials)}, Timeout: 10 * time.Second}
	defer client.CloseIdleConnections()
	project, err := th.client.ProjectID(t.Context())
	require.NoError(t, err)
	base := "https://" + th.api
	for _, token := range []string{"", th.principal, "root", string(th.credentials.Cert[30:80])} {
		for _, path := range []string{
			"/instances", "/instances/" + th.guests[0], "/instances/" + th.guests[0] + "/ssl", "/instances/" + th.guests[1] + "/users", "/mgmt/hosts", "/flavors",
		} {
			for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodDelete} {
				r, err := http.NewRequestWithContext(t.Context(), method, base+"/v1.0/"+project+path, nil)
				require.NoError(t, err)
				if token != "" {
					r.Header.Set("X-Auth-Token", strings.ReplaceAll(token, "\n", ""))
				}
				a, err := client.Do(r)
				require.NoError(t, err)
				_ = a.Body.Close()
				require.Equal(t, http.StatusUnauthorized, a.StatusCode, "%s %s with %q", method, path, token)
			}
		}
	}
	_, err = th.client.Instances(t.Context())
	require.NoError(t, err, "with a token")
}

// testAnswers has a thief disturb a call to another guest with all that it learned from calls to itself: the caller hears the other guest only.
func testAnswers(t *testing.T, s *site) {
	control := s.root().Bus
	th, victim := s.guestThief(0), s.guests[1]
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	if s.rabbit != nil {
		th.answerInAnothersName(ctx, t, control)
	}
	for range 20 {
		answer, err := control.Call(soon(t), protocol.GuestQueue(victim), bus.Message{Kind: "test"})
		require.NoError(t, err)
		var said string
		require.NoError(t, json.Unmarshal(answer, &said))
		require.Equal(t, victim, said)
	}
}

// answerInAnothersName sends forged replies to whoever calls guests, until ctx ends.
func (th *thief) answerInAnothersName(ctx context.Context, t *testing.T, control bus.Bus) {
	t.Helper()
	conn, err := th.dialRabbit("huker", tlsOf(t, th.credentials))
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	ch, err := conn.Channel()
	require.NoError(t, err)
	arriving, err := ch.Consume(th.queue, "", true, false, false, false, nil)
	require.NoError(t, err)
	// Of the calls some come to the thief, and some to the guest whose credential it is.
	var learned amqp.Delivery
	for learned.ReplyTo == "" {
		calling, stop := context.WithTimeout(t.Context(), 2*time.Second)
		_, err := control.Call(calling, th.queue, bus.Message{Kind: "test"})
		stop()
		select {
		case learned = <-arriving:
		default:
			require.NoError(t, err)
		}
	}
	require.NoError(t, ch.Cancel("", false))
	sent := make(chan struct{})
	go func() {
		for n := 0; ctx.Err() == nil; n++ {
			for _, id := range []string{learned.CorrelationId, learned.MessageId, "", learned.ReplyTo} {
				forged := amqp.Publishing{CorrelationId: id, Body: []byte(`"forged"`), Headers: amqp.Table{"CC": []any{learned.ReplyTo}}}
				if err := ch.PublishWithContext(ctx, replies, learned.ReplyTo, false, false, forged); err != nil {
					if ctx.Err() == nil && !errors.Is(err, amqp.ErrClosed) {
						t.Error(err)
					}
					return
				}
			}
			if n == 10 {
				close(sent)
			}
		}
	}()
	<-sent
}

// TestMetadata: the certificates of guests and hosts open nothing where the metadata is.
func TestMetadata(t *testing.T) {
	if testing.Short() {
		t.Skip("not in a short run")
	}
	s := onEtcd(t)
	server := mysqltest.Start(t)
	login := server.Database(t)
	address := server.TCP(t)
	enter := func(user, password string, cfg *tls.Config) error {
		c := mysql.NewConfig()
		c.Net, c.Addr, c.User, c.Passwd, c.DBName, c.Timeout = "tcp", address, user, password, login.Database, 5*time.Second
		c.TLS, c.Logger = cfg, &mysql.NopLogger{}
		connector, err := mysql.NewConnector(c)
		require.NoError(t, err)
		conn, err := connector.Connect(soon(t))
		if err == nil {
			_ = conn.Close()
		}
		return err
	}
	require.NoError(t, enter(login.User, login.Password, server.TLS()), "the control plane's account gets in")
	for _, th := range []*thief{s.guestThief(0), s.hostThief(0)} {
		shown := server.TLS()
		shown.Certificates = tlsOf(t, th.credentials).Certificates
		for _, user := range []string{login.User, th.principal, "huker", "mysql.sys", ""} {
			for _, password := range []string{"", "guest", th.principal} {
				require.Error(t, enter(user, password, shown), "%s %q with the certificate", user, password)
				var refused *mysql.MySQLError
				require.ErrorAs(t, enter(user, password, server.TLS()), &refused, "%s %q without it", user, password)
				require.Contains(t, []uint16{1045, 3118}, refused.Number, "%s %q: %v", user, password, refused)
			}
		}
	}
}
