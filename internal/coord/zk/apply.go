package zk

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"time"

	gozk "github.com/go-zookeeper/zk"

	"github.com/huker/huker/internal/coord"
)

// Apply implements coord.Store: the keys are read, and the change is made on condition that they are still as they were read. When
// they are not, it is planned again.
func (s *Store) Apply(ctx context.Context, ops ...coord.Op) error {
	if err := coord.CheckOps(ops); err != nil {
		return err
	}
	what := "apply to " + ops[0].Key
	sess, err := s.sessionOf(ops)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	ctx, cancel := s.bound(ctx)
	defer cancel()
	for attempt := 0; ; attempt++ {
		p, err := read(ctx, s, what, func(ctx context.Context, l *link) (*plan, error) {
			return s.plan(ctx, l, ops, sess, attempt > 0)
		})
		if errors.Is(err, coord.ErrDenied) && attempt == 0 {
			continue // the server may not have heard yet that it is allowed
		}
		if err != nil {
			return err
		}
		switch {
		case p.again:
			err = gozk.ErrNoNode // directories were made: look again
		case !p.refused():
			err = s.commit(ctx, p, sess)
		case attempt > 0:
			return fmt.Errorf("%s: %w: %w", what, coord.ErrConflict, p.conflict)
		default:
			err = p.conflict // the server may not have heard yet of what makes it right
		}
		if err == nil {
			return nil
		}
		if !overtaken(err) && !errors.Is(err, p.conflict) {
			return mapError(what, err)
		}
		if attempt > 2 && !pause(ctx, time.Duration(mathrand.Int64N(int64(10*time.Millisecond)))) { //nolint:gosec // spreads rivals
			return mapError(what, fmt.Errorf("%w: %w", ended(ctx), err))
		}
	}
}

// commit makes the change, on the session's connection if it makes ephemeral keys. Whether it was made is not known when no answer
// comes; it is never sent twice.
func (s *Store) commit(ctx context.Context, p *plan, sess *Session) error {
	multi := func(conn *gozk.Conn) (any, error) {
		_, err := conn.Multi(p.requests()...)
		return nil, err
	}
	if sess != nil {
		return sess.commit(ctx, p, multi)
	}
	l, err := s.link(ctx)
	if err != nil {
		return err
	}
	_, err = call(ctx, l.conn, multi)
	return err
}

// plan is a change in ZooKeeper's terms.
type plan struct {
	// Conditions come first: what they find must be what was there before the change.
	conditions, changes []any
	ephemeral           []string // the nodes that it makes for the session
	conflict            error    // why it cannot be made
	again               bool     // the keys must be read again
}

func (p *plan) refused() bool { return p.conflict != nil }

func (p *plan) requests() []any { return append(p.conditions, p.changes...) }

func (p *plan) on(conditions ...any) { p.conditions = append(p.conditions, conditions...) }

func (p *plan) do(changes ...any) { p.changes = append(p.changes, changes...) }

// plan reads the keys (with fresh: no older than now) and makes directories that lack.
func (s *Store) plan(ctx context.Context, l *link, ops []coord.Op, sess *Session, fresh bool) (*plan, error) {
	if fresh {
		if _, err := call(ctx, l.conn, func(conn *gozk.Conn) (any, error) { return nil, s.sync(conn) }); err != nil {
			return nil, err
		}
	}
	states := make([]*state, len(ops))
	err := parallel(ctx, len(ops), func(ctx context.Context, i int) (err error) {
		states[i], err = call(ctx, l.conn, func(conn *gozk.Conn) (*state, error) {
			st, err := s.look(conn, ops[i].Key)
			if err == nil && fresh && st.present {
				err = checkMarker(conn, st)
			}
			return st, err
		})
		return err
	})
	if err != nil {
		return nil, err
	}
	p := &plan{}
	for i, op := range ops {
		p.conflict = cmp.Or(p.conflict, refuse(op, states[i]))
	}
	if p.refused() {
		return p, s.mayChange(ctx, l, ops, states)
	}
	steps := make([]plan, len(ops))
	if err := parallel(ctx, len(ops), func(ctx context.Context, i int) error {
		return s.step(ctx, l, &steps[i], ops[i], states[i], sess)
	}); err != nil {
		return nil, err
	}
	for _, step := range steps {
		p.on(step.conditions...)
		p.do(step.changes...)
		p.ephemeral = append(p.ephemeral, step.ephemeral...)
		p.again = p.again || step.again
	}
	return p, nil
}

// mayChange denies a change whose conditions do not hold to whoever may not make it in any case: to others it is a conflict. The servers would not be asked.
func (s *Store) mayChange(ctx context.Context, l *link, ops []coord.Op, states []*state) error {
	if s.who.mighty() {
		return nil
	}
	return parallel(ctx, len(ops), func(ctx context.Context, i int) error {
		if ops[i].Kind == coord.OpCheck {
			return nil
		}
		dir := states[i].near
		if states[i].present {
			dir = states[i].dir
		}
		acl, err := call(ctx, l.conn, func(conn *gozk.Conn) ([]gozk.ACL, error) {
			acl, _, err := conn.GetACL(dir)
			return acl, err
		})
		if err != nil {
			return gone(err)
		}
		if !allows(acl, grant(s.who.name, gozk.PermCreate)) {
			return gozk.ErrNoAuth
		}
		return nil
	})
}

