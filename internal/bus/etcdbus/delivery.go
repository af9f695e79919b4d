package etcdbus

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/huker/huker/internal/bus"
	"github.com/huker/huker/internal/coord"
)

// delivery takes one message from claim to end.
type delivery struct {
	*server
	id         string
	deliveries int   // so far, as the view knows
	countRev   int64 // of which revision

	token     string // tells this claim from all others
	envelope  envelope
	body      []byte
	malformed error
}

// errNotOurs means that another has the message, or nobody any more.
var errNotOurs = errors.New("the message is not this server's")

func (d *delivery) run(ctx context.Context) result {
	revision, err := d.claim(ctx)
	if err == nil {
		revision, err = d.settle(ctx)
	}
	if errors.Is(err, errNotOurs) {
		err = nil
	}
	return result{id: d.id, revision: revision, err: err}
}

func (d *delivery) key(kind string) string { return d.keys.key(kind, d.id) }

// claim takes the message for this server, and raises its count, before anyone acts on it.
func (d *delivery) claim(ctx context.Context) (int64, error) {
	d.token = rand.Text()
	raised, err := json.Marshal(count{Deliveries: d.deliveries + 1})
	if err != nil {
		return 0, fmt.Errorf("encode count: %w", err)
	}
	free := []clientv3.Cmp{
		clientv3.Compare(clientv3.CreateRevision(d.key(kindEntry)), ">", 0),
		clientv3.Compare(clientv3.CreateRevision(d.key(kindClaim)), "=", 0),
		clientv3.Compare(clientv3.ModRevision(d.key(kindCount)), "=", d.countRev),
	}
	then := []clientv3.Op{
		clientv3.OpPut(d.key(kindClaim), d.token, clientv3.WithLease(d.session.Lease())),
		clientv3.OpPut(d.key(kindCount), string(raised)),
		clientv3.OpGet(d.key(kindBody)),
	}
	// When the answer to an earlier attempt was lost, the claim may be ours already.
	otherwise := []clientv3.Op{clientv3.OpGet(d.key(kindClaim)), clientv3.OpGet(d.key(kindBody))}
	resp, err := d.commit(ctx, "claim", free, then, otherwise)
	if err != nil {
		return 0, err
	}
	if !resp.Succeeded {
		held := resp.Responses[0].GetResponseRange()
		if len(held.Kvs) == 0 || string(held.Kvs[0].Value) != d.token {
			return resp.Header.Revision, errNotOurs
		}
	}
	bodies := resp.Responses[len(resp.Responses)-1].GetResponseRange()
	var stored []byte
	if len(bodies.Kvs) > 0 {
		stored = bodies.Kvs[0].Value
	}
	if d.body, d.malformed = unseal(stored, &d.envelope); d.malformed != nil {
		d.body, d.envelope = stored, envelope{ID: d.id}
	}
	return resp.Header.Revision, nil
}

// commit repeats a transaction until its outcome is known, or ctx or the session ends. Repeating is harmless: all are
// conditional on the claim.
func (d *delivery) commit(ctx context.Context, what string, conditions []clientv3.Cmp, then, otherwise []clientv3.Op) (*clientv3.TxnResponse, error) {
	for {
		resp, err := d.bus.store.Commit(ctx, what, conditions, then, otherwise)
		if err == nil || !errors.Is(err, coord.ErrUnavailable) || !pause(ctx, 50*time.Millisecond) {
			return resp, err
		}
	}
}

// settle has the message handled, and records what came of it.
func (d *delivery) settle(ctx context.Context) (int64, error) {
	expired := !d.envelope.Deadline.IsZero() && !time.Now().Before(d.envelope.Deadline)
	switch {
	case d.malformed != nil:
		return d.bury(d.deliveries, d.malformed)
	case expired:
		return d.finish("drop")
	case d.deliveries >= bus.MaxDeliveries:
		// Each delivery ended without a word: the message kills its servers.
		return d.giveUp(d.deliveries, fmt.Errorf("given up after %d deliveries", d.deliveries))
	}
	body, err := d.handle(ctx)
	switch {
	case err != nil && ctx.Err() != nil:
		// Not the message's fault: this server stops.
		return d.release(d.deliveries, 0)
	case d.envelope.Call:
		return d.reply(body, err)
	case err == nil:
		return d.finish("acknowledge")
	case errors.Is(err, bus.ErrRejected) || d.deliveries+1 >= bus.MaxDeliveries:
		return d.giveUp(d.deliveries+1, err)
	default:
		d.bus.cfg.Logger.WarnContext(ctx, "message will be delivered again", "op", "bus.serve", "queue", d.queue,
			"kind", d.envelope.Kind, "message", d.envelope.ID, "delivery", d.deliveries+1, "error", err)
		return d.release(d.deliveries+1, d.bus.backoff(d.deliveries))
	}
}

