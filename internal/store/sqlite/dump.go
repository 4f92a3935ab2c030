package sqlite

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/store"
)

var (
	_ store.Dumper = (*Store)(nil)
	_ store.Loader = (*Store)(nil)
)

// loadMark is the row of meta that is there from the beginning of a load to its settlement. Whoever opens the store otherwise refuses it.
const loadMark = "loading"

// ownRows are the rows of meta that a load leaves as they are: they say something of this store and not of what it holds.
var ownRows = []string{loadMark, "touch"}

// Dump implements store.Dumper. It has a connection of its own, so that it takes none from readers. The log grows by what others write until it ends.
func (s *Store) Dump(ctx context.Context, to store.Sink) (err error) {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	c, err := newConn(s.path(), readerCacheKiB, "busy_timeout=1000", "query_only=ON")
	if err != nil {
		return unavailable(err)
	}
	defer func() { err = errors.Join(err, c.close()) }()
	if _, err := c.exec("BEGIN"); err != nil {
		return unavailable(err)
	}
	tables, err := tablesOf(c)
	if err != nil {
		return err
	}
	for _, t := range tables {
		if err := to.Table(t); err != nil {
			return err
		}
		values := make([]any, len(t.Columns))
		err := c.query(selectAll(t), nil, func(r row) error {
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

// tablesOf lists the tables of the schema, in the order of their names.
func tablesOf(c *conn) (list []*store.Table, err error) {
	err = c.query(`SELECT t.name, c.name FROM sqlite_schema t, pragma_table_info(t.name) c WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite\_%' ESCAPE '\'
		ORDER BY t.name, c.name`, nil, func(r row) error {
		if n := len(list); n == 0 || list[n-1].Name != r.text(0) {
			list = append(list, &store.Table{Name: r.text(0)})
		}
		last := list[len(list)-1]
		last.Columns = append(last.Columns, r.text(1))
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading the schema: %w", err)
	}
	return list, nil
}

func selectAll(t *store.Table) string {
	query := "SELECT " + columnList(t) + " FROM " + quote(t.Name)
	if t.Name == "meta" {
		query += " WHERE name NOT IN ('" + strings.Join(ownRows, "', '") + "')"
	}
	return query
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

// marked reports whether a load began and was not settled.
func marked(c *conn) (found bool, err error) {
	err = c.query("SELECT 1 FROM meta WHERE name = '"+loadMark+"'", nil, func(row) error {
		found = true
		return nil
	})
	return found, err
}

// checkWhole refuses a store in which a load did not end, unless it is opened for a load.
func (s *Store) checkWhole() error {
	found, err := marked(s.writer)
	if err != nil || !found || s.loading {
		return err
	}
	return fault.New(fault.Unavailable, "a restore into this store did not end: run it again; nothing else may use the store until then")
}

// Empty implements store.Loader.
func (s *Store) Empty(context.Context) (empty bool, err error) {
	if err := s.enter(); err != nil {
		return false, err
	}
	defer s.leave()
	err = s.alone(func(c *conn) error {
		if empty, err = marked(c); err != nil || empty {
			return err // what a load left is nobody's
		}
		tables, err := tablesOf(c)
		if err != nil {
			return err
		}
		empty = true
		for _, t := range tables {
			if t.Name == "meta" {
				continue
			}
			if err := c.query("SELECT 1 FROM "+quote(t.Name)+" LIMIT 1", nil, func(row) error { empty = false; return nil }); err != nil {
				return err
			}
		}
		return nil
	})
	return empty, err
}

// alone lends the writer's connection, between two groups.
func (s *Store) alone(fn func(c *conn) error) error {
	<-s.turn
	defer s.passTurn()
	return fn(s.writer)
}

// loadAtOnce is how many bytes, about, a load commits at once.
const loadAtOnce = 4 << 20

// Load implements store.Loader.
func (s *Store) Load(ctx context.Context, from store.Source, more []store.Tombstone) (done store.Loaded, err error) {
	if err := s.enter(); err != nil {
		return done, err
	}
	defer s.leave()
	if !s.loading {
		return done, fault.New(fault.Internal, "the store was not opened for a load")
	}
	err = s.alone(func(c *conn) error {
		l := &load{store: s, conn: c, ctx: ctx, done: &done}
		return l.run(from, more)
	})
	return done, err
}

// load is a load under way. It implements store.Sink.
type load struct {
	store *Store
	conn  *conn
	ctx   context.Context
	done  *store.Loaded

	tables  []*store.Table
	current *store.Table
	insert  string
	// open says that a transaction is, pending how much it has written.
	open    bool
	pending int
	changes int64
}

func (l *load) run(from store.Source, more []store.Tombstone) (err error) {
	if l.tables, err = tablesOf(l.conn); err != nil {
		return err
	}
	defer func() {
		if l.open {
			l.store.rollback()
		}
	}()
	if err := l.clear(); err != nil {
		return err
	}
	if err := from.Each(l.ctx, l); err != nil {
		return err
	}
	if err := l.bury(more); err != nil {
		return err
	}
	if err := l.fence(); err != nil {
		return err
	}
	if err := l.commit(); err != nil {
		return err
	}
	l.store.last, err = lastPosition(l.conn)
	return err
}

// clear marks the store and empties it.
func (l *load) clear() error {
	if err := l.exec("INSERT INTO meta (name, value) VALUES ('" + loadMark + "', 1) ON CONFLICT (name) DO NOTHING"); err != nil {
		return err
	}
	if err := l.commit(); err != nil {
		return err
	}
	for _, t := range l.tables {
		var query string
		switch t.Name {
		case "tombstones":
			continue // what was purged here stays so
		case "meta":
			query = "UPDATE meta SET value = 0 WHERE name NOT IN ('" + strings.Join(ownRows, "', '") + "')"
		default:
			query = "DELETE FROM " + quote(t.Name)
		}
		if err := l.exec(query); err != nil {
			return err
		}
		if err := l.commit(); err != nil {
			return err
		}
	}
	return nil
}

// exec runs a statement in the transaction, which it begins when there is none.
func (l *load) exec(query string, args ...any) error {
	_, err := l.change(query, args...)
	return err
}

func (l *load) change(query string, args ...any) (int64, error) {
	if !l.open {
		if _, err := l.conn.exec("BEGIN IMMEDIATE"); err != nil {
			return 0, unavailable(err)
		}
		l.open = true
	}
	n, err := l.conn.exec(query, args...)
	if endsTransaction(err) {
		return n, unavailable(err)
	}
	l.changes += n
	return n, err
}

func (l *load) commit() error {
	if !l.open {
		return nil
	}
	if err := l.store.commitDurably(); err != nil {
		return unavailable(err)
	}
	l.open, l.pending = false, 0
	l.store.wrote(l.changes)
	l.changes = 0
	return nil
}

// Table implements store.Sink.
func (l *load) Table(t *store.Table) error {
	i := slices.IndexFunc(l.tables, func(own *store.Table) bool { return own.Name == t.Name })
	if i < 0 {
		return newer("table", t.Name)
	}
	for _, c := range t.Columns {
		if !slices.Contains(l.tables[i].Columns, c) {
			return newer("column", t.Name+"."+c)
		}
	}
	l.current = t
	l.insert = "INSERT INTO " + quote(t.Name) + " (" + columnList(t) + ") VALUES (" + strings.Repeat("?, ", len(t.Columns)-1) + "?)"
	switch t.Name {
	case "meta":
		l.insert += " ON CONFLICT (name) DO UPDATE SET value = excluded.value"
	case "tombstones":
		l.insert += " ON CONFLICT (object) DO NOTHING"
	}
	l.done.Tables++
	return nil
}

func newer(what, name string) error {
	return fault.New(fault.Invalid, "the backup holds the %s %s, which this release does not know: use the release that made it, or a newer one", what, fault.Clip(name))
}

// Row implements store.Sink.
func (l *load) Row(values []any) error {
	if err := l.exec(l.insert, values...); err != nil {
		return fmt.Errorf("loading a row of the table %s: %w", l.current.Name, err)
	}
	l.done.Rows++
	for _, v := range values {
		l.pending += sizeOf(v)
	}
	if l.pending < loadAtOnce {
		return nil
	}
	return l.commit()
}

// sizeOf is about how many bytes a value takes.
func sizeOf(v any) int {
	switch v := v.(type) {
	case string:
		return 8 + len(v)
	case []byte:
		return 8 + len(v)
	}
	return 8
}

// bury takes out what the tombstones name, with what cannot be without it.
func (l *load) bury(more []store.Tombstone) error {
	for _, t := range more {
		err := l.exec("INSERT INTO tombstones (object, vault, at) VALUES (?, ?, ?) ON CONFLICT (object) DO NOTHING", string(t.Object), string(t.Vault), micros(t.At))
		if err != nil {
			return err
		}
	}
	for _, s := range []struct {
		query string
		count *int64
	}{
		{"DELETE FROM versions WHERE object IN (SELECT object FROM tombstones)", nil},
		{"DELETE FROM rotation_policies WHERE object IN (SELECT object FROM tombstones)", nil},
		{"DELETE FROM objects WHERE id IN (SELECT object FROM tombstones)", &l.done.Buried},
		// The tombstone of a vault is its own: what was left of it when it was purged is gone with it, its keys first of all.
		{"DELETE FROM wrapped_keys WHERE purpose = 'vault' AND owner IN (SELECT object FROM tombstones WHERE object = vault)", nil},
		{"DELETE FROM versions WHERE object IN (SELECT id FROM objects WHERE vault IN (SELECT object FROM tombstones WHERE object = vault))", nil},
		{"DELETE FROM rotation_policies WHERE vault IN (SELECT object FROM tombstones WHERE object = vault)", nil},
		{"DELETE FROM objects WHERE vault IN (SELECT object FROM tombstones WHERE object = vault)", &l.done.Buried},
		{"DELETE FROM enrolments WHERE vault IN (SELECT object FROM tombstones WHERE object = vault)", nil},
		{"DELETE FROM vaults WHERE id IN (SELECT object FROM tombstones WHERE object = vault)", &l.done.BuriedVaults},
	} {
		n, err := l.change(s.query)
		if err != nil {
			return err
		}
		if s.count != nil {
			*s.count += n
		}
	}
	return l.conn.query("SELECT count(*) FROM tombstones", nil, func(r row) error {
		l.done.Tombstones = r.integer(0)
		return nil
	})
}

// fence ends every lease and moves the fences.
func (l *load) fence() error {
	return l.exec("UPDATE leases SET fence = fence + ?, until = 0, granted = 0", int64(store.FenceLeap))
}

// Settle implements store.Loader.
func (s *Store) Settle(context.Context) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	return s.alone(func(c *conn) error {
		if err := s.begin(); err != nil {
			return unavailable(err)
		}
		_, err := c.exec("DELETE FROM meta WHERE name = '" + loadMark + "'")
		if err == nil {
			err = s.commitDurably()
		}
		if err != nil {
			s.rollback()
			return unavailable(err)
		}
		s.loading = false
		return nil
	})
}
