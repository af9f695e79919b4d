package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/huker/huker/guest/admin"
	"github.com/huker/huker/internal/bus"
	"github.com/huker/huker/internal/model"
	"github.com/huker/huker/internal/protocol"
)

// serveLoop answers the guest's queue, for ever.
func (a *Agent) serveLoop(ctx context.Context) {
	var again retry
	for ctx.Err() == nil {
		begun := time.Now()
		err := a.cfg.Bus.Serve(ctx, protocol.GuestQueue(a.cfg.Guest.Instance), concurrency, a.handle)
		if err != nil && ctx.Err() == nil {
			a.log.Debug("the bus does not serve", "op", "serve", "err", err)
		}
		if time.Since(begun) > retryMost {
			again.reset()
		}
		again.wait(ctx)
	}
}

// call is one request on its way through the agent.
type call struct {
	*Agent
	body  []byte
	again bool // it may have been carried out before: the agent that had it died
}

// handle answers one message.
func (a *Agent) handle(ctx context.Context, m bus.Message) ([]byte, error) {
	h, ok := a.handlers[m.Kind]
	if !ok {
		return nil, fail(admin.ErrInvalid, "this guest does not know %q", m.Kind)
	}
	if !m.Deadline.IsZero() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, m.Deadline)
		defer cancel()
	}
	begun := time.Now()
	reply, err := h(ctx, call{Agent: a, body: m.Body, again: m.Delivery > 1})
	took := time.Since(begun).Round(time.Millisecond).String()
	if err != nil {
		err = coded(err)
		a.log.Warn("a call failed", "op", m.Kind, "delivery", m.Delivery, "took", took, "err", err)
		return nil, err
	}
	a.log.Debug("a call was carried out", "op", m.Kind, "delivery", m.Delivery, "took", took)
	if reply == nil {
		return nil, nil
	}
	b, err := json.Marshal(reply)
	if err != nil {
		return nil, fail(admin.ErrInternal, "write the answer: %v", err)
	}
	return b, nil
}

func fail(kind error, format string, args ...any) error {
	return &admin.Error{Kind: kind, Text: fmt.Sprintf(format, args...)}
}

// coded gives an error without a code the one for what nobody expected.
func coded(err error) error {
	var c bus.Coder
	switch {
	case errors.As(err, &c):
		return err
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return &admin.Error{Kind: admin.ErrNotReady, Text: err.Error(), Cause: err}
	}
	return &admin.Error{Kind: admin.ErrInternal, Text: err.Error(), Cause: err}
}

type handler = func(ctx context.Context, c call) (any, error)

