package ledger

import (
	"fmt"
	"net/netip"
	"reflect"
	"testing"
	"time"

	"github.com/keywright/keywright/internal/audit"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// whole reads a row of the store, opened.
func (w *world) whole(v vault.VersionID, instance string) *Holding {
	w.Helper()
	h, err := open(w.kept(v, instance))
	w.must(err)
	return h
}

// readAt takes in a read at a second, from an address, and returns the row that is stored then.
func (w *world) readAt(instance, address string, second int) *Holding {
	w.Helper()
	r := get(v1, instance, second)
	r.ClientAddress = netip.MustParseAddr(address)
	w.add(r)
	w.must(w.CatchUp(w.ctx))
	return w.whole(v1, instance)
}

// TestTouchedRowIsThatWhichWasPut: a touch makes of a row what the whole way makes of it, but for the time of the same address.
func TestTouchedRowIsThatWhichWasPut(t *testing.T) {
	w := newWorld(t, audit.OS, nil)
	rich := row(v1, "a", 1, 5, used(7))
	rich.NameKey, rich.Tenant, rich.Via, rich.Address, rich.AddressAt = "db-password", tenant, []string{"azure", "hashi"}, "10.0.0.1", at(5)
	rich.Poll, rich.PollAt, rich.Cleared, rich.By, rich.Why, rich.Refused = time.Minute, at(7), at(8), "ada", "gone", at(9)
	var rows [2]*Holding
	for i, touch := range []bool{false, true} {
		w.must(w.store.Update(w.ctx, store.NewOp(t0), func(tx store.Tx) error {
			stored, err := rich.row()
			w.must(err)
			w.must(tx.PutHolding(w.ctx, stored))
			c := &change{known: true, touch: touch}
			c.facts.HoldingKey, c.facts.Tenant, c.facts.First, c.facts.Last = rich.HoldingKey, tenant, at(90), at(90)
			c.facts.Via, c.facts.Address, c.facts.AddressAt = []string{"azure"}, "10.0.0.1", at(90)
			b := batch{ctx: w.ctx, tx: tx, at: t0}
			return b.put(c)
		}))
		rows[i] = w.whole(v1, "a")
		rows[i].Doc = nil
	}
	if !rows[0].AddressAt.Equal(at(90)) || !rows[1].AddressAt.Equal(at(5)) || !rows[1].Last.Equal(at(90)) {
		t.Errorf("the row that was put has its address at %v, the one that was touched at %v, delivered last at %v", rows[0].AddressAt, rows[1].AddressAt, rows[1].Last)
	}
	rows[1].AddressAt = rows[0].AddressAt
	if !reflect.DeepEqual(rows[0], rows[1]) {
		t.Errorf("touched it is\n%+v, put\n%+v", rows[1], rows[0])
	}
}

// TestWhatIsTouched: only a row of which nothing but the last delivery moves, and that is there.
func TestWhatIsTouched(t *testing.T) {
	w := newWorld(t, audit.OS, nil)
	touched := func(h *Holding, second int, want bool) {
		t.Helper()
		if is := h.AddressAt.Before(at(second)); !h.Last.Equal(at(second)) || is != want {
			t.Errorf("at %d it was touched: %t; last is %v", second, is, h.Last)
		}
	}
	touched(w.readAt("a", "10.0.0.1", 3), 3, false)
	first := 63
	h := w.readAt("a", "10.0.0.1", first)
	if !h.AddressAt.Equal(at(3)) {
		first += 60 // which was at the turn of an hour
		h = w.readAt("a", "10.0.0.1", first)
	}
	touched(h, first, true)
	next := first + 60
	moved := w.readAt("a", "10.0.0.2", next)
	if touched(moved, next, false); moved.Address != "10.0.0.2" {
		t.Errorf("the address is %s", moved.Address)
	}
	w.add(ack(v1, "a", next+1, Ack{Level: Used, Poll: time.Second}))
	if h := w.readAt("a", "10.0.0.2", next+2); !h.Used.Equal(at(next+1)) || h.Poll != time.Second {
		t.Errorf("after an acknowledgement the row is %+v", h)
	} else {
		touched(h, next+2, false)
	}
	// Every hour it is written whole.
	before := w.whole(v1, "a").AddressAt
	for s := next + 62; s < next+3700; s += 60 {
		w.readAt("a", "10.0.0.2", s)
	}
	if h := w.whole(v1, "a"); !h.AddressAt.After(before) {
		t.Errorf("over an hour the address stays as of %v", h.AddressAt)
	}
	// A row that was removed is made anew.
	w.must(w.store.Update(w.ctx, store.NewOp(t0), func(tx store.Tx) error {
		_, err := tx.DeleteHoldings(w.ctx, "v", vault.Secret, "db-password", "", 10)
		return err
	}))
	again := w.readAt("a", "10.0.0.2", next+3800)
	if touched(again, next+3800, false); !again.First.Equal(at(next+3800)) || again.Tenant != tenant || again.Via[0] != "azure" {
		t.Errorf("the row that was removed is %+v", again)
	}
}

// TestReadOfRetiredVersionAlarmsThoughTheRowIsKnown: whoever read a version before it was revoked, and reads it again, is told.
func TestReadOfRetiredVersionAlarmsThoughTheRowIsKnown(t *testing.T) {
	w := newWorld(t, audit.OS, nil)
	object := &vault.Object{ID: vault.NewObjectID(t0), Vault: "v", Kind: vault.Secret, Name: "Db-Password", Current: v2}
	version := &vault.Version{ID: v1, Object: object.ID, State: vault.Active}
	w.must(w.store.Update(w.ctx, store.NewOp(t0), func(tx store.Tx) error {
		w.must(tx.AddVersion(w.ctx, version))
		w.must(tx.AddVersion(w.ctx, &vault.Version{ID: v2, Object: object.ID, State: vault.Active}))
		return tx.PutObject(w.ctx, object)
	}))
	for s := 3; s < 300; s += 60 {
		w.readAt("a", "10.0.0.1", s)
	}
	version.State = vault.Retired
	w.must(w.store.Update(w.ctx, store.NewOp(t0), func(tx store.Tx) error { return tx.PutVersion(w.ctx, version) }))
	if h := w.readAt("a", "10.0.0.1", 300); !h.Alarmed.IsZero() {
		t.Error("a read that the store is not told of alarmed")
	}
	if h := w.readAt("a", "10.0.0.1", 370); !h.Alarmed.Equal(at(370)) {
		t.Errorf("the read of a retired version alarmed at %v", h.Alarmed)
	}
}

// BenchmarkRewrite stores a last delivery of a row that is there, of 100,000: by the whole way, as of a consumer of which nothing is remembered, and as one
// that is known.
func BenchmarkRewrite(b *testing.B) {
	const rows = 100_000
	w := newWorld(b, audit.OS, nil)
	delivery := func(i int, at time.Time) *change {
		c := &change{}
		c.facts.HoldingKey = store.HoldingKey{Vault: "v", Kind: vault.Secret, NameKey: fmt.Sprintf("secret-%05d", i), Version: vault.VersionID(fmt.Sprintf("%032x", i)),
			Principal: "11111111-1111-4111-8111-111111111111", Instance: "@10.0.0.1"}
		c.facts.Tenant, c.facts.Weak, c.facts.First, c.facts.Last = tenant, true, at, at
		c.facts.Via, c.facts.Address, c.facts.AddressAt = []string{"azure"}, "10.0.0.1", at
		return c
	}
	commit := func(list []*change) {
		w.must(w.store.Update(w.ctx, store.NewOp(t0), func(tx store.Tx) error {
			t := batch{ctx: w.ctx, tx: tx, at: t0}
			if err := t.look(list); err != nil {
				return err
			}
			for _, c := range list {
				if err := t.put(c); err != nil {
					return err
				}
			}
			return nil
		}))
	}
	run := func(n int, at time.Time, edit func(*change)) {
		var list []*change
		for i := range n {
			c := delivery(i*97%rows, at)
			edit(c)
			if list = append(list, c); len(list) == rowsAtOnce || i == n-1 {
				commit(list)
				list = list[:0]
			}
		}
	}
	run(rows, t0, func(*change) {})
	for _, c := range []struct {
		name         string
		known, touch bool
	}{{"forgotten", false, false}, {"whole", true, false}, {"touch", true, true}} {
		b.Run(c.name, func(b *testing.B) {
			run(b.N, t0.Add(time.Hour), func(x *change) { x.known, x.touch = c.known, c.touch })
		})
	}
}
