package rotation

import (
	"context"
	"encoding/json"

	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// Redate brings the next run forward when the current version of a secret ends earlier than it did, in the transaction that says so. What has become due later
// is found out when it would have begun.
func (e *Engine) Redate(ctx context.Context, tx store.Tx, o *vault.Object, current *vault.Version) error {
	p, err := tx.Policy(ctx, o.ID)
	if isMissing(err) {
		return nil
	}
	if err != nil {
		return err
	}
	doc, err := readPolicy(p)
	if err != nil || doc.none() {
		return err
	}
	due := doc.due(o.ID, current)
	if due.IsZero() || !p.DueAt.IsZero() && !due.Before(p.DueAt) {
		return nil
	}
	if p.DueAt.IsZero() {
		// A run that is open sets the next date at its end.
		if _, err := tx.OpenRun(ctx, o.ID, doc.Policy.runs()); !isMissing(err) {
			return err
		}
	}
	n := *p
	n.DueAt = due
	if n.Doc, err = json.Marshal(doc); err != nil {
		return err
	}
	return tx.PutPolicy(ctx, &n)
}
