package tenancy

import (
	"context"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/object"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// Bounds of holds: how long a reason may be, in bytes, and how many a vault and its objects may have.
const (
	maxHoldReason = 1024
	maxHolds      = 1000
)

// HoldSpec says what is to be kept, and why.
type HoldSpec struct {
	// Kind and Name are those of an object, live or deleted; without them the whole vault is held.
	Kind vault.Kind
	Name string
	Why  string
	// Until is when the hold ends by itself; zero when somebody has to lift it.
	Until time.Time
}

func (h *HoldSpec) check(now time.Time) error {
	switch {
	case strings.TrimSpace(h.Why) == "" || len(h.Why) > maxHoldReason || !utf8.ValidString(h.Why):
		return fault.New(fault.Invalid, "a hold needs a reason of at most %d bytes: say why it is placed", maxHoldReason)
	case !h.Until.IsZero() && !h.Until.After(now):
		return fault.New(fault.Invalid, "the hold is to end at %s, which is over: name a later instant, or none", h.Until.UTC().Format(time.RFC3339))
	case (h.Kind == "") != (h.Name == ""):
		return fault.New(fault.Invalid, "a hold of an object needs its kind and its name: give both, or neither for the whole vault")
	case h.Name != "":
		return vault.CheckObjectName(h.Name)
	}
	return nil
}

func (s *Service) holdNeed(ctx context.Context, call *guard.Call, ref VaultRef, action authz.Action) (need guard.Need, v *vault.Vault, err error) {
	at, err := ref.Scope()
	if err != nil {
		return need, nil, err
	}
	need = guard.Need{Action: action, Scope: at.String()}
	if err := s.Guard.Authorize(ctx, call, &need); err != nil {
		return need, nil, err
	}
	if v, err = s.live(ctx, call, ref); err != nil {
		return need, nil, s.Guard.Refuse(ctx, call, need, err)
	}
	return need, v, nil
}

// Hold keeps an object, or a whole vault, from being purged, whoever may purge it, until the hold is lifted or ends.
func (s *Service) Hold(ctx context.Context, call *guard.Call, ref VaultRef, spec HoldSpec) (*object.Hold, error) {
	need, v, err := s.holdNeed(ctx, call, ref, authz.HoldPlace)
	if err != nil {
		return nil, err
	}
	need.Kind, need.Name, need.Detail = spec.Kind, spec.Name, spec.Why
	op := store.NewOp(s.Clock.Now())
	if err := spec.check(op.At); err != nil {
		return nil, s.Guard.Refuse(ctx, call, need, err)
	}
	h := &object.Hold{ID: string(op.ID), Kind: spec.Kind, By: call.Caller.Principal, ByName: callerName(call.Caller), Why: spec.Why, Since: op.At, Until: spec.Until.UTC().Truncate(time.Microsecond)}
	if spec.Until.IsZero() {
		h.Until = time.Time{}
	}
	return h, s.Guard.Commit(ctx, call.About(v), need, op, func(tx store.Tx) error {
		there, err := object.HoldsIn(ctx, tx, v.ID, op.At)
		if err != nil {
			return err
		}
		if len(there) >= maxHolds {
			return fault.New(fault.Conflict, "the vault %q and its objects have %d holds already: hold the whole vault, or lift some", v.Name, len(there))
		}
		if spec.Name != "" {
			o, err := tx.Object(ctx, v.ID, spec.Kind, spec.Name)
			if fault.Is(err, fault.NotFound) {
				return fault.New(fault.NotFound, "there is no %s %q in the vault %q, not even a deleted one: check the name", spec.Kind, spec.Name, v.Name)
			}
			if err != nil {
				return err
			}
			h.Object, h.Name = o.ID, o.Name
		}
		n, err := h.Need(v.ID)
		if err != nil {
			return err
		}
		return tx.PutKeyNeed(ctx, n)
	})
}

func callerName(c *guard.Caller) string {
	for _, name := range []string{c.UPN, c.Name, c.AppID} {
		if name != "" {
			return name
		}
	}
	return string(c.Principal)
}

// Holds lists the holds of a vault and its objects.
func (s *Service) Holds(ctx context.Context, call *guard.Call, ref VaultRef) (holds []*object.Hold, err error) {
	need, v, err := s.holdNeed(ctx, call, ref, authz.HoldList)
	if err != nil {
		return nil, err
	}
	if err := s.Store.View(ctx, func(tx store.Tx) error {
		holds, err = object.HoldsIn(ctx, tx, v.ID, s.Clock.Now())
		return err
	}); err != nil {
		return nil, s.Guard.Refuse(ctx, call, need, err)
	}
	return holds, s.Guard.Record(ctx, call.About(v), &need)
}

// LiftHold ends a hold.
func (s *Service) LiftHold(ctx context.Context, call *guard.Call, ref VaultRef, id string) error {
	need, v, err := s.holdNeed(ctx, call, ref, authz.HoldLift)
	if err != nil {
		return err
	}
	need.Detail = "hold " + fault.Clip(id)
	op := store.NewOp(s.Clock.Now())
	return s.Guard.Commit(ctx, call.About(v), need, op, func(tx store.Tx) error {
		holds, err := object.HoldsIn(ctx, tx, v.ID, op.At)
		if err != nil {
			return err
		}
		for _, h := range holds {
			if h.ID == id {
				return tx.DropKeyNeeds(ctx, vault.ID(id), store.NeededByHold)
			}
		}
		return fault.New(fault.NotFound, "the vault %q has no hold %q: list its holds", v.Name, fault.Clip(id)).Because("HoldNotFound")
	})
}

// Shredded is an object that was purged.
type Shredded struct {
	store.Tombstone
	// Backups tell until when it can still be brought back.
	Backups object.Backups
}

// tombstonesAtOnce bounds how many are read in one transaction.
const tombstonesAtOnce = 1000

// Shredded lists what was purged of a vault and can still be brought back from a backup, and when that ends; with all, what is gone for good too.
func (s *Service) Shredded(ctx context.Context, call *guard.Call, ref VaultRef, all bool) (list []Shredded, err error) {
	need, v, err := s.holdNeed(ctx, call, ref, authz.HoldList)
	if err != nil {
		return nil, err
	}
	for after, more := vault.ObjectID(""), true; more; {
		from, part := after, []Shredded(nil)
		err := s.Store.View(ctx, func(tx store.Tx) error {
			after, part = from, nil
			stones, err := tx.Tombstones(ctx, after, tombstonesAtOnce)
			if err != nil {
				return err
			}
			more = len(stones) == tombstonesAtOnce
			for _, t := range stones {
				after = t.Object
				if t.Vault != v.ID || string(t.Object) == string(v.ID) {
					continue
				}
				b, err := object.BackupsOf(ctx, tx, v.ID, t.Object, t.At, call.Started)
				if err != nil {
					return err
				}
				if b.Any || all {
					part = append(part, Shredded{t, b})
				}
			}
			return nil
		})
		if err != nil {
			return nil, s.Guard.Refuse(ctx, call, need, err)
		}
		list = append(list, part...)
	}
	return list, s.Guard.Record(ctx, call.About(v), &need)
}
