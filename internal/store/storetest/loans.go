package storetest

import (
	"time"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

var loanCases = []testCase{
	{name: "Loans/RoundTrip", run: loansRoundTrip},
	{name: "Loans/NotFound", run: loansNotFound},
	{name: "Loans/CompareAndSwap", run: loansSwap},
	{name: "Loans/Selection", run: loansSelection},
}

var loanMutations = []mutation{
	{method: "PutLoan", want: func(f *fixture) []store.Change {
		return []store.Change{{Kind: store.LoanChanged, Tenant: f.loan.Tenant, Vault: f.loan.Vault, NameKey: f.loan.NameKey, Key: string(f.loan.ID)}}
	}, apply: func(e *env, f *fixture, tx store.Tx) error {
		f.loan.Revision, f.loan.State = 1, "revoking"
		return tx.PutLoan(e.ctx, f.loan)
	}},
}

func newLoan(n int) *store.Loan {
	return &store.Loan{ID: store.LoanID(hex32(n)), Tenant: vault.TenantID(guid(1)), Vault: vault.ID(hex32(30)), Object: vault.ObjectID(hex32(31)), NameKey: "db",
		Open: true, State: "active", NextAt: noon.Add(-time.Duration(n) * time.Second), Doc: []byte{0, byte(n), 255}}
}

func loansRoundTrip(e *env) {
	l := newLoan(45)
	check := func() {
		e.Helper()
		e.update(func(tx store.Tx) error { return tx.PutLoan(e.ctx, l) })
		l.Revision++
		same(e, "the loan", read(e, func(tx store.Tx) (*store.Loan, error) { return tx.Loan(e.ctx, l.ID) }), l)
	}
	check()
	// Every member changes, and what was set becomes unset.
	l.Open, l.State, l.NextAt, l.Doc, l.NameKey = false, "revoked", time.Time{}, []byte("other"), "other"
	check()
}

func loansNotFound(e *env) {
	missing(e, map[string]func(tx store.Tx) error{"Loan": func(tx store.Tx) error { _, err := tx.Loan(e.ctx, "x"); return err }}, nil)
}

func loansSwap(e *env) {
	put := func(revision int64) func(store.Tx) error {
		return func(tx store.Tx) error {
			l := newLoan(45)
			l.Revision = revision
			return tx.PutLoan(e.ctx, l)
		}
	}
	e.update(put(0))
	for _, stale := range []int64{0, 2} {
		if x := fault.As(e.try(put(stale))); x == nil || x.Kind != fault.Conflict || x.Reason != store.StaleRevision {
			e.Errorf("a stale Put of a loan: %v, want a conflict for StaleRevision", x)
		}
	}
	e.update(put(1))
}

func loansSelection(e *env) {
	closed, never, elsewhere := newLoan(2), newLoan(4), newLoan(5)
	closed.Open, closed.State = false, "revoked"
	never.NextAt = time.Time{}
	elsewhere.Vault, elsewhere.Object, elsewhere.Tenant = vault.ID(hex32(60)), vault.ObjectID(hex32(61)), vault.TenantID(guid(2))
	e.update(func(tx store.Tx) error {
		return firstOf(tx.PutLoan(e.ctx, newLoan(1)), tx.PutLoan(e.ctx, closed), tx.PutLoan(e.ctx, newLoan(3)), tx.PutLoan(e.ctx, never), tx.PutLoan(e.ctx, elsewhere))
	})
	list := func(q store.LoanQuery) (ids []int) {
		for _, l := range read(e, func(tx store.Tx) ([]*store.Loan, error) { return tx.Loans(e.ctx, q) }) {
			for n := 1; n <= 5; n++ {
				if l.ID == store.LoanID(hex32(n)) {
					ids = append(ids, n)
				}
			}
		}
		return ids
	}
	here := vault.ID(hex32(30))
	same(e, "of a vault", list(store.LoanQuery{Vault: here}), []int{1, 2, 3, 4})
	same(e, "of a tenant", list(store.LoanQuery{Tenant: elsewhere.Tenant}), []int{5})
	same(e, "of an object", list(store.LoanQuery{Object: elsewhere.Object}), []int{5})
	same(e, "in a state", list(store.LoanQuery{State: "revoked"}), []int{2})
	same(e, "open", list(store.LoanQuery{Vault: here, Open: true}), []int{1, 3, 4})
	same(e, "a page", list(store.LoanQuery{Vault: here, After: store.LoanID(hex32(1)), Limit: 2}), []int{2, 3})
	same(e, "due", list(store.LoanQuery{DueBefore: noon}), []int{5, 3, 1})
	same(e, "due then", list(store.LoanQuery{DueBefore: noon.Add(-3 * time.Second)}), []int{5, 3})
	for most, want := range map[int]int{0: 3, 2: 2, 9: 3} {
		same(e, "the count", read(e, func(tx store.Tx) (int, error) { return tx.CountLoans(e.ctx, newLoan(1).Object, most) }), want)
	}
}
