package relational

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/store"
)

// loadAtOnce is how many bytes, about, a load commits at once.
const loadAtOnce = 4 << 20

// Load does what store.Loader promises, in transactions that commit runs one after the other. commit may run a function again.
func Load(ctx context.Context, tables []*store.Table, from store.Source, more []store.Tombstone, commit func(func(Conn) error) error) (store.Loaded, error) {
	l := &load{ctx: ctx, commit: commit, tables: tables}
	for _, step := range []func() error{l.clear, func() error { return from.Each(ctx, l) }, l.flush, func() error { return l.finish(more) }} {
		if err := step(); err != nil {
			return l.done, err
		}
	}
	return l.done, nil
}

// load is a load under way. It implements store.Sink.
type load struct {
	ctx    context.Context
	commit func(func(Conn) error) error
	tables []*store.Table
	done   store.Loaded

	// pending waits to be committed, in about so many bytes; its last part is of the current table.
	pending []part
	bytes   int
}

// part is some rows of a table.
type part struct {
	table, insert string
	// sure says that each row changes one of the store.
	sure bool
	rows [][]any
}

// clear marks the store and empties it, but for its tombstones: what was purged here stays so.
func (l *load) clear() error {
	mark := "INSERT INTO meta (name, value) VALUES ('" + loadMark + "', 1) ON CONFLICT (name) DO NOTHING"
	clearing := []string{"UPDATE meta SET value = 0" + notOwn}
	for _, t := range l.tables {
		if t.Name != "meta" && t.Name != "tombstones" {
			clearing = append(clearing, "DELETE FROM "+quote(t.Name))
		}
	}
	// The mark is durable before anything is taken out.
	for _, queries := range [][]string{{mark}, clearing} {
		if err := l.commit(func(c Conn) error { return l.all(c, queries) }); err != nil {
			return fmt.Errorf("emptying the store: %w", err)
		}
	}
	return nil
}

func (l *load) all(c Conn, queries []string) error {
	for _, q := range queries {
		if _, err := c.Exec(l.ctx, q, nil); err != nil {
			return err
		}
	}
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
	p := part{table: t.Name, sure: true}
	p.insert = "INSERT INTO " + quote(t.Name) + " (" + columnList(t) + ") VALUES (" + strings.Repeat("?, ", len(t.Columns)-1) + "?)"
	switch t.Name {
	case "meta":
		p.insert += " ON CONFLICT (name) DO UPDATE SET value = excluded.value"
	case "tombstones":
		p.insert, p.sure = p.insert+" ON CONFLICT (object) DO NOTHING", false
	}
	l.pending = append(l.pending, p)
	l.done.Tables++
	return nil
}

func newer(what, name string) error {
	return fault.New(fault.Invalid, "the backup holds the %s %s, which this release does not know: use the release that made it, or a newer one", what, fault.Clip(name))
}

// Row implements store.Sink.
func (l *load) Row(values []any) error {
	row := slices.Clone(values)
	for i, v := range row {
		switch v := v.(type) {
		case []byte:
			row[i] = bytes.Clone(v)
			l.bytes += len(v)
		case string:
			l.bytes += len(v)
		}
	}
	l.bytes += 16 * len(row)
	last := &l.pending[len(l.pending)-1]
	last.rows = append(last.rows, row)
	if l.bytes < loadAtOnce {
		return nil
	}
	return l.flush()
}

// flush commits the rows that wait.
func (l *load) flush() error {
	if len(l.pending) == 0 {
		return nil
	}
	if err := l.commit(l.put); err != nil {
		return err
	}
	for i := range l.pending {
		l.done.Rows += int64(len(l.pending[i].rows))
	}
	// The current table goes on.
	last := l.pending[len(l.pending)-1]
	last.rows = nil
	l.pending, l.bytes = []part{last}, 0
	return nil
}

func (l *load) put(c Conn) (err error) {
	for _, p := range l.pending {
		for _, row := range p.rows {
			if p.sure {
				_, err = c.Expect(l.ctx, 1, p.insert, row)
			} else {
				_, err = c.Exec(l.ctx, p.insert, row)
			}
			if err != nil {
				return fmt.Errorf("loading a row of the table %s: %w", p.table, err)
			}
		}
	}
	return nil
}

// A tombstone whose object is its vault is that of the vault: what was left of it when it was purged is gone with it, its keys first of all.
const buriedVaults = "(SELECT object FROM tombstones WHERE object = vault)"

// burials take out what tombstones name, with what cannot be without it.
var burials = []struct {
	query string
	count func(*store.Loaded) *int64
}{
	{"DELETE FROM versions WHERE object IN (SELECT object FROM tombstones)", nil},
	{"DELETE FROM rotation_policies WHERE object IN (SELECT object FROM tombstones)", nil},
	{"DELETE FROM objects WHERE id IN (SELECT object FROM tombstones)", buried},
	{"DELETE FROM wrapped_keys WHERE purpose = 'vault' AND owner IN " + buriedVaults, nil},
	{"DELETE FROM versions WHERE object IN (SELECT id FROM objects WHERE vault IN " + buriedVaults + ")", nil},
	{"DELETE FROM rotation_policies WHERE vault IN " + buriedVaults, nil},
	{"DELETE FROM objects WHERE vault IN " + buriedVaults, buried},
	{"DELETE FROM enrolments WHERE vault IN " + buriedVaults, nil},
	{"DELETE FROM vaults WHERE id IN " + buriedVaults, func(l *store.Loaded) *int64 { return &l.BuriedVaults }},
}

func buried(l *store.Loaded) *int64 { return &l.Buried }

// finish obeys the tombstones and ends the leases.
func (l *load) finish(more []store.Tombstone) error {
	var done store.Loaded
	err := l.commit(func(c Conn) error {
		done = l.done
		for _, t := range more {
			_, err := c.Exec(l.ctx, "INSERT INTO tombstones (object, vault, at) VALUES (?, ?, ?) ON CONFLICT (object) DO NOTHING",
				[]any{string(t.Object), string(t.Vault), micros(t.At)})
			if err != nil {
				return err
			}
		}
		for _, b := range burials {
			n, err := c.Exec(l.ctx, b.query, nil)
			if err != nil {
				return fmt.Errorf("obeying the tombstones: %w", err)
			}
			if b.count != nil {
				*b.count(&done) += n
			}
		}
		if _, err := c.Exec(l.ctx, "UPDATE leases SET fence = fence + ?, until = 0, granted = 0", []any{int64(store.FenceLeap)}); err != nil {
			return fmt.Errorf("ending the leases: %w", err)
		}
		// Not every engine counts positions where it dumps them.
		const head = "(SELECT coalesce(max(position), 0) FROM journal)"
		if _, err := c.Exec(l.ctx, "UPDATE meta SET value = "+head+" WHERE name = 'position' AND value < "+head, nil); err != nil {
			return fmt.Errorf("counting the journal's positions: %w", err)
		}
		return c.Query(l.ctx, "SELECT count(*) FROM tombstones", nil, func(r Row) error { done.Tombstones = r.Integer(0); return nil })
	})
	l.done = done
	return err
}
