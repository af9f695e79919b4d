package sqlstore

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/huker/huker/internal/metastore"
	"github.com/huker/huker/internal/model"
)

// tx is one attempt of a transaction.
type tx struct {
	sql      *sql.Tx
	dialect  *Dialect
	readOnly bool
	wrote    bool     // a statement that writes was sent
	broken   error    // set by the first statement that failed because the transaction was lost, to another one or with its server
	undo     []func() // puts back what the attempt changed in the caller's values
}

var _ metastore.Tx = (*tx)(nil)

func (t *tx) Instances() metastore.Instances { return instances{t} }
func (t *tx) Clusters() metastore.Clusters   { return clusters{t} }
func (t *tx) Events() metastore.Events       { return events{t} }
func (t *tx) Catalogue() metastore.Catalogue { return catalogue{t} }
func (t *tx) Quotas() metastore.Quotas       { return quotas{t} }
func (t *tx) Hosts() metastore.Hosts         { return hosts{t} }
func (t *tx) Terms() metastore.Terms         { return terms{t} }
func (t *tx) Identity() metastore.Identity   { return identity{t} }
func (t *tx) Secrets() metastore.Secrets     { return secrets{t} }

func (t *tx) undoAll() {
	for i := len(t.undo) - 1; i >= 0; i-- {
		t.undo[i]()
	}
}

// fail gives an engine's error its meaning.
func (t *tx) fail(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, sql.ErrNoRows):
		return metastore.ErrNotFound
	case t.dialect.IsRetry(err), t.dialect.IsGone(err):
		t.broken = err
		return err
	case t.dialect.IsUnique(err):
		return fmt.Errorf("%w (%w)", metastore.ErrExists, err)
	case t.dialect.IsForeign(err):
		return fmt.Errorf("what it refers to: %w (%w)", metastore.ErrNotFound, err)
	default:
		return err
	}
}

// exec runs a statement and returns how many rows it found.
func (t *tx) exec(ctx context.Context, query string, args ...any) (int64, error) {
	r, err := t.execResult(ctx, query, args...)
	if err != nil {
		return 0, err
	}
	n, err := r.RowsAffected()
	return n, t.fail(err)
}

func (t *tx) execResult(ctx context.Context, query string, args ...any) (sql.Result, error) {
	if t.readOnly {
		return nil, metastore.ErrReadOnly
	}
	if err := t.ready(args); err != nil {
		return nil, err
	}
	t.wrote = true
	r, err := t.sql.ExecContext(ctx, query, args...)
	return r, t.fail(err)
}

// ready refuses statements of a transaction that is broken, since a server that has rolled it back would take them for new
// transactions, each of its own. It puts arguments into the form in which every engine takes them.
func (t *tx) ready(args []any) error {
	if t.broken != nil {
		return t.broken
	}
	for i, a := range args {
		switch v := a.(type) {
		case string:
			args[i] = strings.ToValidUTF8(v, "\uFFFD")
		case sql.NullString:
			v.String = strings.ToValidUTF8(v.String, "\uFFFD")
			args[i] = v
		}
	}
	return nil
}

// put writes a row in any case. Both statements take the same arguments in the same order, the key last.
func (t *tx) put(ctx context.Context, update, insert string, args ...any) error {
	n, err := t.exec(ctx, update, args...)
	if err != nil || n > 0 {
		return err
	}
	_, err = t.exec(ctx, insert, args...)
	return err
}

// scanner is a row: *sql.Row or *sql.Rows.
type scanner interface{ Scan(dest ...any) error }

func one[T any](ctx context.Context, t *tx, scan func(scanner) (T, error), query string, args ...any) (T, error) {
	var zero T
	if err := t.ready(args); err != nil {
		return zero, err
	}
	v, err := scan(t.sql.QueryRowContext(ctx, query, args...))
	if err != nil {
		return zero, t.fail(err)
	}
	return v, nil
}

func all[T any](ctx context.Context, t *tx, scan func(scanner) (T, error), query string, args ...any) ([]T, error) {
	if err := t.ready(args); err != nil {
		return nil, err
	}
	rows, err := t.sql.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, t.fail(err)
	}
	defer func() { _ = rows.Close() }() // rows.Err tells
	vs := []T{}
	for rows.Next() {
		v, err := scan(rows)
		if err != nil {
			return nil, t.fail(err)
		}
		vs = append(vs, v)
	}
	return vs, t.fail(rows.Err())
}

// op adds what was being done to an error.
func op(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf(format+": %w", append(args, err)...)
}

// micros is how a time is kept: microseconds since 1970. The zero time comes back as the zero time.
func micros(t time.Time) int64 { return t.UnixMicro() }

// stamp reads a time.
type stamp struct{ to *time.Time }

func (s stamp) Scan(src any) error {
	n, ok := src.(int64)
	if !ok {
		return fmt.Errorf("a time is kept as a number, not %T", src)
	}
	*s.to = time.UnixMicro(n).UTC()
	return nil
}

// text reads a column in which NULL stands for the empty string, and orNull writes it.
type text struct{ to *string }

func (x text) Scan(src any) error {
	var n sql.NullString
	if err := n.Scan(src); err != nil {
		return err
	}
	*x.to = n.String
	return nil
}

// kept is a time as it comes back from a column; nested values have theirs as text, which would keep more.
func kept(t time.Time) time.Time { return time.UnixMicro(t.UnixMicro()).UTC() }

func orNull(s string) sql.NullString { return sql.NullString{String: s, Valid: s != ""} }

// doc reads a nested value that is kept as JSON; NULL leaves it alone.
type doc struct{ to any }

func (d doc) Scan(src any) error {
	var b []byte
	switch v := src.(type) {
	case nil:
		return nil
	case string:
		b = []byte(v)
	case []byte:
		b = v
	default:
		return fmt.Errorf("a nested value is kept as text, not %T", src)
	}
	return json.Unmarshal(b, d.to)
}

// The nested values that are kept as JSON.
type nested interface {
	[]string | map[string]string | *model.Bootstrap | []model.Alarm | *model.Switchover | *model.Fault | *model.Turn
}

func encode[T nested](v T) (string, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return "", fmt.Errorf("encode %T: %w", v, err)
	}
	return string(b), nil
}
