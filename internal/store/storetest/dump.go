package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/principal"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// Dumpable is a store of which copies are made.
type Dumpable interface {
	store.Store
	store.Dumper
}

// Loadable is a store that was opened for a load.
type Loadable interface {
	store.Store
	store.Dumper
	store.Loader
}

// Copies is room for one store, of which copies are made or into which they are loaded.
type Copies struct {
	// Open opens the store for use; Load opens it for a load. The one before was closed.
	Open func() (Dumpable, error)
	Load func() (Loadable, error)
	// Tables lists the tables of its schema, as its database tells; those apart that belong to the engine alone.
	Tables func() []string
}

// RunCopies runs the cases of Dumper and Loader, or only those that are named: from is the engine that dumps, to the one that loads.
func RunCopies(t *testing.T, from, to func(t *testing.T) Copies, only ...string) {
	for _, c := range []struct {
		name string
		run  func(*copying)
	}{
		{"Whole", copyWhole}, {"OneState", copyOneState}, {"Empty", copyEmpty}, {"Tombstones", copyTombstones}, {"VaultTombstones", copyVaultTombstones},
		{"Leases", copyLeases}, {"Interrupted", copyInterrupted}, {"Replaces", copyReplaces}, {"Newer", copyNewer}, {"Older", copyOlder}, {"SinkFails", copySinkFails},
	} {
		if len(only) > 0 && !slices.Contains(only, c.name) {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			k := &copying{T: t, from: from(t), to: to(t)}
			k.source = k.open(k.from)
			c.run(k)
		})
	}
}

// copying is what a case works with: a source that is open, and a target that is not.
type copying struct {
	*testing.T
	from, to Copies
	source   *env
}

// open opens a place for use until the end of the test, or until it is closed.
func (k *copying) open(c Copies) *env {
	k.Helper()
	s, err := c.Open()
	if err != nil {
		k.Fatalf("opening the store: %v", err)
	}
	k.Cleanup(func() { s.Close() })
	return &env{T: k.T, ctx: k.Context(), s: s, faults: new(Faults), now: noon}
}

// load opens a place for a load.
func (k *copying) load() Loadable {
	k.Helper()
	s, err := k.to.Load()
	if err != nil {
		k.Fatalf("opening the store for a load: %v", err)
	}
	k.Cleanup(func() { s.Close() })
	return s
}

// memory is a dump that is kept. It implements store.Sink and store.Source.
type memory struct {
	tables []*store.Table
	rows   map[string][][]any
	// before, when it is not nil, is called before each row is given; its error ends the reading.
	before func(n int) error
}

func (m *memory) Table(t *store.Table) error {
	if m.rows == nil {
		m.rows = make(map[string][][]any)
	}
	m.tables = append(m.tables, t)
	return nil
}

func (m *memory) Row(values []any) error {
	row := slices.Clone(values)
	for i, v := range row {
		if b, ok := v.([]byte); ok {
			row[i] = bytes.Clone(b)
		}
	}
	name := m.tables[len(m.tables)-1].Name
	m.rows[name] = append(m.rows[name], row)
	return nil
}

// Each implements store.Source.
func (m *memory) Each(_ context.Context, to store.Sink) error {
	n := 0
	for _, t := range m.tables {
		if err := to.Table(t); err != nil {
			return err
		}
		for _, row := range m.rows[t.Name] {
			if n++; m.before != nil {
				if err := m.before(n); err != nil {
					return err
				}
			}
			if err := to.Row(row); err != nil {
				return err
			}
		}
	}
	return nil
}

// text is what a dump holds, the tables apart that a load changes.
func (m *memory) text(except ...string) map[string][]string {
	all := make(map[string][]string)
	for _, t := range m.tables {
		if slices.Contains(except, t.Name) {
			continue
		}
		list := []string{fmt.Sprint(t.Columns)}
		for _, row := range m.rows[t.Name] {
			list = append(list, fmt.Sprintf("%#v", row))
		}
		slices.Sort(list)
		all[t.Name] = list
	}
	return all
}

