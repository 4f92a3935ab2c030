package cert

import (
	"context"

	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/store"
)

// The life of a certificate is that of every object, but its doors show the policy along with it.

// ListMade is List without the certificates of which no version is made yet.
func (s *Service) ListMade(ctx context.Context, call *guard.Call, p Page) (Listing, error) {
	l, err := s.List(ctx, call, p)
	made := l.Items[:0]
	for _, it := range l.Items {
		if it.Version != nil {
			made = append(made, it)
		}
	}
	l.Items = made
	return l, err
}

// DeleteWithPolicy deletes a certificate, with the key and the secret behind it.
func (s *Service) DeleteWithPolicy(ctx context.Context, call *guard.Call, name string) (Item, *Policy, error) {
	it, err := s.Delete(ctx, call, name)
	return s.withPolicyOf(ctx, it, err)
}

// GetDeletedWithPolicy shows a deleted certificate.
func (s *Service) GetDeletedWithPolicy(ctx context.Context, call *guard.Call, name string) (Item, *Policy, error) {
	it, err := s.GetDeleted(ctx, call, name)
	return s.withPolicyOf(ctx, it, err)
}

// RecoverWithPolicy brings a deleted certificate back, with the key and the secret behind it.
func (s *Service) RecoverWithPolicy(ctx context.Context, call *guard.Call, name string) (Item, *Policy, error) {
	it, err := s.Recover(ctx, call, name)
	return s.withPolicyOf(ctx, it, err)
}

// withPolicyOf adds the policy to what a caller was given.
func (s *Service) withPolicyOf(ctx context.Context, it Item, err error) (Item, *Policy, error) {
	if err != nil {
		return it, nil, err
	}
	var p *Policy
	err = s.Store.View(ctx, func(tx store.Tx) error {
		st, err := stateOf(ctx, tx, it.Object.ID)
		if err == nil {
			p = st.Policy
		}
		return err
	})
	return it, p, err
}
