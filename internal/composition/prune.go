package composition

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// pruneEvery is how often is looked for what need not be remembered any more. Nothing waits for it: what is remembered for too long costs a few bytes.
const pruneEvery = time.Hour

// prune forgets what values were made of once nobody can need it: of secrets that were purged, and of secrets without a template those values of which no part is left
// that could be revoked.
func (s *Service) prune(ctx context.Context, v *vault.Vault) error {
	worth := false
	look := func(tx store.Tx) (book, bool, error) {
		b, err := readBook(ctx, tx, v.ID)
		if err != nil {
			return nil, false, err
		}
		changed := false
		for id, c := range b {
			left, err := remembered(ctx, tx, v.ID, id, c)
			if err != nil {
				return nil, false, err
			}
			if left == nil {
				delete(b, id)
			}
			if left == nil || len(left.Made) < len(c.Made) {
				changed = true
			}
			if left != nil {
				b[id] = left
			}
		}
		return b, changed, nil
	}
	err := s.Store.View(ctx, func(tx store.Tx) (err error) {
		_, worth, err = look(tx)
		return err
	})
	if err != nil || !worth {
		return err
	}
	return s.Store.Update(ctx, store.NewOp(s.Clock.Now()), func(tx store.Tx) error {
		b, changed, err := look(tx)
		if err != nil || !changed {
			return err
		}
		return b.write(ctx, tx, v.ID)
	})
}

// remembered is what is left to remember of a secret; nil when that is nothing.
func remembered(ctx context.Context, tx store.Tx, v vault.ID, id vault.ObjectID, c *Composed) (*Composed, error) {
	o, err := tx.Object(ctx, v, vault.Secret, c.Name)
	switch {
	case fault.Is(err, fault.NotFound), err == nil && o.ID != id:
		return nil, nil // it was purged, and nobody can be asked about it
	case err != nil:
		return nil, err
	case c.Template != "":
		return c, nil
	}
	left := *c
	left.Made = nil
	for _, m := range c.Made {
		needed, err := revocable(ctx, tx, v, m.Parts)
		if err != nil {
			return nil, err
		}
		if needed {
			left.Made = append(left.Made, m)
		}
	}
	if len(left.Made) == 0 && c.First != "" { // what is not remembered in detail may be made of parts that are left
		left.Made = slices.Clone(c.Made[len(c.Made)-1:])
	}
	if len(left.Made) == 0 {
		return nil, nil
	}
	return &left, nil
}

// revocable reports whether one of the parts of a value is a version that is still there and was not revoked.
func revocable(ctx context.Context, tx store.Tx, v vault.ID, parts map[string]vault.VersionID) (bool, error) {
	for name, id := range parts {
		o, err := tx.Object(ctx, v, vault.Secret, name)
		var ver *vault.Version
		if err == nil {
			ver, err = tx.Version(ctx, o.ID, id)
		}
		switch {
		case fault.Is(err, fault.NotFound):
		case err != nil:
			return false, err
		case ver.State != vault.Retired:
			return true, nil
		}
	}
	return false, nil
}

// pruneAll looks into every book, if it is time.
func (s *Service) pruneAll(ctx context.Context, vaults []*vault.Vault, books map[vault.ID]book) error {
	now := s.Clock.Now()
	s.mu.Lock()
	due := now.Sub(s.pruned) >= pruneEvery || now.Before(s.pruned)
	if due {
		s.pruned = now
	}
	s.mu.Unlock()
	if !due {
		return nil
	}
	var errs []error
	for _, v := range vaults {
		if len(books[v.ID]) > 0 {
			errs = append(errs, s.prune(ctx, v))
		}
	}
	return errors.Join(errs...)
}
