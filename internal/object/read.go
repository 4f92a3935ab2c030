package object

import (
	"context"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// Record finds the sealed record of the selected version, in memory or in the store. The caller has authorised the work for which it is.
func (s *Objects) Record(ctx context.Context, call *guard.Call, sel *Selector) (*Record, error) {
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

// stored finds the sealed record of the selected version in the store.
func (s *Objects) stored(ctx context.Context, call *guard.Call, sel *Selector) (*Record, error) {
	key := cacheKey{call.Vault.Vault.ID, vault.NameKey(sel.Name)}
	return s.load(ctx, call, key, sel, s.cache.ticket(key))
}

func (s *Objects) load(ctx context.Context, call *guard.Call, key cacheKey, sel *Selector, t ticket) (rec *Record, err error) {
	v, hidden := call.Vault.Vault, false
	err = s.Store.View(ctx, func(tx store.Tx) error {
		found, err := tx.ObjectVersion(ctx, v.ID, s.Kind.Kind, sel.Name, sel.Version)
		if fault.Is(err, fault.NotFound) || err == nil && found.Object.Deleted != nil {
			return s.NotFound(sel.Name)
		}
		if err != nil {
			return err
		}
		o := found.Object
		id, err := sel.resolve(o, call)
		if err != nil {
			return err
		}
		find := s.version
		if hidden = sel.Label == vault.Candidate || sel.Candidate && id == o.LabelOf(vault.Candidate); hidden {
			find = s.candidate
		}
		ver := found.Version // nearly always the one that is meant
		if hidden || ver == nil || ver.ID != id || o.Hides(ver) {
			if ver, err = find(ctx, tx, o, id); err != nil {
				return err
			}
		}
		rec, err = newRecord(s.Kind.Kind, v, o, ver)
		return err
	})
	if err == nil && !hidden { // the cache does not ask by which name a version was found
		s.cache.put(key, rec, t)
	}
	return rec, err
}

// Meant returns an object with the version that the caller would read now who names none, for whoever tells callers of changes. The
// version is nil when there is nothing to read: the object is deleted, or has no current version yet. Without a trace of the name the
// object is nil too. It neither authorises nor records: the guard has admitted the caller to this object, and no value is opened.
func (s *Objects) Meant(ctx context.Context, call *guard.Call, name string) (Item, error) {
	rec, err := s.Record(ctx, call, &Selector{Name: name})
	if err == nil {
		return rec.Item, nil
	}
	if !fault.Is(err, fault.NotFound) {
		return Item{}, err
	}
	var item Item
	err = s.Store.View(ctx, func(tx store.Tx) error {
		o, err := tx.Object(ctx, call.Vault.Vault.ID, s.Kind.Kind, name)
		if fault.Is(err, fault.NotFound) {
			return nil
		}
		item.Object = o
		return err
	})
	return item, err
}

// List does a listing that the need allows: a page of live or deleted objects with their current versions, in the order of their names.
func (s *Objects) List(ctx context.Context, call *guard.Call, need guard.Need, p Page, gone bool) (l Listing, err error) {
	err = s.Guard.Read(ctx, call, &need, func() error {
		return s.Store.View(ctx, func(tx store.Tx) error {
			l, err = listing(ctx, tx, store.ObjectQuery{Vault: call.Vault.Vault.ID, Kind: s.Kind.Kind, Deleted: gone, After: p.After, Limit: p.Limit})
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

// Versions does a listing that the need allows: a page of a live object's versions that callers may see, in ascending order of their ids.
func (s *Objects) Versions(ctx context.Context, call *guard.Call, need guard.Need, name string, p Page) (l Listing, err error) {
	err = s.Guard.Read(ctx, call, &need, func() error {
		l, err = s.versions(ctx, call.Vault.Vault, name, p)
		return err
	})
	return l, err
}

// versions lists a page of what callers may see of a live object.
func (s *Objects) versions(ctx context.Context, v *vault.Vault, name string, p Page) (l Listing, err error) {
	err = s.Store.View(ctx, func(tx store.Tx) error {
		l = Listing{}
		o, err := s.Live(ctx, tx, v.ID, name)
		if fault.Is(err, fault.NotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		found, err := tx.Versions(ctx, o.ID, vault.VersionID(p.After), p.Limit)
		for _, ver := range found {
			if !o.Hides(ver) {
				l.Items = append(l.Items, Item{Object: o, Version: ver})
			}
		}
		if len(found) > 0 && len(found) == p.Limit {
			l.Next = string(found[len(found)-1].ID)
		}
		return err
	})
	return l, err
}

// withCurrent returns an object with its current version; while it has none, with the one that is to be the first, or without any.
func withCurrent(ctx context.Context, tx store.Tx, o *vault.Object) (it Item, err error) {
	it.Object = o
	id := o.Current
	if id == "" {
		id = o.LabelOf(vault.Pending)
	}
	if id != "" {
		it.Version, err = tx.Version(ctx, o.ID, id)
	}
	return it, err
}