func (k *copying) dump(s store.Dumper) *memory {
	k.Helper()
	m := new(memory)
	if err := s.Dump(k.Context(), m); err != nil {
		k.Fatalf("Dump: %v", err)
	}
	return m
}

// take loads a dump and settles it.
func (k *copying) take(m store.Source, more ...store.Tombstone) store.Loaded {
	k.Helper()
	s := k.load()
	done, err := s.Load(k.Context(), m, more)
	if err != nil {
		k.Fatalf("Load: %v", err)
	}
	if err := errors.Join(s.Settle(k.Context()), s.Close()); err != nil {
		k.Fatalf("settling the load: %v", err)
	}
	return done
}

// full seeds a store so that each table has something.
func full(e *env) *fixture {
	e.Helper()
	f := newFixture()
	f.seed(e)
	gone, version := newObject(f.vault.ID, vault.Secret, "Purged")
	e.update(func(tx store.Tx) error { return errors.Join(tx.PutObject(e.ctx, gone), tx.AddVersion(e.ctx, version)) })
	e.update(func(tx store.Tx) error {
		o, err := tx.Object(e.ctx, gone.Vault, gone.Kind, gone.Name)
		if err != nil {
			return err
		}
		tx.Emit(store.Event{ID: hex32(7), Type: "t", Tenant: f.tenant.ID, Subject: "s", At: noon, Data: []byte("{}")})
		tx.Audit([]byte{0, 1, 2})
		return errors.Join(tx.DeleteObject(e.ctx, o, noon), tx.SetCursor(e.ctx, readerName, 1), tx.SetProjected(e.ctx, nodeName, 3))
	})
	return f
}

// copyWhole: what was loaded is what was dumped: every table, every row, every byte.
func copyWhole(k *copying) {
	f := full(k.source)
	want := f.state(k.source)
	m := k.dump(k.source.s.(Dumpable))
	names := slices.Sorted(maps.Keys(m.text()))
	if k.from.Tables == nil {
	} else if tables := k.from.Tables(); !slices.Equal(names, slices.Sorted(slices.Values(tables))) {
		k.Errorf("the dump holds the tables %v, the schema has %v", names, tables)
	}
	for _, name := range names {
		if len(m.rows[name]) == 0 {
			k.Errorf("the table %s has no row here: put one into the fixture, so that copies of it are tested", name)
		}
	}
	done := k.take(m)
	if done.Tables != len(names) || done.Rows == 0 || done.Tombstones != 1 || done.Buried != 0 {
		k.Errorf("Loaded is %+v", done)
	}
	target := k.open(k.to)
	same(target, "the state", f.state(target), want)
	same(target, "the rows", k.dump(target.s.(Dumpable)).text("leases", "meta"), m.text("leases", "meta"))
	// The journal goes on behind the one that was loaded, and an operation that is in it is known.
	head := read(k.source, func(tx store.Tx) (store.Position, error) { return tx.Head(k.Context()) })
	var seen []store.Position
	stop := target.s.Watch(func(c *store.Commit) { seen = append(seen, c.Position) })
	defer stop()
	target.now = noon.Add(time.Hour)
	target.update(func(tx store.Tx) error { return tx.PutSetting(k.Context(), "other", []byte{1}) })
	same(target, "the position of the next change", seen, []store.Position{head + 1})
	commits := read(k.source, func(tx store.Tx) ([]*store.Commit, error) { return tx.Commits(k.Context(), 0, 1) })
	if err := target.s.Update(k.Context(), commits[0].Op, func(store.Tx) error { return nil }); !errors.Is(err, store.ErrCommitted) {
		k.Errorf("repeating a change of the time before: %v, want ErrCommitted", err)
	}
}

