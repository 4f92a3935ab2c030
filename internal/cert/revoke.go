package cert

import (
	"context"
	"crypto/x509"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/issuer"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// Revoke has a version's certificate taken back by the issuer that the policy names; without a version in the selector, the current one's. Doing it again does nothing. A
// current version that its policy renews is renewed at once, if its issuer gives advice on that. The decision is on record before the issuer is asked: whoever gets an error may ask again.
//
// An issuer that takes nothing back is a fault.Unsupported, a certificate that it has not issued a fault.NotFound.
func (s *Service) Revoke(ctx context.Context, call *guard.Call, sel Selector, reason issuer.Reason) (it Item, err error) {
	if err := CheckName(sel.Name); err != nil {
		return Item{}, err
	}
	// Whoever takes a certificate back takes it from all who use it, as whoever deletes it does.
	need := guard.Need{Action: authz.CertificateDelete, Kind: vault.Certificate, Name: sel.Name, Version: sel.Version, Detail: "revoke"}
	if err := s.Guard.Authorize(ctx, call, &need); err != nil {
		return Item{}, err
	}
	refuse := func(err error) (Item, error) { return Item{}, s.Guard.Refuse(ctx, call, need, err) }
	if !reason.Known() {
		return refuse(fault.New(fault.Invalid, "certificates are not revoked for the reason %d: use 0 to 5, 9 or 10 (RFC 5280, section 5.3.1)", reason))
	}
	v := call.Vault.Vault
	it, leaf, ref, err := s.revoking(ctx, v, sel)
	if err != nil {
		return refuse(err)
	}
	by, err := s.issuer(ctx, v, it.Object.Name, ref)
	if err != nil {
		return refuse(err)
	}
	revoker, ok := by.(issuer.Revoker)
	if !ok {
		return refuse(fault.New(fault.Unsupported, "the issuer %s takes no certificates back: disable the version, and create another", ref.Name))
	}
	need.Version = it.Version.ID
	op := store.NewOp(s.Clock.Now())
	err = s.Guard.Commit(ctx, call, need, op, func(tx store.Tx) error {
		st, err := stateOf(ctx, tx, it.Object.ID)
		if err != nil || st.Advice == nil || st.Advice.Version != it.Version.ID {
			return err
		}
		soon := *st.Advice
		soon.AskAt = op.At
		st.Advice = &soon
		return s.putState(ctx, tx, v, it.Object, st)
	})
	if err != nil {
		return Item{}, err
	}
	if err := revoker.Revoke(ctx, leaf, reason); err != nil {
		return refuse(err)
	}
	s.Wake()
	return it, nil
}

// revoking finds a version with its certificate, and who has issued it.
func (s *Service) revoking(ctx context.Context, v *vault.Vault, sel Selector) (it Item, leaf *x509.Certificate, ref IssuerRef, err error) {
	err = s.Store.View(ctx, func(tx store.Tx) error {
		if it, err = s.selected(ctx, tx, v, sel); err != nil {
			return err
		}
		if it.Object.Hides(it.Version) { // it waits for its issuer
			return s.objects.NotFound(sel.Name)
		}
		st, err := stateOf(ctx, tx, it.Object.ID)
		if err == nil && st.Policy != nil {
			ref = st.Policy.Issuer
		}
		return err
	})
	if err != nil {
		return it, nil, ref, err
	}
	f, err := Describe(it.Version)
	if err != nil {
		return it, nil, ref, err
	}
	leaf, err = x509.ParseCertificate(f.Leaf)
	return it, leaf, ref, err
}
