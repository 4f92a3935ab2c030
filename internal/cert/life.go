package cert

import (
	"context"

	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/object"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// The life of a certificate is that of every object, but it takes a key and a secret along, and its doors show the policy with it. So the service has no
// object.Lifecycle to promote; what follows is all that there is.

// Changed replaces or drops what a commit made stale. It belongs to the store's watchers.
func (s *Service) Changed(c *store.Commit) {
	s.life.Changed(c)
	for i := range c.Changes {
		// The node whose turn it is may be another one than that where the certificate was asked for.
		if ch := &c.Changes[i]; ch.Kind == store.ObjectChanged && ch.Object == vault.Certificate {
			s.Wake()
			return
		}
	}
}

// Flush drops everything that is kept in memory: for a node that may have missed commits.
func (s *Service) Flush() { s.life.Flush() }

// Expiries returns what tells of expiries.
func (s *Service) Expiries() *object.Expiries { return s.life.Expiries() }

// List returns a page of live certificates with their current versions, in the order of their names, those of which none is made yet among them.
func (s *Service) List(ctx context.Context, call *guard.Call, p Page) (Listing, error) {
	return s.life.List(ctx, call, p)
}

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

// ListDeleted returns a page of deleted certificates, like List.
func (s *Service) ListDeleted(ctx context.Context, call *guard.Call, p Page) (Listing, error) {
	return s.life.ListDeleted(ctx, call, p)
}

// Versions returns a page of a live certificate's versions in ascending order of their ids. An unknown name has none.
func (s *Service) Versions(ctx context.Context, call *guard.Call, name string, p Page) (Listing, error) {
	return s.life.Versions(ctx, call, name, p)
}

// Delete soft-deletes a certificate with all of its versions, and with the key and the secret behind it.
func (s *Service) Delete(ctx context.Context, call *guard.Call, name string) (Item, *Policy, error) {
	it, err := s.life.Delete(ctx, call, name)
	return s.withPolicyOf(ctx, it, err)
}

// GetDeleted returns a deleted certificate with its current version, which is nil when none was made.
func (s *Service) GetDeleted(ctx context.Context, call *guard.Call, name string) (Item, *Policy, error) {
	it, err := s.life.GetDeleted(ctx, call, name)
	return s.withPolicyOf(ctx, it, err)
}

// Recover brings a deleted certificate back, with the key and the secret behind it. An operation that was in progress goes on.
func (s *Service) Recover(ctx context.Context, call *guard.Call, name string) (Item, *Policy, error) {
	it, err := s.life.Recover(ctx, call, name)
	if err == nil {
		s.Wake()
	}
	return s.withPolicyOf(ctx, it, err)
}

// Backups tells who may purge a deleted certificate until when backups of it can bring it back.
func (s *Service) Backups(ctx context.Context, call *guard.Call, name string) (object.Backups, error) {
	return s.life.Backups(ctx, call, name)
}

// Purge destroys a deleted certificate for good, with its policy and with the key and the secret behind it.
func (s *Service) Purge(ctx context.Context, call *guard.Call, name string) error {
	if err := s.life.Purge(ctx, call, name); err != nil {
		return err
	}
	s.keys.Purged(ctx, name)
	return nil
}

// AdmitRestore reports whether the caller may restore certificates at all: it is asked before a backup, which is large, is read.
func (s *Service) AdmitRestore(ctx context.Context, call *guard.Call) error {
	return s.life.AdmitRestore(ctx, call)
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
