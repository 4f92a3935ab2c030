package relational

import (
	"context"

	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// loanSchema is the step of the schema that makes room for accounts that are lent.
const loanSchema = `
CREATE TABLE loans (id TEXT PRIMARY KEY, tenant TEXT NOT NULL, vault TEXT NOT NULL, object TEXT NOT NULL, name_key TEXT NOT NULL, open INTEGER NOT NULL,
  state TEXT NOT NULL, next_at INTEGER, revision INTEGER NOT NULL, doc BLOB);
CREATE INDEX loans_vault ON loans (vault, id);
CREATE INDEX loans_open ON loans (object, id) WHERE open = 1;
CREATE INDEX loans_due ON loans (next_at, id) WHERE open = 1 AND next_at IS NOT NULL;
`

const loanColumns = "SELECT id, tenant, vault, object, name_key, open, state, next_at, revision, doc FROM loans"

func readLoan(r Row) *store.Loan {
	return &store.Loan{ID: store.LoanID(r.Text(0)), Tenant: vault.TenantID(r.Text(1)), Vault: vault.ID(r.Text(2)), Object: vault.ObjectID(r.Text(3)),
		NameKey: r.Text(4), Open: r.Integer(5) != 0, State: r.Text(6), NextAt: r.Instant(7), Revision: r.Integer(8), Doc: r.Blob(9)}
}

// Loan implements store.Loans.
func (t *Tx) Loan(ctx context.Context, id store.LoanID) (l *store.Loan, err error) {
	found, err := t.one(ctx, loanColumns+" WHERE id = ?", []any{string(id)}, func(r Row) { l = readLoan(r) })
	if err == nil && !found {
		err = notFound("lease", id)
	}
	return l, err
}

// Loans implements store.Loans.
func (t *Tx) Loans(ctx context.Context, q store.LoanQuery) (list []*store.Loan, err error) {
	var w where
	w.equal("tenant", string(q.Tenant))
	w.equal("vault", string(q.Vault))
	w.equal("object", string(q.Object))
	w.equal("state", q.State)
	order := " ORDER BY id"
	switch {
	case !q.DueBefore.IsZero():
		w.and("open = 1 AND next_at <= ?", q.DueBefore.UnixMicro())
		order = " ORDER BY next_at, id"
	case q.Open:
		w.and("open = 1")
	}
	if q.After != "" {
		w.and("id > ?", string(q.After))
	}
	err = t.query(ctx, loanColumns+w.String()+order+" LIMIT ?", append(w.args, limit(q.Limit)), func(r Row) error {
		list = append(list, readLoan(r))
		return nil
	})
	return list, err
}

// CountLoans implements store.Loans.
func (t *Tx) CountLoans(ctx context.Context, o vault.ObjectID, most int) (n int, err error) {
	_, err = t.one(ctx, "SELECT count(*) FROM (SELECT 1 FROM loans WHERE object = ? AND open = 1 LIMIT ?) AS counted", []any{string(o), limit(most)}, func(r Row) { n = int(r.Integer(0)) })
	return n, err
}

// PutLoan implements store.Loans.
func (t *Tx) PutLoan(ctx context.Context, l *store.Loan) error {
	ch := noting(store.Change{Kind: store.LoanChanged, Tenant: l.Tenant, Vault: l.Vault, NameKey: l.NameKey, Key: string(l.ID)})
	args := []any{string(l.Tenant), string(l.Vault), string(l.Object), l.NameKey, l.Open, l.State, micros(l.NextAt), l.Revision + 1, l.Doc, string(l.ID)}
	if l.Revision == 0 {
		return t.swap(ctx, ch, "lease", l.ID, `INSERT INTO loans (tenant, vault, object, name_key, open, state, next_at, revision, doc, id)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING`, args...)
	}
	return t.swap(ctx, ch, "lease", l.ID, `UPDATE loans SET tenant = ?, vault = ?, object = ?, name_key = ?, open = ?, state = ?, next_at = ?, revision = ?, doc = ?
		WHERE id = ? AND revision = ?`, append(args, l.Revision)...)
}
