package relational

import (
	"context"
	"fmt"
	"strings"

	"github.com/keywright/keywright/internal/store"
)

// loadMark is the row of meta that is there from the beginning of a load to its settlement. Whoever opens the store otherwise refuses it.
const loadMark = "loading"

// notOwn selects the rows of meta that say something of what a store holds, and not of the store itself.
const notOwn = " WHERE name NOT IN ('" + loadMark + "', 'touch')"

// DumpTables gives every row of the tables to the sink. The connection shows one state throughout, and streams.
func DumpTables(ctx context.Context, c Conn, tables []*store.Table, to store.Sink) error {
	for _, t := range tables {
		if err := to.Table(t); err != nil {
			return err
		}
		values := make([]any, len(t.Columns))
		query := "SELECT " + columnList(t) + " FROM " + quote(t.Name)
		if t.Name == "meta" {
			query += notOwn
		}
		err := c.Query(ctx, query, nil, func(r Row) error {
			if err := ctx.Err(); err != nil {
				return err
			}
			for i, v := range r {
				values[i] = v
			}
			return to.Row(values)
		})
		if err != nil {
			return fmt.Errorf("dumping the table %s: %w", t.Name, err)
		}
	}
	return nil
}

// quote makes an identifier of the schema one of SQL, whatever words the language has.
func quote(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

func columnList(t *store.Table) string {
	quoted := make([]string, len(t.Columns))
	for i, c := range t.Columns {
		quoted[i] = quote(c)
	}
	return strings.Join(quoted, ", ")
}

// Loading reports whether a load began and was not settled.
func Loading(ctx context.Context, c Conn) (found bool, err error) {
	err = c.Query(ctx, "SELECT 1 FROM meta WHERE name = '"+loadMark+"'", nil, func(Row) error {
		found = true
		return nil
	})
	return found, err
}

// Empty reports whether the tables hold nothing that was written by anybody. What a load left is nobody's.
func Empty(ctx context.Context, c Conn, tables []*store.Table) (bool, error) {
	if found, err := Loading(ctx, c); err != nil || found {
		return found, err
	}
	empty := true
	for _, t := range tables {
		if t.Name == "meta" {
			continue
		}
		if err := c.Query(ctx, "SELECT 1 FROM "+quote(t.Name)+" LIMIT 1", nil, func(Row) error { empty = false; return nil }); err != nil {
			return false, err
		}
	}
	return empty, nil
}

// Settle ends a load that is whole.
func Settle(ctx context.Context, c Conn) error {
	_, err := c.Exec(ctx, "DELETE FROM meta WHERE name = '"+loadMark+"'", nil)
	return err
}
