package cert

import (
	"context"
	"maps"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// Change is what to change of a version: a nil member stays as it is. The time for which a certificate is valid stands in it and cannot be changed.
type Change struct {
	// Tags replaces the whole map.
	Tags    map[string]string
	Enabled *bool
	// Policy changes the certificate's policy, from its next version on.
	Policy *PolicyChange
}

// Update changes a version and, with it, the key and the secret behind it. Without a version in the selector it changes the current one.
func (s *Service) Update(ctx context.Context, call *guard.Call, sel Selector, ch Change) (it Item, p *Policy, err error) {
	if err := CheckName(sel.Name); err != nil {
		return Item{}, nil, err
	}
	need := guard.Need{Action: authz.CertificateUpdate, Kind: vault.Certificate, Name: sel.Name, Version: sel.Version}
	if err := s.Guard.Authorize(ctx, call, &need); err != nil {
		return Item{}, nil, err
	}
	if err := vault.CheckTags(ch.Tags); err != nil {
		return Item{}, nil, s.Guard.Refuse(ctx, call, need, err)
	}
	v, op := call.Vault.Vault, store.NewOp(s.Clock.Now())
	err = s.Guard.Commit(ctx, call, need, op, func(tx store.Tx) error {
		it, p, err = s.update(ctx, tx, v, sel, &ch, op)
		return err
	})
	return it, p, err
}

func (s *Service) update(ctx context.Context, tx store.Tx, v *vault.Vault, sel Selector, ch *Change, op store.Op) (it Item, p *Policy, err error) {
	if it, err = s.selected(ctx, tx, v, sel); err != nil {
		return it, nil, err
	}
	edit := func(ver *vault.Version) {
		if ch.Tags != nil {
			ver.Tags = maps.Clone(ch.Tags)
		}
		ver.Attributes = ver.Attributes.With(ch.Enabled, nil, nil)
		ver.Attributes.Updated = op.At
	}
	if err := s.own.Change(ctx, tx, v, it.Object.Name, it.Version.ID, edit); err != nil {
		return it, nil, err
	}
	if err := s.keys.Change(ctx, tx, v, it.Object.Name, it.Version.ID, edit); err != nil {
		return it, nil, err
	}
	if err := s.secrets.Change(ctx, tx, v, it.Object.Name, it.Version.ID, edit); err != nil {
		return it, nil, err
	}
	if it.Version, err = tx.Version(ctx, it.Object.ID, it.Version.ID); err != nil {
		return it, nil, err
	}
	st, err := stateOf(ctx, tx, it.Object.ID)
	if err != nil {
		return it, nil, err
	}
	if made := st.Operation; made != nil && made.Version == it.Version.ID && made.Status != Completed {
		next := *made
		next.Tags, next.Enabled = it.Version.Tags, it.Version.Attributes.Enabled // what the version is to have when it is made
		st.Operation = &next
	}
	if ch.Policy != nil {
		st.Stalled = nil // it is tried at once, and noted anew
		if st.Policy, err = s.changed(st.Policy, ch.Policy, op); err != nil {
			return it, nil, err
		}
	}
	return it, st.Policy, s.putState(ctx, tx, v, it.Object, st)
}

// changed is a policy with some sections replaced.
func (s *Service) changed(p *Policy, ch *PolicyChange, op store.Op) (*Policy, error) {
	next := &Policy{}
	if p != nil {
		next = p.clone()
	}
	next.Apply(ch)
	if ch.Key != nil {
		if err := s.placed(&next.Key); err != nil {
			return nil, err
		}
	}
	next.complete()
	if err := next.check(); err != nil {
		return nil, err
	}
	return next.stamped(p, op.At), nil
}

// SetPolicy replaces sections of a certificate's policy. It counts from the next version on; its lifetime actions count at once.
func (s *Service) SetPolicy(ctx context.Context, call *guard.Call, name string, ch PolicyChange) (o *vault.Object, p *Policy, err error) {
	if err := CheckName(name); err != nil {
		return nil, nil, err
	}
	need := guard.Need{Action: authz.CertificateUpdate, Kind: vault.Certificate, Name: name}
	if err := s.Guard.Authorize(ctx, call, &need); err != nil {
		return nil, nil, err
	}
	v, op := call.Vault.Vault, store.NewOp(s.Clock.Now())
	err = s.Guard.Commit(ctx, call, need, op, func(tx store.Tx) error {
		if o, err = s.objects.Live(ctx, tx, v.ID, name); err != nil {
			return err
		}
		st, err := stateOf(ctx, tx, o.ID)
		if err != nil {
			return err
		}
		st.Stalled = nil
		if st.Policy, err = s.changed(st.Policy, &ch, op); err != nil {
			return err
		}
		p = st.Policy
		return s.putState(ctx, tx, v, o, st)
	})
	return o, p, err
}
