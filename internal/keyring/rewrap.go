package keyring

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// A walk goes over all versions of a vault and moves to its newest key what others protect. It goes on where it was after a crash, on whichever node does it
// next; and it begins anew until one way through the vault finds nothing more, because objects may be written behind its back by nodes that learn of the new key
// a moment later, and move between the live and the deleted ones.

// walk is how far it is, as the store keeps it beside what it moved.
type walk struct {
	// To is the id of the key to which versions are moved.
	To string
	// Seen and Moved count versions, since the first way through the vault began. Found says that the present one found some to move.
	Seen, Moved int64
	Found       bool
	At          position
	Started     time.Time
	Done        bool
}

// position is a place in the order of a vault's versions: behind the version of the object, which comes first behind After.
type position struct {
	Kind    int
	Deleted bool
	After   string
	Object  vault.ObjectID
	Version vault.VersionID
}

// Bounds of a step: how many versions it looks at, and how many it changes in its transaction.
const (
	seenPerStep  = 512
	movedPerStep = 128
	// savedEvery is how many steps that changed nothing pass between two notes of the place.
	savedEvery = 16
	// longestPause bounds the rest between two steps, which is as long as the step was: a walk takes half of what it could.
	longestPause = time.Second
)

func walkName(id vault.ID) string { return "keyring-walk/" + string(id) }

func loadWalk(ctx context.Context, tx store.Tx, id vault.ID) (w walk, err error) {
	text, err := tx.Setting(ctx, walkName(id))
	if fault.Is(err, fault.NotFound) {
		return w, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &w)
	}
	return w, err
}

func (w *walk) save(ctx context.Context, tx store.Tx, id vault.ID) error {
	text, err := json.Marshal(w)
	if err != nil {
		return err
	}
	return tx.PutSetting(ctx, walkName(id), text)
}

// resealed is a version whose data key is to be wrapped anew, or replaced.
type resealed struct {
	object   vault.ObjectID
	version  vault.VersionID
	from, to vault.Envelope
}

// ResealVault moves the data keys of all versions in the vault under its newest key, in small transactions, and returns how many it moved. No value is
// decrypted, unless its data key is to be renewed. It goes on where a call before was interrupted.
func (k *Keyring) ResealVault(ctx context.Context, tenant vault.TenantID, id vault.ID) (int, error) {
	newest, err := k.vaultKey(ctx, Place{Tenant: tenant, Vault: id})
	if err != nil {
		return 0, err
	}
	var w walk
	if err := k.store.View(ctx, func(tx store.Tx) (err error) {
		w, err = loadWalk(ctx, tx, id)
		return err
	}); err != nil {
		return 0, err
	}
	if w.To != newest.row.ID || w.Done {
		w = walk{To: newest.row.ID, Started: k.clock.Now().UTC()}
	}
	total, errs := 0, []error(nil)
	for step := 1; !w.Done; step++ {
		began := time.Now()
		n, end, bad, err := k.walkStep(ctx, tenant, id, &w, step)
		total += n
		if errs = append(errs, bad...); len(errs) > maxWalkErrors {
			errs = errs[:maxWalkErrors]
		}
		if err != nil {
			return total, errors.Join(append(errs, err)...)
		}
		if end && len(errs) > 0 {
			return total, errors.Join(errs...) // the next call begins anew
		}
		if err := pause(ctx, time.Since(began)); err != nil {
			return total, err
		}
	}
	return total, nil
}

// maxWalkErrors bounds how many versions that do not open are told.
const maxWalkErrors = 10

