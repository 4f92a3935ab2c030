package storetest

import (
	"fmt"
	"strings"
	"time"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

var enrolmentReaders = strings.Fields("Enrolment EnrolmentByAlias Enrolments")

var enrolmentMutations = []mutation{
	{method: "PutEnrolment", want: changes(), apply: func(e *env, f *fixture, tx store.Tx) error {
		f.enrolment.Revision, f.enrolment.Alias, f.enrolment.Doc = 1, "other", []byte("other")
		return tx.PutEnrolment(e.ctx, f.enrolment)
	}},
	{method: "ExpireEnrolments", want: changes(), apply: func(e *env, f *fixture, tx store.Tx) error {
		_, err := tx.ExpireEnrolments(e.ctx, f.enrolment.Expires, 0)
		return err
	}},
}

var enrolmentCases = []testCase{
	{name: "Enrolments/RoundTrip", run: enrolmentsRoundTrip, reopens: true},
	{name: "Enrolments/NotFound", run: enrolmentsNotFound},
	{name: "Enrolments/CompareAndSwap", run: enrolmentsSwap},
	{name: "Enrolments/Aliases", run: enrolmentAliases},
	{name: "Enrolments/Selection", run: enrolmentsSelection},
	{name: "Enrolments/Expiry", run: enrolmentsExpire},
	{name: "Enrolments/GoWithTheirVault", run: enrolmentsGo},
}

func newEnrolment(f *fixture, n int) *store.Enrolment {
	return &store.Enrolment{Vault: f.vault.ID, Issuer: vault.ObjectID(hex32(70)), Kind: "order", ID: fmt.Sprint("order-", n), Alias: fmt.Sprint("serial-", n),
		Expires: noon.Add(time.Duration(n) * time.Hour), Doc: []byte{0, byte(n), 255}}
}

func enrolmentsRoundTrip(e *env) {
	r := newEnrolment(newFixture(), 1)
	check := func() {
		e.Helper()
		e.update(func(tx store.Tx) error { return tx.PutEnrolment(e.ctx, r) })
		r.Revision++
		look := func() {
			e.Helper()
			same(e, "by id", read(e, func(tx store.Tx) (*store.Enrolment, error) { return tx.Enrolment(e.ctx, r.Issuer, r.Kind, r.ID) }), r)
		}
		look()
		e.reopen()
		look()
	}
	check()
	same(e, "by alias", read(e, func(tx store.Tx) (*store.Enrolment, error) {
		return tx.EnrolmentByAlias(e.ctx, r.Issuer, r.Kind, r.Alias)
	}), r)
	// Every member changes, and what was set becomes unset.
	r.Alias, r.Expires, r.Doc, r.Vault = "", time.Time{}, []byte("other"), vault.ID(hex32(71))
	check()
}

func enrolmentsNotFound(e *env) {
	f := newFixture()
	f.seed(e)
	r := f.enrolment
	for name, look := range map[string]func(tx store.Tx) error{
		"id":                func(tx store.Tx) error { _, err := tx.Enrolment(e.ctx, r.Issuer, r.Kind, "x"); return err },
		"kind":              func(tx store.Tx) error { _, err := tx.Enrolment(e.ctx, r.Issuer, "x", r.ID); return err },
		"issuer":            func(tx store.Tx) error { _, err := tx.Enrolment(e.ctx, "x", r.Kind, r.ID); return err },
		"alias":             func(tx store.Tx) error { _, err := tx.EnrolmentByAlias(e.ctx, r.Issuer, r.Kind, "x"); return err },
		"another's alias":   func(tx store.Tx) error { _, err := tx.EnrolmentByAlias(e.ctx, "x", r.Kind, r.Alias); return err },
		"a kind's alias":    func(tx store.Tx) error { _, err := tx.EnrolmentByAlias(e.ctx, r.Issuer, "x", r.Alias); return err },
		"an alias for none": func(tx store.Tx) error { _, err := tx.EnrolmentByAlias(e.ctx, r.Issuer, r.Kind, ""); return err },
	} {
		is(e, name, e.s.View(e.ctx, look), fault.NotFound)
	}
}

func enrolmentsSwap(e *env) {
	f := newFixture()
	put := func(revision int64) func(store.Tx) error {
		return func(tx store.Tx) error {
			r := newEnrolment(f, 1)
			r.Revision = revision
			return tx.PutEnrolment(e.ctx, r)
		}
	}
	e.update(put(0))
	for _, stale := range []int64{0, 2} {
		if x := fault.As(e.try(put(stale))); x == nil || x.Kind != fault.Conflict || x.Reason != store.StaleRevision {
			e.Errorf("a stale Put of an enrolment: %v, want a conflict for StaleRevision", x)
		}
	}
	e.update(put(1))
}

func enrolmentAliases(e *env) {
	f := newFixture()
	first, second := newEnrolment(f, 1), newEnrolment(f, 2)
	e.update(func(tx store.Tx) error { return tx.PutEnrolment(e.ctx, first) })
	second.Alias = first.Alias
	if x := fault.As(e.try(func(tx store.Tx) error { return tx.PutEnrolment(e.ctx, second) })); x == nil || x.Kind != fault.Conflict || x.Reason == store.StaleRevision {
		e.Errorf("an alias that is taken: %v, want a conflict that is not for StaleRevision", x)
	}
	// Elsewhere it is free, and any number have none.
	elsewhere, another, none := *second, *second, *second
	elsewhere.Issuer, another.Kind, none.Alias = "x", "account", ""
	nothing := none
	nothing.ID = "order-3"
	e.update(func(tx store.Tx) error {
		return firstOf(tx.PutEnrolment(e.ctx, &elsewhere), tx.PutEnrolment(e.ctx, &another), tx.PutEnrolment(e.ctx, &none), tx.PutEnrolment(e.ctx, &nothing))
	})
	none.Revision, none.Alias = 1, first.Alias
	is(e, "taking it later", e.try(func(tx store.Tx) error { return tx.PutEnrolment(e.ctx, &none) }), fault.Conflict)
}

func enrolmentsSelection(e *env) {
	f := newFixture()
	account, elsewhere := newEnrolment(f, 4), newEnrolment(f, 5)
	account.Kind, elsewhere.Issuer = "account", "x"
	e.update(func(tx store.Tx) error {
		return firstOf(tx.PutEnrolment(e.ctx, newEnrolment(f, 3)), tx.PutEnrolment(e.ctx, newEnrolment(f, 1)), tx.PutEnrolment(e.ctx, newEnrolment(f, 2)),
			tx.PutEnrolment(e.ctx, account), tx.PutEnrolment(e.ctx, elsewhere))
	})
	list := func(q store.EnrolmentQuery) (ids string) {
		for _, r := range read(e, func(tx store.Tx) ([]*store.Enrolment, error) { return tx.Enrolments(e.ctx, q) }) {
			ids += strings.TrimPrefix(r.ID, "order-") + " "
		}
		return ids
	}
	here := store.EnrolmentQuery{Issuer: account.Issuer, Kind: "order"}
	same(e, "all", list(here), "1 2 3 ")
	here.Limit, here.After = 1, "order-1"
	same(e, "a page", list(here), "2 ")
}

func enrolmentsExpire(e *env) {
	f := newFixture()
	ever := newEnrolment(f, 9)
	ever.Expires = time.Time{}
	e.update(func(tx store.Tx) error {
		return firstOf(tx.PutEnrolment(e.ctx, newEnrolment(f, 3)), tx.PutEnrolment(e.ctx, newEnrolment(f, 1)), tx.PutEnrolment(e.ctx, newEnrolment(f, 2)), tx.PutEnrolment(e.ctx, ever))
	})
	for i, want := range []int{1, 1, 0} { // the limit, the rest, nothing
		var n int
		e.update(func(tx store.Tx) (err error) {
			n, err = tx.ExpireEnrolments(e.ctx, noon.Add(2*time.Hour), 1)
			return err
		})
		same(e, fmt.Sprint("removed at try ", i), n, want)
	}
	left := read(e, func(tx store.Tx) ([]*store.Enrolment, error) {
		return tx.Enrolments(e.ctx, store.EnrolmentQuery{Issuer: ever.Issuer, Kind: ever.Kind})
	})
	same(e, "what is left", len(left), 2)
}

func enrolmentsGo(e *env) {
	f := newFixture()
	f.seed(e)
	other := newEnrolment(f, 2)
	other.Vault = vault.ID(hex32(71))
	e.update(func(tx store.Tx) error { return tx.PutEnrolment(e.ctx, other) })
	e.update(func(tx store.Tx) error { return tx.DeleteVault(e.ctx, f.vault.ID) })
	left := read(e, func(tx store.Tx) ([]*store.Enrolment, error) {
		return tx.Enrolments(e.ctx, store.EnrolmentQuery{Issuer: other.Issuer, Kind: other.Kind})
	})
	if len(left) != 1 || left[0].ID != other.ID {
		e.Errorf("with the vault went %v", left)
	}
}
