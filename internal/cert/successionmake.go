package cert

import (
	"context"
	"time"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/issuer"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// Made is how far the making of a version has come.
type Made struct {
	// Version is the new one; empty while it is not there. Detail says what its issuer waits for then.
	Version vault.VersionID
	Detail  string
}

// Make makes the next version of a claimed authority, with a key of its own, or says how far it is. after is the version that the run found: a newer current one is the run's
// own, since nobody else could make it. So it may be asked again after a crash.
func (c *Succession) Make(ctx context.Context, name string, after vault.VersionID) (Made, error) {
	o, st, m, err := c.look(ctx, name, after)
	switch {
	case err != nil || m.Version != "":
		return m, err
	case st.running():
		// Whoever made the request may have died before its issuer was asked.
		err := c.s.advance(ctx, c.v, o.ID, true)
		if _, _, m, lookErr := c.look(ctx, name, after); lookErr != nil || m.Version != "" {
			return m, lookErr
		}
		return m, err
	case st.Operation != nil && st.Operation.Status == Failed && st.Operation.Version > after && !c.s.worthAgain(st.Operation):
		return m, fault.New(fault.Unavailable, "the version %s of %q was not issued: %s", st.Operation.Version, o.Name, st.Operation.Message)
	}
	call := c.s.system(c.v, "AuthoritySucceed")
	call.Correlation = c.run
	need := guard.Need{Action: authz.CertificateCreate, Kind: vault.Certificate, Name: o.Name, Reason: "run " + c.run}
	enabled, tags := true, map[string]string(nil)
	err = c.s.Store.View(ctx, func(tx store.Tx) error {
		ver, err := tx.Version(ctx, o.ID, o.Current)
		if err == nil {
			tags = ver.Tags
		}
		return err
	})
	if err != nil {
		return m, err
	}
	if _, _, err := c.s.begin(ctx, call, need, Input{Tags: tags, Enabled: &enabled, run: c.run}, true); err != nil {
		return m, err
	}
	_, st, m, err = c.look(ctx, name, after)
	if err == nil && m.Version == "" && st.Operation != nil && st.Operation.Status == Failed {
		err = fault.New(fault.Unavailable, "the issuer does not make the successor of %q: %s", o.Name, st.Operation.Message)
	}
	return m, err
}

// worthAgain is how long a failed request rests before another one is made: each makes a key.
func (s *Service) worthAgain(op *Operation) bool { return s.Clock.Now().Sub(op.Started) > time.Second }

// Unmake gives up the version that is being made. What is returned was made all the same.
func (c *Succession) Unmake(ctx context.Context, name string, after vault.VersionID) (Made, error) {
	o, st, m, err := c.look(ctx, name, after)
	if err != nil || m.Version != "" || !st.running() {
		return m, err
	}
	err = c.s.unlessMoved(ctx, func(tx store.Tx) error {
		now, err := stateOf(ctx, tx, o.ID)
		if err != nil || !now.running() {
			return err
		}
		ended := *now.Operation
		ended.Status, ended.Cancelled, ended.Details = Cancelled, true, "The change of the authority was aborted."
		now.Operation = &ended
		return c.s.putState(ctx, tx, c.v, o, now)
	})
	if err != nil {
		return m, err
	}
	c.s.giveUp(ctx, c.v, o, st)
	_, _, m, err = c.look(ctx, name, after)
	return m, err
}

func (c *Succession) look(ctx context.Context, name string, after vault.VersionID) (o *vault.Object, st *state, m Made, err error) {
	err = c.s.Store.View(ctx, func(tx store.Tx) error {
		m = Made{}
		if o, st, err = c.s.authorityOf(ctx, tx, c.v, name); err != nil {
			return err
		}
		if st.Lineage == nil || st.Lineage.Run != c.run {
			return lostClaim(o.Name)
		}
		if o.Current > after {
			m.Version = o.Current
		} else if st.running() {
			m.Detail = st.Operation.Details
		}
		return nil
	})
	return o, st, m, err
}

// Reissue begins to make a child anew by its policy, unless somebody does already. It may be asked again. What the issuer refused is its error.
func (c *Succession) Reissue(ctx context.Context, ch Child) error {
	var it Item
	var st *state
	err := c.s.Store.View(ctx, func(tx store.Tx) (err error) {
		if st, err = stateOf(ctx, tx, ch.Object); err != nil {
			return err
		}
		if it.Object, err = c.s.own.Find(ctx, tx, ch.Vault.ID, ch.Name); err == nil {
			it.Version, err = tx.Version(ctx, it.Object.ID, it.Object.Current)
		}
		return err
	})
	if fault.Is(err, fault.NotFound) {
		return nil // it was deleted meanwhile
	}
	if err != nil || it.Object.ID != ch.Object {
		return err
	}
	if st.running() {
		return c.s.advance(ctx, ch.Vault, it.Object.ID, true)
	}
	err = c.s.renew(ctx, ch.Vault, it)
	if fault.Is(err, fault.Conflict) && fault.As(err).Reason == InProgressReason {
		return nil
	}
	if err != nil {
		return err
	}
	err = c.s.Store.View(ctx, func(tx store.Tx) (err error) {
		st, err = stateOf(ctx, tx, ch.Object)
		return err
	})
	if err == nil && st.Operation != nil && st.Operation.Status == Failed {
		return fault.New(fault.Unavailable, "%s", st.Operation.Message)
	}
	return err
}

// Withdraw has the versions of an authority that were signed by one above it taken back by that. A root can be taken back by nobody.
func (c *Succession) Withdraw(ctx context.Context, name string, versions []vault.VersionID, reason issuer.Reason) error {
	for _, id := range versions {
		it, leaf, ref, err := c.s.revoking(ctx, c.v, Selector{Name: name, Version: id})
		if err != nil {
			return err
		}
		if ref.Is(SelfIssuer) || ref.Is(UnknownIssuer) {
			return nil
		}
		by, err := c.s.issuer(ctx, c.v, it.Object.Name, ref)
		if err != nil {
			return err
		}
		revoker, ok := by.(issuer.Revoker)
		if !ok {
			return nil
		}
		// One of an authority that is gone itself is not on the records of its successor.
		if err := revoker.Revoke(ctx, leaf, reason); err != nil && !fault.Is(err, fault.NotFound) && !fault.Is(err, fault.Unsupported) {
			return err
		}
	}
	return nil
}
