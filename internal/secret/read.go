package secret

import (
	"context"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/keyring"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// Get returns the selected version and its value, appended to dst. A disabled version is a fault.Forbidden with reason
// SecretDisabled. The caller zeroes the value when it has been sent.
func (s *Service) Get(ctx context.Context, call *guard.Call, sel Selector, dst []byte) (Item, []byte, error) {
	if err := vault.CheckObjectName(sel.Name); err != nil {
		return Item{}, dst, err
	}
	need := guard.Need{Action: authz.SecretGet, Kind: vault.Secret, Name: sel.Name}
	var item Item
	err := s.Guard.Read(ctx, call, &need, func() error {
		rec, err := s.record(ctx, call, &sel)
		if err != nil {
			return err
		}
		item = rec.Item
		need.Name, need.Version = item.Object.Name, item.Version.ID
		if !item.Version.Attributes.Enabled {
			return fault.New(fault.Forbidden, "the operation get is not allowed on a disabled secret: enable version %s of %q first",
				item.Version.ID, item.Object.Name).Because("SecretDisabled")
		}
		dst, err = rec.open(ctx, s.Keys, dst)
		return err
	})
	return item, dst, err
}

// record finds the sealed record of the selected version, in the cache or in the store.
func (s *Service) record(ctx context.Context, call *guard.Call, sel *Selector) (*record, error) {
	v := call.Vault.Vault
	key := cacheKey{v.ID, vault.NameKey(sel.Name)}
	rec, ticket := s.cache.get(key, sel.Version, sel.Label)
	if rec != nil && (rec.rollout == nil || sel.Version != "" || sel.Label != "") {
		return rec, nil
	}
	if rec != nil {
		id := rec.rollout.Resolve(consumer(call))
		if id == rec.Version.ID {
			return rec, nil
		}
		if rec, ticket = s.cache.get(key, id, ""); rec != nil {
			return rec, nil
		}
	}
	return s.load(ctx, call, key, sel, ticket)
}

func (s *Service) load(ctx context.Context, call *guard.Call, key cacheKey, sel *Selector, t ticket) (rec *record, err error) {
	v, hidden := call.Vault.Vault, false
	err = s.Store.View(ctx, func(tx store.Tx) error {
		o, err := live(ctx, tx, v.ID, sel.Name)
		if err != nil {
			return err
		}
		id, err := sel.resolve(o, call)
		if err != nil {
			return err
		}
		find := version
		if hidden = sel.Label == vault.Candidate || sel.Candidate && id == o.LabelOf(vault.Candidate); hidden {
			find = candidate
		}
		ver, err := find(ctx, tx, o, id)
		if err != nil {
			return err
		}
		rec, err = newRecord(v, o, ver)
		return err
	})
	if err == nil && !hidden { // the cache does not ask by which name a version was found
		s.cache.put(key, rec, t)
	}
	return rec, err
}

func place(v *vault.Vault, o *vault.Object, id vault.VersionID) keyring.Place {
	return keyring.Place{Tenant: v.Tenant, Vault: v.ID, Object: o.ID, Version: id}
}

// List returns a page of live secrets with their current versions, in the order of their names.
func (s *Service) List(ctx context.Context, call *guard.Call, p Page) (Listing, error) {
	return s.list(ctx, call, p, false)
}

// ListDeleted returns a page of deleted secrets, like List.
func (s *Service) ListDeleted(ctx context.Context, call *guard.Call, p Page) (Listing, error) {
	return s.list(ctx, call, p, true)
}

func (s *Service) list(ctx context.Context, call *guard.Call, p Page, gone bool) (l Listing, err error) {
	need := guard.Need{Action: authz.SecretList, Kind: vault.Secret}
	err = s.Guard.Read(ctx, call, &need, func() error {
		return s.Store.View(ctx, func(tx store.Tx) error {
			l, err = listing(ctx, tx, store.ObjectQuery{Vault: call.Vault.Vault.ID, Kind: vault.Secret, Deleted: gone, After: p.After, Limit: p.Limit})
			return err
		})
	})
	return l, err
}

func listing(ctx context.Context, tx store.Tx, q store.ObjectQuery) (Listing, error) {
	found, err := tx.CurrentVersions(ctx, q)
	l := Listing{Items: make([]Item, 0, len(found))}
	for _, f := range found {
		l.Items = append(l.Items, Item(f))
	}
	if len(found) > 0 && len(found) == q.Limit {
		l.Next = vault.NameKey(found[len(found)-1].Object.Name)
	}
	return l, err
}

// Versions returns a page of a live secret's versions in ascending order of their ids. Versions that the object hides are left out. An unknown name has none.
func (s *Service) Versions(ctx context.Context, call *guard.Call, name string, p Page) (Listing, error) {
	if err := vault.CheckObjectName(name); err != nil {
		return Listing{}, err
	}
	need := guard.Need{Action: authz.SecretList, Kind: vault.Secret, Name: name}
	var l Listing
	err := s.Guard.Read(ctx, call, &need, func() error {
		return s.Store.View(ctx, func(tx store.Tx) error {
			l = Listing{}
			o, err := live(ctx, tx, call.Vault.Vault.ID, name)
			if fault.Is(err, fault.NotFound) {
				return nil
			}
			if err != nil {
				return err
			}
			found, err := tx.Versions(ctx, o.ID, vault.VersionID(p.After), p.Limit)
			for _, v := range found {
				if !o.Hides(v) {
					l.Items = append(l.Items, Item{Object: o, Version: v})
				}
			}
			if len(found) == p.Limit {
				l.Next = string(found[len(found)-1].ID)
			}
			return err
		})
	})
	return l, err
}

// GetDeleted returns a deleted secret with its current version.
func (s *Service) GetDeleted(ctx context.Context, call *guard.Call, name string) (Item, error) {
	if err := vault.CheckObjectName(name); err != nil {
		return Item{}, err
	}
	need := guard.Need{Action: authz.SecretGetDeleted, Kind: vault.Secret, Name: name}
	var item Item
	err := s.Guard.Read(ctx, call, &need, func() error {
		return s.Store.View(ctx, func(tx store.Tx) error {
			o, err := deleted(ctx, tx, call.Vault.Vault.ID, name)
			if err != nil {
				return err
			}
			item, err = withCurrent(ctx, tx, o)
			return err
		})
	})
	return item, err
}

func withCurrent(ctx context.Context, tx store.Tx, o *vault.Object) (Item, error) {
	v, err := tx.Version(ctx, o.ID, o.Current)
	return Item{Object: o, Version: v}, err
}
