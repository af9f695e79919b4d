package sysmgr

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/huker/huker/internal/bus"
	"github.com/huker/huker/internal/coord"
	"github.com/huker/huker/internal/protocol"
)

// serveConcurrency bounds how many instances are worked on at once: the host's disk is the bottleneck.
const serveConcurrency = 8

// deniedPause is before a host that may not serve asks again.
const deniedPause = 2 * time.Second

// serve carries out nodekeeper's requests. A host that was not added yet, or whose rights were taken, goes on with its databases and waits.
func (h *Host) serve(ctx context.Context) error {
	for {
		err := h.bus.Serve(ctx, protocol.HostQueue(h.cfg.Host), serveConcurrency, h.handle)
		if !errors.Is(err, bus.ErrDenied) || ctx.Err() != nil {
			return err
		}
		h.log.Warn("this host may not serve; was it added (huker host add)?", "op", "serve", "error", err)
		wait(ctx, deniedPause)
	}
}

func (h *Host) handle(ctx context.Context, m bus.Message) ([]byte, error) {
	switch m.Kind {
	case protocol.KindEnsure:
		return answer(ctx, m, func(ctx context.Context, r protocol.EnsureRequest) (protocol.EnsureReply, error) {
			if err := h.heed(r.Term); err != nil {
				return protocol.EnsureReply{}, err
			}
			return h.ensure(ctx, r)
		})
	case protocol.KindRemove:
		return answer(ctx, m, func(ctx context.Context, r protocol.RemoveRequest) (struct{}, error) {
			if err := h.heed(r.Term); err != nil {
				return struct{}{}, err
			}
			return struct{}{}, h.remove(ctx, r)
		})
	case protocol.KindHost:
		return answer(ctx, m, func(ctx context.Context, r protocol.HostRequest) (struct{}, error) {
			return struct{}{}, h.configure(ctx, r)
		})
	case protocol.KindPrograms:
		return answer(ctx, m, func(_ context.Context, r protocol.ProgramsRequest) (struct{}, error) { return struct{}{}, h.equip(r) })
	case protocol.KindFence:
		return answer(ctx, m, func(ctx context.Context, r protocol.FenceRequest) (struct{}, error) {
			if err := h.heed(r.Term); err != nil {
				return struct{}{}, err
			}
			return struct{}{}, h.fence(ctx, r)
		})
	case protocol.KindInventory:
		return answer(ctx, m, func(ctx context.Context, _ struct{}) (protocol.Inventory, error) { return h.inventory(ctx) })
	}
	return nil, fmt.Errorf("%w: unknown kind %q", bus.ErrRejected, m.Kind)
}

func answer[Q, A any](ctx context.Context, m bus.Message, do func(context.Context, Q) (A, error)) ([]byte, error) {
	var q Q
	if len(m.Body) > 0 {
		if err := json.Unmarshal(m.Body, &q); err != nil {
			return nil, coded(protocol.CodeInvalid, "reading a %s: %w", m.Kind, err)
		}
	}
	a, err := do(ctx, q)
	if err != nil {
		return nil, err
	}
	return json.Marshal(a)
}

// announce keeps the host's key alive in coordination, with a new session whenever one is lost.
func (h *Host) announce(ctx context.Context) error {
	for ctx.Err() == nil {
		if err := h.session(ctx); err != nil && ctx.Err() == nil {
			h.log.Warn("announcing the host; trying again", "op", "announce", "error", err)
			wait(ctx, time.Second)
		}
	}
	return nil
}

// session holds one session until it or ctx ends.
func (h *Host) session(ctx context.Context) error {
	s, err := h.store.NewSession(ctx, h.cfg.SessionTTL)
	if err != nil {
		return err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
		defer cancel()
		_ = s.Close(ctx)
	}()
	tick := time.NewTicker(h.cfg.Resync)
	defer tick.Stop()
	last := ""
	for {
		data, err := json.Marshal(h.hostStatus(ctx))
		if err != nil {
			return fmt.Errorf("encoding the host's status: %w", err)
		}
		if string(data) != last {
			if err := h.store.Apply(ctx, coord.Put(protocol.HostAliveKey(h.cfg.Host), data, s)); err != nil {
				return err
			}
			last = string(data)
		}
		select {
		case <-s.Done():
			return coord.ErrSessionLost
		case <-h.changed:
		case <-tick.C: // images come and go
		case <-ctx.Done():
			return nil
		}
	}
}

// wait pauses for d or until ctx ends.
func wait(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