// checkMarker forgets a nonce whose marker is gone, so that a key which a principal maimed can still be changed.
func checkMarker(conn *gozk.Conn, st *state) error {
	if st.nonce == "" {
		return nil
	}
	there, _, err := conn.Exists(markerPath(st.dir, st.nonce))
	if err != nil || there {
		return err
	}
	_, stat, err := conn.Get(valuePath(st.dir))
	if errors.Is(err, gozk.ErrNoNode) {
		return nil
	}
	if err == nil && stat.Mzxid == st.stat.Mzxid {
		st.nonce = ""
	}
	return err
}

// Reasons for which a change is refused.
var (
	errThere = errors.New("the key exists")
	errGone  = errors.New("the key is absent")
	errOther = errors.New("the key is at another revision")
)

// refuse tells why an operation's condition does not hold.
func refuse(op coord.Op, st *state) error {
	switch {
	case op.Kind == coord.OpPut, op.Kind == coord.OpDelete && op.Revision == 0:
		return nil
	case op.Kind == coord.OpCreate, op.Kind == coord.OpCheck && op.Revision == 0:
		if st.present {
			return errThere
		}
	case !st.present:
		return errGone
	case coord.Revision(st.stat.Mzxid) != op.Revision:
		return errOther
	}
	return nil
}

// step plans one operation.
func (s *Store) step(ctx context.Context, l *link, p *plan, op coord.Op, st *state, sess *Session) error {
	value := valuePath(st.dir)
	switch op.Kind {
	case coord.OpCreate:
		return s.create(ctx, l, p, op, st)
	case coord.OpPut:
		if !st.present {
			return s.create(ctx, l, p, op, st)
		}
		var owner int64
		if op.Session != nil {
			owner = sess.owner
		}
		if st.stat.EphemeralOwner != owner { // which is for life
			p.do(remove(st, -1)...)
			return s.create(ctx, l, p, op, st)
		}
		p.on(same(st)...)
		p.do(&gozk.SetDataRequest{Path: value, Data: encodeValue(st.nonce, op.Value), Version: -1})
	case coord.OpUpdate:
		p.on(same(st)...)
		p.do(&gozk.SetDataRequest{Path: value, Data: encodeValue(st.nonce, op.Value), Version: st.stat.Version})
	case coord.OpDelete:
		switch {
		case !st.present:
			p.on(s.absent(st)...)
		case op.Revision == 0:
			p.do(remove(st, -1)...)
		default:
			p.do(remove(st, st.stat.Version)...)
		}
	case coord.OpCheck:
		if op.Revision == 0 {
			p.on(s.absent(st)...)
			return nil
		}
		p.on(same(st)...)
		p.on(&gozk.CheckVersionRequest{Path: value, Version: st.stat.Version})
	}
	return nil
}

// same holds while the key was not made anew.
func same(st *state) []any {
	if st.nonce == "" {
		return nil
	}
	return []any{&gozk.CheckVersionRequest{Path: markerPath(st.dir, st.nonce), Version: -1}}
}

// remove deletes the key; it fails when that was made anew.
func remove(st *state, version int32) []any {
	requests := []any{&gozk.DeleteRequest{Path: valuePath(st.dir), Version: version}}
	if st.nonce != "" {
		requests = append(requests, &gozk.DeleteRequest{Path: markerPath(st.dir, st.nonce), Version: -1})
	}
	return requests
}

// absent holds while the key's node, or the topmost directory that lacks for it, is not there. ZooKeeper can only say so by making
// it.
func (s *Store) absent(st *state) []any {
	path := valuePath(st.dir)
	if len(st.missing) > 0 {
		path = st.missing[0]
	}
	if st.near == "" {
		return nil // the whole tree is not there
	}
	return []any{
		&gozk.CreateRequest{Path: path, Acl: s.who.base(), Flags: gozk.FlagPersistent},
		&gozk.DeleteRequest{Path: path, Version: -1},
	}
}

// create makes the key with the rights of its directory, on condition that those have not changed.
func (s *Store) create(ctx context.Context, l *link, p *plan, op coord.Op, st *state) error {
	if len(st.missing) > 0 {
		p.again = true
		return s.makeDirs(ctx, l, st)
	}
	dir, err := call(ctx, l.conn, func(conn *gozk.Conn) (rights, error) { return readRights(conn, st.dir) })
	if err != nil {
		if errors.Is(err, gozk.ErrNoNode) {
			p.again = true
			return nil
		}
		return err
	}
	var raw [nonceSize]byte
	if _, err := rand.Read(raw[:]); err != nil {
		return fmt.Errorf("making a nonce: %w", err)
	}
	nonce := hex.EncodeToString(raw[:])
	flags := int32(gozk.FlagPersistent)
	if op.Session != nil {
		flags = gozk.FlagEphemeral
		p.ephemeral = append(p.ephemeral, valuePath(st.dir))
	}
	p.on(&gozk.CheckVersionRequest{Path: st.dir, Version: dir.version})
	p.do(
		&gozk.CreateRequest{Path: valuePath(st.dir), Data: encodeValue(nonce, op.Value), Acl: rightsOn(dir.acl, valueRights), Flags: flags},
		&gozk.CreateRequest{Path: markerPath(st.dir, nonce), Acl: rightsOn(dir.acl, markerRights), Flags: flags},
	)
	return nil
}