// copyOneState: a dump is of one state, whatever is written while it goes on, and keeps nobody from writing.
func copyOneState(k *copying) {
	full(k.source)
	want := k.dump(k.source.s.(Dumpable)).text()
	written := false
	m := new(memory)
	err := k.source.s.(Dumpable).Dump(k.Context(), sinkFunc(func() error {
		if !written {
			written = true
			o, v := newObject(newFixture().vault.ID, vault.Secret, "Later")
			k.source.now = noon.Add(time.Hour)
			k.source.update(func(tx store.Tx) error {
				return errors.Join(tx.PutObject(k.Context(), o), tx.AddVersion(k.Context(), v), tx.PutSetting(k.Context(), "other", []byte("later")))
			})
		}
		return nil
	}, m))
	if err != nil || !written {
		k.Fatalf("Dump: %v", err)
	}
	same(k.source, "the dump", m.text(), want)
}

// sinkFunc calls a function before each row.
func sinkFunc(before func() error, m *memory) store.Sink { return &calling{m, before} }

type calling struct {
	*memory
	call func() error
}

func (c *calling) Row(values []any) error {
	if err := c.call(); err != nil {
		return err
	}
	return c.memory.Row(values)
}

func copyEmpty(k *copying) {
	empty := func() bool {
		k.Helper()
		s := k.load()
		defer s.Close()
		is, err := s.Empty(k.Context())
		if err != nil {
			k.Fatalf("Empty: %v", err)
		}
		return is
	}
	if !empty() {
		k.Error("a new store is not empty")
	}
	target := k.open(k.to)
	target.update(func(tx store.Tx) error { return tx.PutSetting(k.Context(), "a", nil) })
	target.s.Close()
	if empty() {
		k.Error("a store with a setting is empty")
	}
}

// copyTombstones: what was purged does not come back, wherever that is known.
func copyTombstones(k *copying) {
	f := full(k.source)
	var names []*vault.Object
	add := func(e *env, name string) *vault.Object {
		o, v := newObject(f.vault.ID, vault.Secret, name)
		names = append(names, o)
		e.update(func(tx store.Tx) error {
			p := newPolicy(41)
			p.Object, p.NameKey = o.ID, vault.NameKey(name)
			return errors.Join(tx.PutObject(k.Context(), o), tx.AddVersion(k.Context(), v), tx.PutPolicy(k.Context(), p))
		})
		return o
	}
	stays, target, given := add(k.source, "Stays"), add(k.source, "InTarget"), add(k.source, "Given")
	m := k.dump(k.source.s.(Dumpable))
	k.take(m)
	e := k.open(k.to)
	e.now = noon.Add(time.Hour)
	e.update(func(tx store.Tx) error {
		o, err := tx.Object(k.Context(), f.vault.ID, vault.Secret, target.Name)
		if err != nil {
			return err
		}
		return tx.DeleteObject(k.Context(), o, noon)
	})
	e.s.Close()
	done := k.take(m, store.Tombstone{Object: given.ID, Vault: f.vault.ID, At: noon})
	if done.Buried != 2 || done.Tombstones != 3 {
		k.Errorf("Loaded is %+v, want 2 objects kept out by 3 tombstones", done)
	}
	e = k.open(k.to)
	for _, o := range names {
		err := e.s.View(k.Context(), func(tx store.Tx) error {
			_, err := tx.Object(k.Context(), f.vault.ID, vault.Secret, o.Name)
			return err
		})
		versions := read(e, func(tx store.Tx) ([]*vault.Version, error) { return tx.Versions(k.Context(), o.ID, "", 0) })
		policies := e.s.View(k.Context(), func(tx store.Tx) error { _, err := tx.Policy(k.Context(), o.ID); return err })
		if lives := o == stays; lives != (err == nil) || lives != (len(versions) == 1) || lives != (policies == nil) {
			k.Errorf("%s: object %v, %d versions, policy %v", o.Name, err, len(versions), policies)
		}
	}
}