func pause(ctx context.Context, worked time.Duration) error {
	t := time.NewTimer(min(worked, longestPause))
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// walkStep looks at the next versions, moves those that are to be moved, and notes the place. What does not open is told, and stays.
func (k *Keyring) walkStep(ctx context.Context, tenant vault.TenantID, id vault.ID, w *walk, step int) (n int, end bool, bad []error, err error) {
	var part []resealed
	next, seen := w.At, int64(0)
	if err := k.store.View(ctx, func(tx store.Tx) error {
		part, seen, next = part[:0], 0, w.At
		end, err = walkVersions(ctx, tx, id, &next, func(o *vault.Object, v *vault.Version) bool {
			if seen++; v.Value.Key != "" && v.Value.Key != w.To {
				part = append(part, resealed{object: o.ID, version: v.ID, from: v.Value})
			}
			return seen < seenPerStep && len(part) < movedPerStep
		})
		return err
	}); err != nil {
		return 0, false, nil, err
	}
	part, bad = k.resealAll(ctx, tenant, id, part)
	if ctx.Err() != nil {
		return 0, false, nil, ctx.Err()
	}
	after := *w
	after.At, after.Seen, after.Found = next, w.Seen+seen, w.Found || len(part)+len(bad) > 0
	if end {
		after.Done, after.Found, after.At = !after.Found, false, position{}
	}
	if len(part) == 0 && !end && step%savedEvery != 0 {
		*w = after
		return 0, false, bad, nil
	}
	if n, err = k.putResealed(ctx, id, part, &after); err != nil {
		return 0, false, bad, err
	}
	*w = after
	return n, end, bad, nil
}

func (k *Keyring) resealAll(ctx context.Context, tenant vault.TenantID, id vault.ID, part []resealed) (good []resealed, bad []error) {
	for _, r := range part {
		p := Place{Tenant: tenant, Vault: id, Object: r.object, Version: r.version}
		var err error
		if r.to, err = k.Reseal(ctx, p, r.from); err != nil {
			bad = append(bad, fmt.Errorf("resealing version %s of object %s: %w", p.Version, p.Object, err))
			continue
		}
		good = append(good, r)
	}
	return good, bad
}

// putResealed stores what was moved, with the place of the walk, and marks the old keys when the walk is done.
func (k *Keyring) putResealed(ctx context.Context, id vault.ID, part []resealed, w *walk) (n int, err error) {
	moved := w.Moved
	var changed []string
	_, err = k.maintaining(ctx, func(tx store.Tx, op store.Op) error {
		n, changed = 0, changed[:0]
		for _, r := range part {
			v, err := tx.Version(ctx, r.object, r.version)
			if fault.Is(err, fault.NotFound) || err == nil && !bytes.Equal(v.Value.WrappedKey, r.from.WrappedKey) {
				continue
			}
			if err != nil {
				return err
			}
			next := *v
			next.Value = r.to
			if err := tx.PutVersion(ctx, &next); err != nil {
				return err
			}
			n++
		}
		w.Moved = moved + int64(n)
		if err := w.save(ctx, tx, id); err != nil || !w.Done {
			return err
		}
		changed, err = emptied(ctx, tx, id, w.To, op.At)
		return err
	})
	if err != nil {
		return 0, err
	}
	k.moved.Add(uint64(n))
	k.forget(changed)
	return n, nil
}

// emptied marks the keys before the one to which everything was moved.
func emptied(ctx context.Context, tx store.Tx, id vault.ID, to string, at time.Time) (changed []string, err error) {
	rows, err := tx.WrappedKeys(ctx, store.VaultKey, string(id))
	if err != nil || !slices.ContainsFunc(rows, func(r *store.WrappedKey) bool { return r.ID == to && r.State == store.KeyActive }) {
		return nil, err // it was rotated again meanwhile: the next walk marks
	}
	for _, row := range rows {
		if !toEmpty(row) {
			continue
		}
		c := *row
		c.Emptied = at
		if err := tx.PutWrappedKey(ctx, &c); err != nil {
			return nil, err
		}
		changed = append(changed, row.ID)
	}
	return changed, nil
}

// walkVersions calls fn for the versions behind a position, which it moves on, until fn answers false or the vault ends.
func walkVersions(ctx context.Context, tx store.Tx, id vault.ID, at *position, fn func(*vault.Object, *vault.Version) bool) (end bool, err error) {
	kinds := vault.Kinds()
	for ; at.Kind < len(kinds); *at = (position{Kind: at.Kind + 1}) {
		for _, deleted := range []bool{false, true} {
			if at.Deleted && !deleted {
				continue
			}
			if deleted && !at.Deleted {
				*at = position{Kind: at.Kind, Deleted: true}
			}
			more, err := walkObjects(ctx, tx, store.ObjectQuery{Vault: id, Kind: kinds[at.Kind], Deleted: deleted, Limit: pageSize}, at, fn)
			if err != nil || !more {
				return false, err
			}
		}
	}
	return true, nil
}

func walkObjects(ctx context.Context, tx store.Tx, q store.ObjectQuery, at *position, fn func(*vault.Object, *vault.Version) bool) (more bool, err error) {
	for {
		q.After = at.After
		objects, err := tx.Objects(ctx, q)
		if err != nil {
			return false, err
		}
		for _, o := range objects {
			if at.Object != o.ID {
				at.Object, at.Version = o.ID, ""
			}
			if more, err := walkObject(ctx, tx, o, at, fn); err != nil || !more {
				return false, err
			}
			at.After, at.Object, at.Version = vault.NameKey(o.Name), "", ""
		}
		if len(objects) < q.Limit {
			return true, nil
		}
	}
}

func walkObject(ctx context.Context, tx store.Tx, o *vault.Object, at *position, fn func(*vault.Object, *vault.Version) bool) (more bool, err error) {
	for {
		versions, err := tx.Versions(ctx, o.ID, at.Version, pageSize)
		if err != nil {
			return false, err
		}
		for _, v := range versions {
			at.Version = v.ID
			if !fn(o, v) {
				return false, nil
			}
		}
		if len(versions) < pageSize {
			return true, nil
		}
	}
}