// giveUp ends a message that could not be handled.
func (d *delivery) giveUp(deliveries int, why error) (int64, error) {
	if d.envelope.Call {
		return d.reply(nil, why)
	}
	return d.bury(deliveries, why)
}

// bury moves the message to the dead letters.
func (d *delivery) bury(deliveries int, why error) (int64, error) {
	d.bus.cfg.Logger.ErrorContext(d.settling, "message is given up", "op", "bus.serve", "queue", d.queue,
		"kind", d.envelope.Kind, "message", d.envelope.ID, "delivery", deliveries, "error", why)
	d.envelope.Delivery, d.envelope.Reason = deliveries, why.Error()
	stored, err := seal(d.envelope, d.body)
	if err != nil {
		return 0, err
	}
	return d.finish("bury", clientv3.OpPut(d.key(kindDead), stored))
}

// reply answers a call, and is done with it.
func (d *delivery) reply(body []byte, failure error) (int64, error) {
	if len(body) > bus.MaxBody {
		body, failure = nil, fmt.Errorf("reply: %w: %d bytes", bus.ErrTooLarge, len(body))
	}
	var a answer
	if failure != nil {
		body, a = nil, answer{Failed: true, Message: failure.Error()}
		var coder bus.Coder
		if errors.As(failure, &coder) {
			a.Code = coder.ErrorCode()
		}
	}
	stored, err := seal(a, body)
	if err != nil {
		return 0, err
	}
	for {
		var revision int64
		hang, err := d.bus.leases.covering(d.settling, replyLife)
		if err == nil {
			revision, err = d.finish("reply", clientv3.OpPut(d.key(kindReply), stored, clientv3.WithLease(hang)))
		}
		switch {
		case errors.Is(err, coord.ErrSessionLost):
			d.bus.leases.forget() // the lease, not the session: that one would have ended settling
		case !errors.Is(err, coord.ErrUnavailable): // nil as well
			return revision, err
		}
		if !pause(d.settling, 50*time.Millisecond) {
			return 0, err
		}
	}
}

// finish removes the message, and does what goes with it, if the claim still stands.
func (d *delivery) finish(what string, with ...clientv3.Op) (int64, error) {
	for _, kind := range []string{kindBody, kindClaim, kindCount, kindEntry} {
		with = append(with, clientv3.OpDelete(d.key(kind)))
	}
	return d.ifOurs(what, with)
}

// release gives the message back, to be delivered again after the pause.
func (d *delivery) release(deliveries int, after time.Duration) (int64, error) {
	stored, err := json.Marshal(count{Deliveries: deliveries, Pause: after})
	if err != nil {
		return 0, fmt.Errorf("encode count: %w", err)
	}
	return d.ifOurs("release", []clientv3.Op{
		clientv3.OpPut(d.key(kindCount), string(stored)),
		clientv3.OpDelete(d.key(kindClaim)),
	})
}

func (d *delivery) ifOurs(what string, then []clientv3.Op) (int64, error) {
	ours := []clientv3.Cmp{clientv3.Compare(clientv3.Value(d.key(kindClaim)), "=", d.token)}
	resp, err := d.commit(d.settling, what, ours, then, nil)
	if err != nil {
		return 0, err
	}
	if !resp.Succeeded {
		return resp.Header.Revision, errNotOurs // the session was lost, the queue was dropped, or an earlier attempt succeeded
	}
	return resp.Header.Revision, nil
}

// handle calls the handler. A panic is an error of the message: it must not take the process, and all it serves, with it.
func (d *delivery) handle(ctx context.Context) (body []byte, err error) {
	if d.envelope.Call && !d.envelope.Deadline.IsZero() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, d.envelope.Deadline)
		defer cancel()
	}
	defer func() {
		if p := recover(); p != nil {
			d.bus.cfg.Logger.ErrorContext(ctx, "handler panicked", "op", "bus.serve", "queue", d.queue, "kind", d.envelope.Kind,
				"message", d.envelope.ID, "panic", p, "stack", string(debug.Stack()))
			err = errors.New("the handler panicked")
		}
	}()
	return d.handler(ctx, d.envelope.message(d.body, d.deliveries+1))
}

// backoff is the pause after the delivery that follows n others.
func (b *Bus) backoff(n int) time.Duration {
	return min(b.cfg.RetryFirst<<min(n, 16), retryMax)
}
