package storetest

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/store"
)

var issuanceReaders = strings.Fields("Authority Authorities Issuance IssuanceByRequest RevokedIssuances LiveIssuances")

var issuanceMutations = []mutation{
	{method: "AddAuthority", want: changes(), apply: func(e *env, f *fixture, tx store.Tx) error {
		f.authority.ID = otherAuthority
		return tx.AddAuthority(e.ctx, f.authority)
	}},
	{method: "NextCRLNumber", want: changes(), apply: func(e *env, f *fixture, tx store.Tx) error {
		_, err := tx.NextCRLNumber(e.ctx, f.authority.ID)
		return err
	}},
	{method: "AddIssuance", want: changes(), apply: func(e *env, f *fixture, tx store.Tx) error { return tx.AddIssuance(e.ctx, newIssuance(f, 2)) }},
	{method: "RevokeIssuance", want: changes(), apply: func(e *env, f *fixture, tx store.Tx) error {
		return tx.RevokeIssuance(e.ctx, f.authority.ID, f.issuance.Serial, noon, 1)
	}},
	{method: "DropIssuances", want: changes(), apply: func(e *env, f *fixture, tx store.Tx) error {
		n, err := tx.DropIssuances(e.ctx, f.authority.ID, f.issuance.NotAfter.Add(time.Hour), 10)
		if err == nil && n != 1 {
			err = fmt.Errorf("%d certificates were dropped; want the one that ended", n)
		}
		return err
	}},
	{method: "DropAuthority", want: changes(), apply: func(e *env, f *fixture, tx store.Tx) error { return tx.DropAuthority(e.ctx, f.authority.ID) }},
}

var issuanceCases = []testCase{
	{name: "Issuances/RoundTrip", run: issuancesRoundTrip, reopens: true},
	{name: "Issuances/NotFound", run: issuancesNotFound},
	{name: "Issuances/Conflicts", run: issuanceConflicts},
	{name: "Issuances/Revoked", run: issuancesRevoked},
	{name: "Issuances/Live", run: issuancesLive},
	{name: "Issuances/CRLNumbers", run: crlNumbers},
	{name: "Issuances/Dropped", run: issuancesDropped, reopens: true},
}

// otherAuthority is one that the fixture does not have.
const otherAuthority = "authority-2"

func newAuthority(f *fixture) *store.Authority {
	return &store.Authority{ID: "authority-1", Tenant: f.tenant.ID, Vault: f.vault.ID, NameKey: "root", Version: f.first.ID}
}

func newIssuance(f *fixture, n int) *store.Issuance {
	return &store.Issuance{Authority: f.authority.ID, Serial: fmt.Sprintf("%x", n), Request: fmt.Sprint("request-", n), Profile: "server", DER: []byte{0, byte(n), 255},
		NotAfter: noon.Add(time.Duration(n) * time.Hour)}
}

// issuancesIn is what states hold: what the cases may have written.
func (f *fixture) issuancesIn(e *env, tx store.Tx) (authorities []*store.Authority, list []*store.Issuance, err error) {
	for _, id := range []string{"authority-1", otherAuthority} {
		a, err := tx.Authority(e.ctx, id)
		if fault.Is(err, fault.NotFound) {
			continue
		}
		if err != nil {
			return nil, nil, err
		}
		authorities = append(authorities, a)
		for n := range 5 {
			i, err := tx.Issuance(e.ctx, id, fmt.Sprintf("%x", n))
			if err != nil && !fault.Is(err, fault.NotFound) {
				return nil, nil, err
			}
			if err == nil {
				list = append(list, i)
			}
		}
	}
	return authorities, list, nil
}

func issuancesRoundTrip(e *env) {
	f := newFixture()
	f.seed(e)
	// An authority that is known stays as it is.
	again := *f.authority
	again.NameKey = "another"
	e.update(func(tx store.Tx) error { return tx.AddAuthority(e.ctx, &again) })
	look := func() {
		e.Helper()
		same(e, "the authority", read(e, func(tx store.Tx) (*store.Authority, error) { return tx.Authority(e.ctx, f.authority.ID) }), f.authority)
		same(e, "by serial", read(e, func(tx store.Tx) (*store.Issuance, error) {
			return tx.Issuance(e.ctx, f.authority.ID, f.issuance.Serial)
		}), f.issuance)
		same(e, "by request", read(e, func(tx store.Tx) (*store.Issuance, error) {
			return tx.IssuanceByRequest(e.ctx, f.authority.ID, f.issuance.Request)
		}), f.issuance)
	}
	look()
	e.reopen()
	look()
}

