package relational

import (
	"context"
	"database/sql/driver"
	"errors"
	"time"
)

// ErrTaken is wrapped by a Conn's errors when a statement met a key that is taken. It changed nothing, and the transaction goes on.
var ErrTaken = errors.New("a key is taken")

// Conn is what a transaction runs its statements on. An error of the kind fault.Unavailable ends the transaction: nothing is run after it. Queries of this
// package are constants or put together from few of them, so an engine can keep them prepared.
type Conn interface {
	// Query calls each for every row, until it returns an error, which Query then returns. each runs no other statement. A context that ends may end a
	// query of a View; those of updates have one that never does.
	Query(ctx context.Context, query string, args []any, each func(Row) error) error
	// Exec runs a statement and returns the number of rows that it changed.
	Exec(ctx context.Context, query string, args []any) (int64, error)
	// Expect runs a statement that changes at least so many rows if all goes well. An engine may answer before it has run it, with that number; then, when less
	// were changed or a key was taken, it takes the update back and runs its closure again, with true answers.
	Expect(ctx context.Context, least int64, query string, args []any) (int64, error)
}

// Row is one row of a result, good until the next one. NULL reads as the zero value.
type Row []driver.Value

// IsNull reports whether a column is NULL.
func (r Row) IsNull(i int) bool { return r[i] == nil }

// Text returns a column of the type TEXT.
func (r Row) Text(i int) string { s, _ := r[i].(string); return s }

// Blob returns a column of the type BLOB; it is good beyond the next row.
func (r Row) Blob(i int) []byte { b, _ := r[i].([]byte); return b }

// Integer returns a column of the type INTEGER.
func (r Row) Integer(i int) int64 { n, _ := r[i].(int64); return n }

// Bool returns a column that holds 0 or 1.
func (r Row) Bool(i int) bool { return r.Integer(i) != 0 }

// Instant is the inverse of micros.
func (r Row) Instant(i int) time.Time {
	if r.IsNull(i) {
		return time.Time{}
	}
	return time.UnixMicro(r.Integer(i)).UTC()
}