// handlers are what a guest can be asked for, by kind.
func handlers() map[string]handler {
	return map[string]handler{
		protocol.KindGuestStatus: func(ctx context.Context, c call) (any, error) { return c.look(ctx, protocol.LookRequest{}) },
		protocol.KindLook:        with(call.look),
		protocol.KindRebuild:     with(call.orderRebuild),
		protocol.KindRestart:     with(call.restart),
		protocol.KindConfigure:   with(call.configure),
		protocol.KindPrepare: inside(func(ctx context.Context, s *admin.Server, _ bool, b model.Bootstrap) (any, error) {
			if err := s.CreateDatabases(ctx, b.Databases, true); err != nil {
				return nil, err
			}
			return nil, s.CreateUsers(ctx, b.Users, true)
		}),
		protocol.KindDatabaseList: inside(func(ctx context.Context, s *admin.Server, _ bool, r protocol.ListRequest) (any, error) {
			return s.Databases(ctx, r)
		}),
		protocol.KindDatabaseCreate: inside(func(ctx context.Context, s *admin.Server, again bool, d []model.Database) (any, error) {
			return nil, s.CreateDatabases(ctx, d, again)
		}),
		protocol.KindDatabaseDelete: inside(func(ctx context.Context, s *admin.Server, again bool, r protocol.NameRequest) (any, error) {
			return nil, gone(s.DeleteDatabase(ctx, r.Name), again)
		}),
		protocol.KindUserList: inside(func(ctx context.Context, s *admin.Server, _ bool, r protocol.ListRequest) (any, error) {
			return s.Users(ctx, r)
		}),
		protocol.KindUserCreate: inside(func(ctx context.Context, s *admin.Server, again bool, u []model.User) (any, error) {
			return nil, s.CreateUsers(ctx, u, again)
		}),
		protocol.KindUserShow: inside(func(ctx context.Context, s *admin.Server, _ bool, r protocol.UserRequest) (any, error) {
			return s.User(ctx, r)
		}),
		protocol.KindUserUpdate: inside(func(ctx context.Context, s *admin.Server, again bool, r protocol.UserUpdate) (any, error) {
			return nil, s.UpdateUser(ctx, r, again)
		}),
		protocol.KindUserDelete: inside(func(ctx context.Context, s *admin.Server, again bool, r protocol.UserRequest) (any, error) {
			return nil, gone(s.DeleteUser(ctx, r), again)
		}),
		protocol.KindGrant: inside(func(ctx context.Context, s *admin.Server, _ bool, r protocol.GrantRequest) (any, error) {
			return nil, s.Grant(ctx, r)
		}),
		protocol.KindRevoke: inside(func(ctx context.Context, s *admin.Server, again bool, r protocol.GrantRequest) (any, error) {
			return nil, s.Revoke(ctx, r, again)
		}),
		protocol.KindRootShow: inside(func(ctx context.Context, s *admin.Server, _ bool, _ nothing) (any, error) {
			return s.RootShow(ctx)
		}),
		protocol.KindRootEnable:  with(call.rootEnable),
		protocol.KindRootDisable: with(call.rootDisable),
		protocol.KindLogList: inside(func(ctx context.Context, s *admin.Server, _ bool, _ nothing) (any, error) {
			return s.LogList(ctx)
		}),
		protocol.KindLogSet: with(call.logSet),
		protocol.KindLogRead: with(func(c call, _ context.Context, r protocol.LogRead) (any, error) {
			return admin.New(nil, c.cfg.Logs).LogRead(r) // also, and above all, while the database does not serve
		}),
	}
}

type nothing struct{}

// with decodes a request's body.
func with[R any](f func(c call, ctx context.Context, r R) (any, error)) handler {
	return func(ctx context.Context, c call) (any, error) {
		var r R
		if len(c.body) > 0 {
			if err := json.Unmarshal(c.body, &r); err != nil {
				// Not the decoder's words: they may quote a password.
				return nil, fail(admin.ErrInvalid, "the request cannot be read")
			}
		}
		return f(c, ctx, r)
	}
}

// inside decodes a request's body and waits for the database to serve.
func inside[R any](f func(ctx context.Context, s *admin.Server, again bool, r R) (any, error)) handler {
	return with(func(c call, ctx context.Context, r R) (any, error) {
		return c.inside(ctx, func(s *admin.Server) (any, error) { return f(ctx, s, c.again, r) })
	})
}

// inside does f with the server while it serves, which it waits for a little.
func (a *Agent) inside(ctx context.Context, f func(s *admin.Server) (any, error)) (any, error) {
	patience := time.NewTimer(waitServing)
	defer patience.Stop()
	for {
		server, changed := a.status.serving()
		if server != nil {
			reply, err := f(server)
			if err != nil && errors.Is(err, admin.ErrInternal) {
				// What the end of mysqld, or of the agent's pool, does to a statement is not the statement's fault.
				if now, _ := a.status.serving(); now != server {
					return nil, &admin.Error{Kind: admin.ErrNotReady, Text: err.Error(), Cause: err}
				}
			}
			return reply, err
		}
		select {
		case <-ctx.Done():
			return nil, a.notReady()
		case <-patience.C:
			return nil, a.notReady()
		case <-changed:
		}
	}
}

func (a *Agent) notReady() error {
	now := a.status.get()
	if now.Fault != "" {
		return fail(admin.ErrNotReady, "the database does not serve now (%s): %s", now.Mysqld.State, now.Fault)
	}
	return fail(admin.ErrNotReady, "the database does not serve now (%s)", now.Mysqld.State)
}

// gone lets a deletion that may have been carried out before find nothing.
func gone(err error, again bool) error {
	if again && errors.Is(err, admin.ErrNotFound) {
		return nil
	}
	return err
}