func issuancesNotFound(e *env) {
	f := newFixture()
	f.seed(e)
	for name, look := range map[string]func(tx store.Tx) error{
		"Authority":         func(tx store.Tx) error { _, err := tx.Authority(e.ctx, "x"); return err },
		"Issuance":          func(tx store.Tx) error { _, err := tx.Issuance(e.ctx, f.authority.ID, "ff"); return err },
		"of another":        func(tx store.Tx) error { _, err := tx.Issuance(e.ctx, "x", f.issuance.Serial); return err },
		"IssuanceByRequest": func(tx store.Tx) error { _, err := tx.IssuanceByRequest(e.ctx, f.authority.ID, "x"); return err },
	} {
		is(e, name, e.s.View(e.ctx, look), fault.NotFound)
	}
	is(e, "RevokeIssuance", e.try(func(tx store.Tx) error { return tx.RevokeIssuance(e.ctx, f.authority.ID, "ff", noon, 0) }), fault.NotFound)
	is(e, "DropAuthority", e.try(func(tx store.Tx) error { return tx.DropAuthority(e.ctx, "x") }), fault.NotFound)
	is(e, "NextCRLNumber", e.try(func(tx store.Tx) error { _, err := tx.NextCRLNumber(e.ctx, "x"); return err }), fault.NotFound)
}

func issuanceConflicts(e *env) {
	f := newFixture()
	f.seed(e)
	serial, request := newIssuance(f, 2), newIssuance(f, 2)
	serial.Serial, request.Request = f.issuance.Serial, f.issuance.Request
	for name, i := range map[string]*store.Issuance{"serial": serial, "request": request} {
		is(e, "the same "+name, e.try(func(tx store.Tx) error { return tx.AddIssuance(e.ctx, i) }), fault.Conflict)
	}
	other := *f.issuance
	other.Authority = otherAuthority
	e.update(func(tx store.Tx) error { return tx.AddIssuance(e.ctx, &other) })
}

func issuancesRevoked(e *env) {
	f := newFixture()
	f.seed(e)
	e.update(func(tx store.Tx) error {
		for n := 2; n < 12; n++ {
			i := newIssuance(f, n)
			i.NotAfter = noon.Add(time.Duration(n/2) * time.Hour) // two have the same end
			if err := tx.AddIssuance(e.ctx, i); err != nil {
				return err
			}
			if n%5 == 0 {
				continue
			}
			if err := tx.RevokeIssuance(e.ctx, f.authority.ID, i.Serial, noon.Add(time.Minute), 4); err != nil {
				return err
			}
			if err := tx.RevokeIssuance(e.ctx, f.authority.ID, i.Serial, noon.Add(time.Hour), 1); err != nil { // too late
				return err
			}
		}
		return nil
	})
	serials := ""
	q := store.RevokedQuery{Authority: f.authority.ID, EndAfter: noon.Add(2 * time.Hour), Limit: 2}
	for {
		page := read(e, func(tx store.Tx) ([]*store.Issuance, error) { return tx.RevokedIssuances(e.ctx, q) })
		for _, i := range page {
			serials += i.Serial + " "
			if !i.Revoked.Equal(noon.Add(time.Minute)) || i.Reason != 4 {
				e.Errorf("%s was revoked at %s for %d: the first mark is to stay", i.Serial, i.Revoked, i.Reason)
			}
		}
		if len(page) < q.Limit {
			break
		}
		q.After = page[len(page)-1]
	}
	same(e, "what ends after it", serials, "6 7 8 9 b ")
}

