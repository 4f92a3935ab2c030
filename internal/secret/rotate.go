package secret

import (
	"context"
	"encoding/json"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/keyring"
	"github.com/keywright/keywright/internal/object"
	"github.com/keywright/keywright/internal/rollout"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// Superseded is the reason of the conflict when somebody else made a version current while one was being prepared.
const Superseded fault.Reason = "Superseded"

// Rotation is one secret as the rotation engine changes it. Its moves take the engine's own transaction, so that a step of a run, the label
// that it moves, its audit record and its events are one commit. They authorise nothing and record nothing: the engine does, and no door
// has a Rotation.
type Rotation struct {
	service *Service
	vault   *vault.Vault
	name    string
	object  vault.ObjectID
}

// Rotation returns the moves of one secret. The object's id makes sure that they never touch another secret that got the name later.
func (s *Service) Rotation(v *vault.Vault, name string, object vault.ObjectID) *Rotation {
	return &Rotation{service: s, vault: v, name: name, object: object}
}

// Find returns the secret, which must be live.
func (r *Rotation) Find(ctx context.Context, tx store.Tx) (*vault.Object, error) {
	o, err := r.service.objects.Live(ctx, tx, r.vault.ID, r.name)
	if err == nil && o.ID != r.object {
		return nil, r.service.objects.NotFound(r.name)
	}
	return o, err
}

// Seal makes a version of a value without storing it: encryption has no place in a transaction.
func (r *Rotation) Seal(ctx context.Context, op store.Op, in Input) (*vault.Version, error) {
	if err := r.service.checkInput(&in); err != nil {
		return nil, err
	}
	ver := in.draft().Version(r.object, op.At)
	var err error
	ver.Value, err = r.service.Keys.Seal(ctx, r.place(ver.ID), in.Value)
	return ver, err
}

// Open returns a version and its value, whatever its label and state. The caller zeroes the value.
func (r *Rotation) Open(ctx context.Context, id vault.VersionID) (ver *vault.Version, value []byte, err error) {
	err = r.service.Store.View(ctx, func(tx store.Tx) error {
		ver, err = tx.Version(ctx, r.object, id)
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	value, err = r.service.Keys.Open(ctx, r.place(id), ver.Value)
	return ver, value, err
}

// Pend stores a sealed version under the label pending: no door shows it. Another pending version is a conflict.
func (r *Rotation) Pend(ctx context.Context, tx store.Tx, ver *vault.Version) error {
	o, err := r.Find(ctx, tx)
	if err != nil {
		return err
	}
	if p := o.LabelOf(vault.Pending); p != "" {
		return fault.New(fault.Conflict, "the secret %q has a pending version %s already: end its rotation first", o.Name, p)
	}
	if err := r.service.objects.CheckRoom(ctx, tx, o); err != nil {
		return err
	}
	ver = object.Shallow(ver)
	ver.Previous = o.Current
	if err := tx.AddVersion(ctx, ver); err != nil {
		return err
	}
	return tx.PutObject(ctx, o.With(vault.Pending, ver.ID))
}

// Offer gives the pending version to those to whom the rollout gives it; nil takes it back from everyone.
func (r *Rotation) Offer(ctx context.Context, tx store.Tx, open *rollout.Rollout) error {
	o, err := r.Find(ctx, tx)
	if err != nil {
		return err
	}
	c := *o
	c.Rollout = nil
	if open != nil {
		if o.LabelOf(vault.Pending) != open.Candidate || o.Current != open.Base {
			return fault.New(fault.Conflict, "the secret %q got the version %s while %s was spreading", o.Name, o.Current, open.Candidate).Because(Superseded)
		}
		if c.Rollout, err = json.Marshal(open); err != nil {
			return err
		}
	}
	return tx.PutObject(ctx, &c)
}

// Promote makes the pending version current, and the one before it previous. When base is not current any more somebody else wrote: that
// is a conflict with reason Superseded.
func (r *Rotation) Promote(ctx context.Context, tx store.Tx, id, base vault.VersionID) error {
	o, err := r.Find(ctx, tx)
	if err != nil {
		return err
	}
	if o.Current != base {
		return fault.New(fault.Conflict, "the secret %q got the version %s while %s was being prepared", o.Name, o.Current, id).Because(Superseded)
	}
	if o.LabelOf(vault.Pending) != id {
		return fault.New(fault.Conflict, "version %s of %q is not pending", id, o.Name)
	}
	ver, err := tx.Version(ctx, o.ID, id)
	if err != nil {
		return err
	}
	o = o.With(vault.Pending, "").Promote(id)
	if err := tx.PutObject(ctx, o); err != nil {
		return err
	}
	return r.service.objects.EmitNew(tx, r.vault, Item{Object: o, Version: ver})
}

// Return makes the version before current again and disables the bad one. When the bad one is not current any more, that is a conflict
// with reason Superseded.
func (r *Rotation) Return(ctx context.Context, tx store.Tx, bad, to vault.VersionID, op store.Op) error {
	o, err := r.Find(ctx, tx)
	if err != nil {
		return err
	}
	if o.Current != bad {
		return fault.New(fault.Conflict, "the secret %q got the version %s since %s was current", o.Name, o.Current, bad).Because(Superseded)
	}
	ver, err := tx.Version(ctx, o.ID, to)
	if err != nil {
		return err
	}
	c := o.With(vault.Previous, "")
	c.Current = to
	if err := tx.PutObject(ctx, c); err != nil {
		return err
	}
	if err := r.withdraw(ctx, tx, bad, vault.Retiring, op); err != nil {
		return err
	}
	// To those who cache, a version that is current again is as good as new.
	return r.emit(tx, object.NewVersion, c, ver, op)
}

// Ask emits the event that the secret is near its expiry, whenever that is: it is what rotation functions wait for.
func (r *Rotation) Ask(ctx context.Context, tx store.Tx, op store.Op) error {
	o, err := r.Find(ctx, tx)
	if err != nil {
		return err
	}
	ver := &vault.Version{}
	if o.Current != "" {
		if ver, err = tx.Version(ctx, o.ID, o.Current); err != nil {
			return err
		}
	}
	return r.emit(tx, object.NearExpiry, o, ver, op)
}

// emit tells of what the operation did, under its own id.
func (r *Rotation) emit(tx store.Tx, e object.Event, o *vault.Object, ver *vault.Version, op store.Op) error {
	return r.service.objects.Emit(tx, string(op.ID), op.At, e, r.vault, Item{Object: o, Version: ver})
}

// Abandon gives up a pending version: it stays hidden, and disabled.
func (r *Rotation) Abandon(ctx context.Context, tx store.Tx, id vault.VersionID, op store.Op) error {
	o, err := r.Find(ctx, tx)
	if err != nil {
		return err
	}
	if o.LabelOf(vault.Pending) == id {
		if err := tx.PutObject(ctx, o.With(vault.Pending, "")); err != nil {
			return err
		}
	}
	return r.withdraw(ctx, tx, id, vault.Abandoned, op)
}

// Retire says how far the withdrawal of a version has gone. A retired version is disabled, and loses the label previous: what it holds is worth
// nothing any more.
func (r *Rotation) Retire(ctx context.Context, tx store.Tx, id vault.VersionID, state vault.VersionState, op store.Op) error {
	o, err := r.Find(ctx, tx)
	if err != nil {
		return err
	}
	if o.Current == id {
		return fault.New(fault.Conflict, "version %s of %q is current: rotate before you retire it", id, o.Name)
	}
	if state == vault.Retired && o.LabelOf(vault.Previous) == id {
		if err := tx.PutObject(ctx, o.With(vault.Previous, "")); err != nil {
			return err
		}
	}
	if state == vault.Retired {
		return r.withdraw(ctx, tx, id, state, op)
	}
	return r.change(ctx, tx, id, func(ver *vault.Version) { ver.State, ver.Attributes.Updated = state, op.At })
}

// withdraw disables a version for good.
func (r *Rotation) withdraw(ctx context.Context, tx store.Tx, id vault.VersionID, state vault.VersionState, op store.Op) error {
	return r.change(ctx, tx, id, func(ver *vault.Version) {
		ver.State, ver.Attributes.Enabled, ver.Attributes.Updated = state, false, op.At
	})
}

func (r *Rotation) change(ctx context.Context, tx store.Tx, id vault.VersionID, edit func(*vault.Version)) error {
	ver, err := tx.Version(ctx, r.object, id)
	if err != nil {
		return err
	}
	ver = object.Shallow(ver)
	edit(ver)
	return tx.PutVersion(ctx, ver)
}

func (r *Rotation) place(id vault.VersionID) keyring.Place {
	return object.Place(r.vault, r.object, id)
}
