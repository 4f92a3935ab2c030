package rotation

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// What follows in the store from a promotion, in its transaction: the revocation of what was replaced, and the next date.

// revoke opens the revocation of what was replaced. One that is open already ends in it, with what it had to do.
func (c *commit) revoke(ctx context.Context, tx store.Tx, e Effect) error {
	places, leaked := c.next.Places, []vault.VersionID(nil)
	open, err := tx.OpenRun(ctx, c.next.Object, store.RevocationRun)
	switch {
	case err == nil:
		r, err := ReadRun(open)
		if err != nil {
			return err
		}
		leaked = r.Leaked
		for _, v := range r.Old {
			if !slices.Contains(e.Old, v) && v != e.Version {
				e.Old = append([]vault.VersionID{v}, e.Old...)
			}
			if _, known := places[v]; !known {
				places = withPlace(places, v, r.Places[v])
			}
		}
		r.State, r.NextAt, r.Ended, r.Reason = Superseded, time.Time{}, c.op.At, Merged
		r.History = append(r.History, Move{At: c.op.At, To: Superseded, Reason: Merged})
		record, err := r.Record()
		if err != nil {
			return err
		}
		if err := tx.PutRun(ctx, record); err != nil {
			return err
		}
	case !isMissing(err):
		return err
	}
	n := c.next.Revocation(c.revocation, e, c.op.At)
	n.Places, n.Leaked = places, leaked
	record, err := n.Record()
	if err != nil {
		return err
	}
	return tx.PutRun(ctx, record)
}

// succeeded writes into the policy where versions sit now, and when the next run is due.
func (c *commit) succeeded(ctx context.Context, tx store.Tx, v vault.VersionID) error {
	p, doc, err := keptOf(ctx, tx, c.next.Object)
	if err != nil || p == nil {
		return err // nil when the policy was taken away while its last run went on
	}
	doc.State.Places = map[vault.VersionID]Place{v: c.next.Places[v]}
	for _, old := range c.next.Plan.Revoke {
		doc.State.Places[old] = c.next.Places[old]
	}
	doc.State.Succeeded, doc.State.Length = c.op.At, Duration(c.op.At.Sub(c.next.Began))
	ver, err := tx.Version(ctx, c.next.Object, v)
	if err != nil {
		return err
	}
	p.DueAt = doc.due(p.Object, ver)
	if p.Doc, err = json.Marshal(doc); err != nil {
		return err
	}
	return tx.PutPolicy(ctx, p)
}
