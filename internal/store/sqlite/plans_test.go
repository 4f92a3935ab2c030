package sqlite

import (
	"context"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/store/relational"
	"github.com/keywright/keywright/internal/vault"
)

// explainer asks how SQLite would run each statement, instead of running it.
type explainer struct {
	*conn
	plan string
}

func (e *explainer) explain(query string, args []any) error {
	return e.query(context.Background(), "EXPLAIN QUERY PLAN "+query, args, func(r relational.Row) error {
		e.plan += r.Text(3) + "\n"
		return nil
	})
}

func (e *explainer) Query(_ context.Context, query string, args []any, _ func(relational.Row) error) error {
	return e.explain(query, args)
}

func (e *explainer) Exec(_ context.Context, query string, args []any) (int64, error) {
	return 1, e.explain(query, args)
}

func (e *explainer) Expect(_ context.Context, _ int64, query string, args []any) (int64, error) {
	return 1, e.explain(query, args)
}

// TestPagesOfAListingSearch wants a page to begin where the one before ended, instead of reading all of them again.
func TestPagesOfAListingSearch(t *testing.T) {
	c := newSchema(t)
	place := store.HoldingPlace{HoldingKey: store.HoldingKey{Vault: "v", Kind: vault.Secret, NameKey: "n", Version: "1", Principal: "p"}, First: time.Now()}
	for want, q := range map[string]store.HoldingQuery{
		"USING INDEX holdings_held (principal=? AND <expr>>?)":                                                  {Principal: "p", Limit: 5, After: &place},
		"USING INDEX holdings_key (vault=? AND kind=? AND name_key=? AND (version,principal,instance)>(?,?,?))": {Vault: "v", Kind: vault.Secret, NameKey: "n", Limit: 5, After: &place},
	} {
		e := &explainer{conn: c}
		tx := relational.Update(e, nil, store.NewOp(time.Now()), 0)
		if tx.Holdings(t.Context(), q); !strings.Contains(e.plan, want) {
			t.Errorf("%+v: planned as\n%s\nwant %s", q, e.plan, want)
		}
	}
}

func newSchema(t *testing.T) *conn {
	t.Helper()
	c, err := newConn(filepath.Join(t.TempDir(), "plans.db"), 1024)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.close() })
	if err := migrate(c); err != nil {
		t.Fatal(err)
	}
	return c
}

// What is asked again and again in the background must be a search of an index, however much the store holds.
func TestBackgroundQueriesSearch(t *testing.T) {
	c := newSchema(t)
	ctx, now := t.Context(), time.Now()
	for name, q := range map[string]struct {
		run  func(tx store.Tx)
		want string
	}{
		"near expiries": {func(tx store.Tx) { tx.Expiring(ctx, store.ExpiryQuery{Kind: vault.Secret, Before: now, Limit: 1}) }, "versions_near"},
		"expired": {func(tx store.Tx) {
			tx.Expiring(ctx, store.ExpiryQuery{Kind: vault.Secret, Stage: store.Expired, Before: now})
		}, "versions_expired"},
		"skipped expiries":   {func(tx store.Tx) { tx.SkipExpiries(ctx, now, 5) }, "versions_expired"},
		"due deliveries":     {func(tx store.Tx) { tx.DueDeliveries(ctx, "x", now, 1) }, "deliveries_due"},
		"the oldest of them": {func(tx store.Tx) { tx.AddDelivery(ctx, &store.Delivery{NextAt: now}) }, "deliveries_subject"},
		"dead deliveries":    {func(tx store.Tx) { tx.DeleteDeliveries(ctx, "x", now, 5) }, "deliveries_seq"},
		"revoked": {func(tx store.Tx) {
			tx.RevokedIssuances(ctx, store.RevokedQuery{Authority: "x", EndAfter: now, Limit: 5})
		}, "issuances_revoked"},
		"ended certificates": {func(tx store.Tx) { tx.DropIssuances(ctx, "x", now, 5) }, "issuances_end"},
		"due endpoints":      {func(tx store.Tx) { tx.Endpoints(ctx, store.EndpointQuery{DueBefore: now, Limit: 5}) }, "endpoints_due"},
		"a vault's endpoints": {func(tx store.Tx) { tx.Endpoints(ctx, store.EndpointQuery{Vault: "x", Certificate: "y", Limit: 5}) },
			"endpoints_vault"},
		"ended enrolments": {func(tx store.Tx) { tx.ExpireEnrolments(ctx, now, 5) }, "enrolments_expires"},
		"ended sign-ins":   {func(tx store.Tx) { tx.ExpireSignIns(ctx, now, 5) }, "sign_ins_expires"},
		"bare objects":     {func(tx store.Tx) { tx.(*relational.Tx).Bare(ctx, "", 5) }, "objects_bare"},
		"retired versions": {func(tx store.Tx) { tx.RetiredAmong(ctx, []vault.VersionID{"x", "y", "z"}) }, "versions_retired"},
		"a touched holding": {func(tx store.Tx) {
			tx.TouchHolding(ctx, store.HoldingKey{Vault: "x", Kind: vault.Secret, NameKey: "y", Version: "v", Principal: "p", Instance: "i"}, now)
		}, "holdings_key"},
		"holdings": {func(tx store.Tx) { tx.DeleteHoldings(ctx, "x", vault.Secret, "y", "", 5) }, "holdings_key"},
	} {
		e := &explainer{conn: c}
		tx := relational.Update(e, nil, store.NewOp(now), 0)
		q.run(&tx)
		if !strings.Contains(e.plan, "USING INDEX "+q.want) && !strings.Contains(e.plan, "USING COVERING INDEX "+q.want) || strings.Contains(e.plan, "SCAN") ||
			strings.Contains(e.plan, "TEMP B-TREE") {
			t.Errorf("%s: planned as\n%s\nwant a search of %s", name, e.plan, q.want)
		}
	}
}