// copyVaultTombstones: a vault that was purged does not come back, nor its key, nor what is in it.
func copyVaultTombstones(k *copying) {
	f := full(k.source)
	done := k.take(k.dump(k.source.s.(Dumpable)), store.Tombstone{Object: vault.ObjectID(f.vault.ID), Vault: f.vault.ID, At: noon})
	if done.BuriedVaults != 1 || done.Buried != 1 {
		k.Errorf("Loaded is %+v, want one vault with one object kept out", done)
	}
	e := k.open(k.to)
	for what, look := range map[string]func(tx store.Tx) error{
		"the vault": func(tx store.Tx) error { _, err := tx.Vault(k.Context(), f.vault.ID); return err },
		"its key":   func(tx store.Tx) error { _, err := tx.WrappedKey(k.Context(), f.key.ID); return err },
		"its secret": func(tx store.Tx) error {
			_, err := tx.Object(k.Context(), f.vault.ID, vault.Secret, f.object.Name)
			return err
		},
		"a version": func(tx store.Tx) error { _, err := tx.Version(k.Context(), f.object.ID, f.first.ID); return err },
	} {
		is(e, what, e.s.View(k.Context(), look), fault.NotFound)
	}
}

// copyLeases: whoever had a lease has none, and no fence is given a second time, not even those that were given after the dump.
func copyLeases(k *copying) {
	full(k.source)
	acquire := func(e *env, owner string) (l *store.Lease) {
		k.Helper()
		e.update(func(tx store.Tx) (err error) {
			l, err = tx.AcquireLease(k.Context(), "work", owner, long, 0)
			return err
		})
		return l
	}
	before := acquire(k.source, "a")
	m := k.dump(k.source.s.(Dumpable))
	k.source.update(func(tx store.Tx) error { return tx.ReleaseLease(k.Context(), before) })
	later := acquire(k.source, "b")
	k.take(m)
	e := k.open(k.to)
	for _, l := range []*store.Lease{before, later} {
		for what, err := range map[string]error{
			"CheckLease": e.try(func(tx store.Tx) error { return tx.CheckLease(k.Context(), l) }),
			"RenewLease": e.try(func(tx store.Tx) error { _, err := tx.RenewLease(k.Context(), l, long); return err }),
		} {
			if f := fault.As(err); f == nil || f.Reason != store.LeaseLost {
				k.Errorf("%s of the lease of %s: %v, want LeaseLost", what, l.Owner, err)
			}
		}
	}
	if l := acquire(e, "c"); l.Fence <= later.Fence || l.Fence < store.FenceLeap {
		k.Errorf("the new lease has the fence %d, those before had up to %d", l.Fence, later.Fence)
	}
}

// copyInterrupted: a load that ended early leaves a store that nobody opens, and the next load makes it whole.
func copyInterrupted(k *copying) {
	f := full(k.source)
	want := f.state(k.source)
	m := k.dump(k.source.s.(Dumpable))
	broken := errors.New("the power failed")
	for _, at := range []int{1, 7, 20} {
		s := k.load()
		m.before = func(n int) error {
			if n == at {
				return broken
			}
			return nil
		}
		if _, err := s.Load(k.Context(), m, nil); !errors.Is(err, broken) {
			k.Fatalf("Load = %v, want its source's error", err)
		}
		if err := s.Close(); err != nil {
			k.Fatal(err)
		}
		if half, err := k.to.Open(); !fault.Is(err, fault.Unavailable) {
			k.Errorf("a half store was opened: %v", err)
			half.Close()
		}
	}
	// Whole, but not settled: whoever loaded it may have found something wrong.
	m.before = nil
	s := k.load()
	if empty, err := s.Empty(k.Context()); err != nil || !empty {
		k.Errorf("Empty = %v, %v; what a load left is nobody's", empty, err)
	}
	if _, err := s.Load(k.Context(), m, nil); err != nil {
		k.Fatal(err)
	}
	if err := s.View(k.Context(), func(tx store.Tx) error { _, err := tx.Tenant(k.Context(), f.tenant.ID); return err }); err != nil {
		k.Errorf("reading before the load is settled: %v", err)
	}
	s.Close()
	if half, err := k.to.Open(); !fault.Is(err, fault.Unavailable) {
		k.Errorf("a store was opened that was not settled: %v", err)
		half.Close()
	}
	k.take(m)
	e := k.open(k.to)
	same(e, "the state", f.state(e), want)
}