func crlNumbers(e *env) {
	f := newFixture()
	f.seed(e)
	for want := int64(1); want < 4; want++ {
		var n int64
		e.update(func(tx store.Tx) (err error) {
			n, err = tx.NextCRLNumber(e.ctx, f.authority.ID)
			return err
		})
		same(e, "the number", n, want)
	}
}

func issuancesLive(e *env) {
	f := newFixture()
	f.seed(e)
	e.update(func(tx store.Tx) error {
		return firstOf(tx.AddIssuance(e.ctx, newIssuance(f, 2)), tx.AddIssuance(e.ctx, newIssuance(f, 3)), tx.AddIssuance(e.ctx, newIssuance(f, 4)),
			tx.RevokeIssuance(e.ctx, f.authority.ID, "3", noon, 4))
	})
	list := func(q store.LiveQuery) (serials []string) {
		for _, i := range read(e, func(tx store.Tx) ([]*store.Issuance, error) { return tx.LiveIssuances(e.ctx, q) }) {
			serials = append(serials, i.Serial)
		}
		return serials
	}
	q := store.LiveQuery{Authority: f.authority.ID, EndAfter: noon}
	same(e, "all that count", list(q), []string{"1", "2", "4"})
	q.EndAfter = noon.Add(2 * time.Hour)
	same(e, "those that end later", list(q), []string{"4"})
	q.EndAfter, q.Limit = noon, 2
	same(e, "the first page", list(q), []string{"1", "2"})
	q.After = "2"
	same(e, "the next page", list(q), []string{"4"})
	q.Authority = otherAuthority
	same(e, "those of another authority", list(q), []string(nil))
}

// issuancesDropped forgets what ended, in parts, and then the authority: the order and the bound count, and another authority's stay.
func issuancesDropped(e *env) {
	f := newFixture()
	f.seed(e)
	other := *f.authority
	other.ID = otherAuthority
	e.update(func(tx store.Tx) error {
		if err := tx.AddAuthority(e.ctx, &other); err != nil {
			return err
		}
		for n := 2; n < 5; n++ {
			mine, theirs := newIssuance(f, n), newIssuance(f, n)
			theirs.Authority = other.ID
			if err := errors.Join(tx.AddIssuance(e.ctx, mine), tx.AddIssuance(e.ctx, theirs)); err != nil {
				return err
			}
		}
		return nil
	})
	drop := func(endedBefore time.Time, n int) (dropped int) {
		e.Helper()
		e.update(func(tx store.Tx) (err error) {
			dropped, err = tx.DropIssuances(e.ctx, f.authority.ID, endedBefore, n)
			return err
		})
		return dropped
	}
	left := func() (serials string) {
		e.Helper()
		for n := 1; n < 5; n++ {
			for _, authority := range []string{f.authority.ID, other.ID} {
				serial := fmt.Sprintf("%x", n)
				switch err := e.s.View(e.ctx, func(tx store.Tx) error { _, err := tx.Issuance(e.ctx, authority, serial); return err }); {
				case err == nil && authority == other.ID:
					serials += "other's "
					fallthrough
				case err == nil:
					serials += serial + " "
				case !fault.Is(err, fault.NotFound):
					e.Fatal(err)
				}
			}
		}
		return serials
	}
	third := noon.Add(3 * time.Hour) // when the third ends
	same(e, "dropped at first", drop(third, 1), 1)
	same(e, "left", left(), "2 other's 2 3 other's 3 4 other's 4 ")
	same(e, "dropped then", drop(third, 10), 1)
	same(e, "dropped when nothing is", drop(third, 10), 0)
	e.reopen()
	same(e, "left", left(), "other's 2 3 other's 3 4 other's 4 ")
	same(e, "the rest", drop(noon.AddDate(100, 0, 0), 0), 2)
	e.update(func(tx store.Tx) error { return tx.DropAuthority(e.ctx, f.authority.ID) })
	list := read(e, func(tx store.Tx) ([]*store.Authority, error) { return tx.Authorities(e.ctx, "", 0) })
	same(e, "the authorities", list, []*store.Authority{&other})
	same(e, "behind the last", read(e, func(tx store.Tx) ([]*store.Authority, error) { return tx.Authorities(e.ctx, other.ID, 0) }), []*store.Authority{})
}
