package cert

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/object"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// due is when there is something to do for a certificate next; zero for never. An operation in progress has an instant of its own; one that lost it, because its
// certificate was deleted meanwhile, goes on at once.
func (st *state) due(it Item) time.Time {
	if it.Object.Deleted != nil || st.Policy == nil {
		return time.Time{}
	}
	if st.running() {
		if st.row.DueAt.IsZero() && !st.Operation.Issuer.Is(UnknownIssuer) {
			return st.Operation.Started
		}
		return st.row.DueAt
	}
	ver := it.Version
	if ver == nil || ver.ID != it.Object.Current || ver.Attributes.Expires.IsZero() || !ver.Attributes.Enabled {
		return time.Time{}
	}
	at, _ := st.next(ver)
	if a := st.advised(ver); a != nil && (at.IsZero() || a.AskAt.Before(at)) {
		return a.AskAt
	}
	return at
}

// next is the instant of the next lifetime action of a version, and whether that is to renew it.
func (st *state) next(ver *vault.Version) (at time.Time, renew bool) {
	a := &ver.Attributes
	at, renews := st.renewAt(ver)
	if st.Policy.Issuer.Is(UnknownIssuer) || st.Lineage != nil && st.Lineage.Bundle != "" {
		renews = false // a person has to, or a change of the authority, and people are told
	}
	if op := st.Operation; renews && op != nil && op.Version > ver.ID { // one that made nothing
		if again := op.Started.Add(afterFailure(a.Expires.Sub(op.Started))); again.After(at) {
			at = again
		}
	}
	told, tells := st.Policy.first(EmailContacts, a.NotBefore, a.Expires)
	tells = tells && st.Told != ver.ID
	switch {
	case renews && tells && told.Before(at), tells && !renews:
		return told, false
	case renews:
		return at, true
	}
	return time.Time{}, false
}

// renewRetry is when a renewal that could not begin is tried again, and the shortest time after which one that failed is. The longest is
// failedRetry: each try makes a key and a request, and an authority that refuses today seldom signs an hour later.
const (
	renewRetry  = time.Hour
	failedRetry = 24 * time.Hour
)

// issuersAtOnce is how many certificates are brought on at once: one authority that does not answer takes a minute to find out.
const issuersAtOnce = 4

// afterFailure is when a renewal that failed is tried again: ten times in what is left of the certificate's life, within the bounds.
func afterFailure(left time.Duration) time.Duration {
	return min(max(left/10, renewRetry), failedRetry)
}

// Due does what is due: it asks issuers after operations in progress, renews certificates, and tells who is to be told. It returns how many certificates it
// went over. It belongs to one background job, which calls it again and again, at once when Woken says so.
func (s *Service) Due(ctx context.Context) (n int, err error) {
	var seen atomic.Int64
	err = s.objects.EachDue(ctx, issuersAtOnce, func(row *store.Policy, now time.Time) (putOff time.Duration) {
		seen.Add(1)
		err := s.doDue(ctx, row, now)
		if err == nil {
			return 0
		}
		s.Logger.ErrorContext(ctx, "a certificate could not be brought on; it is tried again", "certificate", row.NameKey, "vault", row.Vault, "error", err)
		if fault.Is(err, fault.Unavailable) {
			return pollAgain // the store was away, say: whoever waits for an operation must not wait for the next hour
		}
		return renewRetry
	})
	return int(seen.Load()), err
}

// doDue does what is due for one certificate. Afterwards the row is due later, or the error says why not.
func (s *Service) doDue(ctx context.Context, row *store.Policy, now time.Time) error {
	var v *vault.Vault
	var it Item
	var st *state
	err := s.Store.View(ctx, func(tx store.Tx) (err error) {
		if v, err = tx.Vault(ctx, row.Vault); err != nil {
			return err
		}
		if st, err = stateOf(ctx, tx, row.Object); err != nil {
			return err
		}
		if it.Object, err = s.own.Find(ctx, tx, row.Vault, row.NameKey); err == nil && it.Object.Current != "" {
			it.Version, err = tx.Version(ctx, it.Object.ID, it.Object.Current)
		}
		return err
	})
	switch {
	case fault.Is(err, fault.NotFound):
		return s.forget(ctx, row)
	case err != nil:
		return err
	case v.Deleted != nil:
		return s.note(ctx, v, it.Object, st, now.Add(renewRetry)) // nobody tells when it is recovered
	case it.Object.Deleted != nil || st.revision() != row.Revision:
		return s.reckon(ctx, v, it, st)
	case st.running():
		return s.advance(ctx, v, it.Object.ID, false)
	}
	if at := st.due(it); at.IsZero() || at.After(now) {
		return s.reckon(ctx, v, it, st)
	}
	switch at, renew := st.next(it.Version); {
	case at.IsZero() || at.After(now):
		return s.ask(ctx, v, it, st)
	case renew:
		return s.renew(ctx, v, it)
	}
	return s.tell(ctx, v, it, st)
}

// renew begins an operation that makes the certificate anew, by its policy.
func (s *Service) renew(ctx context.Context, v *vault.Vault, it Item) error {
	call := s.system(v, "CertificateRenew")
	need := guard.Need{Action: authz.CertificateCreate, Kind: vault.Certificate, Name: it.Object.Name, Reason: "CertificatePolicy"}
	f, err := Describe(it.Version)
	if err != nil {
		return err
	}
	enabled := it.Version.Attributes.Enabled
	_, _, err = s.begin(ctx, call, need, Input{Tags: it.Version.Tags, Enabled: &enabled, PreserveOrder: f.PreserveOrder}, true)
	if err != nil {
		return s.stall(ctx, v, it, fmt.Errorf("renewing the certificate %q: %w", it.Object.Name, err))
	}
	return nil
}

// tell emits the event by which contacts hear that a certificate is to be seen to, once for a version, and writes to them where mail is set up.
func (s *Service) tell(ctx context.Context, v *vault.Vault, it Item, st *state) error {
	next := *st
	next.Told = it.Version.ID
	op := store.NewOp(s.Clock.Now())
	err := s.Store.Update(ctx, op, func(tx store.Tx) error {
		if err := s.objects.Emit(tx, string(op.ID), op.At, object.NearExpiry, v, it); err != nil {
			return err
		}
		if err := s.writeNear(ctx, tx, v, it, st, op); err != nil {
			return err
		}
		return next.put(ctx, tx, v, it.Object, next.due(it))
	})
	if fault.Is(err, fault.Conflict) {
		return nil
	}
	return err
}

// reckon moves the row to when it is due by what is known now.
func (s *Service) reckon(ctx context.Context, v *vault.Vault, it Item, st *state) error {
	return s.note(ctx, v, it.Object, st, st.due(it))
}

// forget removes a row whose certificate or vault is gone.
func (s *Service) forget(ctx context.Context, row *store.Policy) error {
	err := s.Store.Update(ctx, store.NewOp(s.Clock.Now()), func(tx store.Tx) error { return tx.DeletePolicy(ctx, row.Object) })
	if fault.Is(err, fault.NotFound) {
		return nil
	}
	return err
}
