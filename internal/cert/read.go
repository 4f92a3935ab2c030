package cert

import (
	"context"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// Get returns the selected version with the certificate's policy, which is nil when it has none.
func (s *Service) Get(ctx context.Context, call *guard.Call, sel Selector) (it Item, p *Policy, err error) {
	if err := CheckName(sel.Name); err != nil {
		return Item{}, nil, err
	}
	need := guard.Need{Action: authz.CertificateGet, Kind: vault.Certificate, Name: sel.Name, Version: sel.Version}
	err = s.Guard.Read(ctx, call, &need, func() error {
		rec, err := s.objects.Record(ctx, call, &sel)
		if fault.Is(err, fault.NotFound) && sel.Version == "" {
			it, p, err = s.waiting(ctx, call.Vault.Vault, sel.Name)
			return err
		}
		if err != nil {
			return err
		}
		it = rec.Item
		need.Name, need.Version = it.Object.Name, it.Version.ID
		return s.Store.View(ctx, func(tx store.Tx) error {
			st, err := stateOf(ctx, tx, it.Object.ID)
			if err == nil {
				p = st.Policy
			}
			return err
		})
	})
	return it, p, err
}

// waiting returns a certificate whose first version waits for its issuer.
func (s *Service) waiting(ctx context.Context, v *vault.Vault, name string) (it Item, p *Policy, err error) {
	err = s.Store.View(ctx, func(tx store.Tx) error {
		if it, err = s.current(ctx, tx, v, name); err != nil {
			return err
		}
		if it.Object.Current != "" || it.Version == nil {
			return s.objects.NotFound(name)
		}
		st, err := stateOf(ctx, tx, it.Object.ID)
		p = st.Policy
		return err
	})
	return it, p, err
}

// current returns a live certificate with its current version, or with the one that waits while there is none.
func (s *Service) current(ctx context.Context, tx store.Tx, v *vault.Vault, name string) (it Item, err error) {
	if it.Object, err = s.objects.Live(ctx, tx, v.ID, name); err != nil {
		return it, err
	}
	id := it.Object.Current
	if id == "" {
		id = it.Object.LabelOf(vault.Pending)
	}
	if id != "" {
		it.Version, err = tx.Version(ctx, it.Object.ID, id)
	}
	return it, err
}

// selected returns a live certificate with the version that is named, or like current.
func (s *Service) selected(ctx context.Context, tx store.Tx, v *vault.Vault, sel Selector) (it Item, err error) {
	it, err = s.current(ctx, tx, v, sel.Name)
	if err == nil && sel.Version != "" {
		it.Version, err = tx.Version(ctx, it.Object.ID, sel.Version)
		if fault.Is(err, fault.NotFound) || err == nil && it.Object.Hides(it.Version) {
			err = fault.New(fault.NotFound, "the certificate %q has no version %q: list its versions to see those that it has", it.Object.Name, sel.Version).Because(notFound)
		}
	}
	if err == nil && it.Version == nil {
		err = s.objects.NotFound(sel.Name)
	}
	return it, err
}

// Policy returns the policy of a live certificate.
func (s *Service) Policy(ctx context.Context, call *guard.Call, name string) (o *vault.Object, p *Policy, err error) {
	if err := CheckName(name); err != nil {
		return nil, nil, err
	}
	need := guard.Need{Action: authz.CertificateGet, Kind: vault.Certificate, Name: name}
	err = s.Guard.Read(ctx, call, &need, func() error {
		return s.Store.View(ctx, func(tx store.Tx) error {
			var st *state
			o, st, err = s.withPolicy(ctx, tx, call.Vault.Vault, name)
			if err == nil {
				p, need.Name = st.Policy, o.Name
			}
			return err
		})
	})
	return o, p, err
}

func (s *Service) withPolicy(ctx context.Context, tx store.Tx, v *vault.Vault, name string) (*vault.Object, *state, error) {
	o, err := s.objects.Live(ctx, tx, v.ID, name)
	if err != nil {
		return nil, nil, err
	}
	st, err := stateOf(ctx, tx, o.ID)
	if err == nil && st.Policy == nil {
		err = fault.New(fault.NotFound, "the certificate %q has no policy: set one", o.Name).Because("CertificatePolicyNotFound")
	}
	return o, st, err
}
