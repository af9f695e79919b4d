package keeper

import (
	"context"
	"errors"
	"fmt"

	"github.com/huker/huker/internal/bus"
	"github.com/huker/huker/internal/metastore"
	"github.com/huker/huker/internal/protocol"
)

// role under which nodekeepers' terms are numbered.
const role = "nodekeeper"

// begin takes a new term: from its commit on nothing that a former leader writes or asks of a host counts, however late it wakes up from a
// pause in which it believed to lead. Being elected says who should act; the term makes sure that nobody else does.
func (k *Keeper) begin(ctx context.Context) error {
	err := k.e.Store.Update(ctx, func(tx metastore.Tx) (err error) {
		k.term, err = tx.Terms().Begin(ctx, role)
		return err
	})
	if err != nil {
		return fmt.Errorf("beginning a term: %w", err)
	}
	return nil
}

// update changes metadata, in this term only.
func (k *Keeper) update(ctx context.Context, fn func(metastore.Tx) error) error {
	return k.e.Store.Update(ctx, func(tx metastore.Tx) error {
		if err := tx.Terms().Check(ctx, role, k.term); err != nil {
			return err
		}
		return fn(tx)
	})
}

// over says whether an error means that this term is over.
func over(err error) bool {
	var called *bus.CallError
	return errors.Is(err, metastore.ErrTermOver) || errors.As(err, &called) && called.Code == protocol.CodeTermOver
}