// copyReplaces: nothing of what was there is left.
func copyReplaces(k *copying) {
	e := k.open(k.to)
	e.update(func(tx store.Tx) error {
		return errors.Join(tx.PutSetting(k.Context(), "theirs", []byte{1}), tx.PutTenant(k.Context(), &vault.Tenant{ID: vault.TenantID(guid(99)), Name: "theirs", Created: noon}),
			tx.PutPrincipal(k.Context(), &principal.Principal{ID: principal.ID(guid(98)), Tenant: vault.TenantID(guid(99)), Kind: principal.User, Name: "they", Created: noon}))
	})
	e.s.Close()
	full(k.source)
	m := k.dump(k.source.s.(Dumpable))
	k.take(m)
	same(k.source, "the rows", k.dump(k.open(k.to).s.(Dumpable)).text("leases", "meta"), m.text("leases", "meta"))
}

// copyNewer: what a newer release wrote is not loaded in part.
func copyNewer(k *copying) {
	full(k.source)
	table, column := k.dump(k.source.s.(Dumpable)), k.dump(k.source.s.(Dumpable))
	table.tables = append(table.tables, &store.Table{Name: "zz_new", Columns: []string{"a"}})
	last := *column.tables[len(column.tables)-1]
	last.Columns = append(slices.Clone(last.Columns), "zz_new")
	column.tables[len(column.tables)-1] = &last
	for name, m := range map[string]*memory{"table": table, "column": column} {
		s := k.load()
		if _, err := s.Load(k.Context(), m, nil); !fault.Is(err, fault.Invalid) {
			k.Errorf("%s: Load = %v, want Invalid", name, err)
		}
		s.Close()
	}
}

// copyOlder: columns and tables that came later are as they are in a store that was brought up.
func copyOlder(k *copying) {
	f := full(k.source)
	m := k.dump(k.source.s.(Dumpable))
	i := slices.IndexFunc(m.tables, func(t *store.Table) bool { return t.Name == "leases" })
	at := slices.Index(m.tables[i].Columns, "granted")
	older := *m.tables[i]
	older.Columns = slices.Delete(slices.Clone(older.Columns), at, at+1)
	m.tables[i] = &older
	for j, row := range m.rows["leases"] {
		m.rows["leases"][j] = slices.Delete(row, at, at+1)
	}
	m.tables = slices.DeleteFunc(m.tables, func(t *store.Table) bool { return t.Name == "endpoints" })
	k.take(m)
	e := k.open(k.to)
	got, want := f.state(e), f.state(k.source)
	want.Endpoints = nil
	same(e, "the state", got, want)
}

// copySinkFails: the error of a sink ends the dump, and the store goes on.
func copySinkFails(k *copying) {
	full(k.source)
	broken := errors.New("no room")
	err := k.source.s.(Dumpable).Dump(k.Context(), sinkFunc(func() error { return broken }, new(memory)))
	if !errors.Is(err, broken) {
		k.Errorf("Dump = %v, want the sink's error", err)
	}
	ctx, cancel := context.WithCancel(k.Context())
	cancel()
	if err := k.source.s.(Dumpable).Dump(ctx, new(memory)); !errors.Is(err, context.Canceled) {
		k.Errorf("Dump = %v after its end, want Canceled", err)
	}
	k.source.now = noon.Add(time.Hour)
	k.source.update(func(tx store.Tx) error { return tx.PutSetting(k.Context(), "after", nil) })
}
