package rotation

import (
	"context"
	"slices"
	"time"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// An older version that leaked while its target may still accept it. Its revocation is a job of its own, and waits for nobody: not for its consumers, and not for the
// rotation that the leak starts, which may get stuck.

// planLeak finds where an older version sits that leaked. It returns nil where there is nothing to revoke apart from what the rotation does: the version is the current one,
// or the target has refused it for long.
func (e *Engine) planLeak(ctx context.Context, v *vault.Vault, name string, start *Start) *Run {
	if start.Cause != Leaked {
		return nil
	}
	plan, err := e.planRevocation(ctx, v, name, start.Version)
	if err != nil {
		if !fault.Is(err, fault.Conflict) && !fault.Is(err, fault.NotFound) {
			e.Logger.Error("where a leaked version sits could not be found out: it goes with the rotation", "object", name, "version", start.Version, "error", err)
		}
		return nil
	}
	return plan
}

// endLeak opens the revocation of a leaked version as planLeak found it, beside the rotation of the leak; one that is open already ends that version first.
func endLeak(ctx context.Context, tx store.Tx, plan *Run, id store.RunID, rotation *Run, start Start, now time.Time) error {
	if o, err := tx.Object(ctx, plan.Vault, vault.Secret, plan.NameKey); err != nil || o.Current == start.Version {
		return err // somebody has just returned to it: the rotation replaces it
	}
	open, err := tx.OpenRun(ctx, plan.Object, store.RevocationRun)
	if err == nil {
		at := plan.Places[start.Version]
		_, err = take(ctx, tx, open.ID, Order{Kind: LeakOrder, At: now, By: start.Actor, Note: start.Note, Version: start.Version, Place: &at})
		return err
	}
	if !isMissing(err) {
		return err
	}
	parent := *plan
	parent.ID, parent.Start, parent.Rank = rotation.ID, start, start.Cause.rank()
	n := parent.Revocation(id, Effect{Version: plan.Base, Old: []vault.VersionID{start.Version}}, now)
	record, err := n.Record()
	if err != nil {
		return err
	}
	return tx.PutRun(ctx, record)
}

// leaked puts a version first that has to go at once; what is being revoked at this moment comes to its end before.
func (m *machine) leaked(o Order) {
	m.Rank = urgentRank
	m.Leaked = append(slices.Clone(m.Leaked), o.Version)
	if o.Version == m.Current || o.Version == m.old() {
		return
	}
	m.Places = withPlace(m.Places, o.Version, *o.Place)
	m.Old = slices.DeleteFunc(m.Old, func(v vault.VersionID) bool { return v == o.Version })
	if m.State != Awaiting && m.State != Held {
		m.Old = slices.Insert(m.Old, 1, o.Version)
		return
	}
	m.Old = slices.Insert(m.Old, 0, o.Version)
	m.rest()
}

// forced is why consumers of the version that goes next are not waited for; empty when they are.
func (m *machine) forced() Reason {
	if m.Forced == "" && slices.Contains(m.Leaked, m.old()) {
		return Reason(Leaked)
	}
	return m.Forced
}

// cutsSessions reports whether the sessions of the version that goes next end with it.
func (m *machine) cutsSessions() bool {
	return m.Start.Cause.Urgent() || slices.Contains(m.Leaked, m.old())
}
