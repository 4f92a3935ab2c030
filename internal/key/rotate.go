package key

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/object"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// Rotate makes a new version of the kind of the current one: with its type, size, curve, operations, tags and release policy. It expires when the
// rotation policy says. Older versions go on to decrypt, unwrap and verify.
func (s *Service) Rotate(ctx context.Context, call *guard.Call, name string) (Item, error) {
	if err := vault.CheckObjectName(name); err != nil {
		return Item{}, err
	}
	need := guard.Need{Action: authz.KeyRotate, Kind: vault.Key, Name: name}
	if err := s.Guard.Authorize(ctx, call, &need); err != nil {
		return Item{}, err
	}
	return s.rotate(ctx, call, need, "")
}

// maxRotateTries bounds how often a rotation is made again because somebody else gave the key a new version.
const maxRotateTries = 3

// rotate makes a new version under a need that is authorised. With a base it does so only while that is the current version, and otherwise returns
// an object.ErrMoved.
func (s *Service) rotate(ctx context.Context, call *guard.Call, need guard.Need, base vault.VersionID) (Item, error) {
	for range maxRotateTries {
		item, err := s.rotateOnce(ctx, call, need, base)
		if base != "" || !errors.Is(err, object.ErrMoved) {
			return item, err
		}
	}
	return Item{}, s.Guard.Refuse(ctx, call, need, fault.New(fault.Conflict, "the key %q got new versions from others while it was rotated: try again", need.Name))
}

func (s *Service) rotateOnce(ctx context.Context, call *guard.Call, need guard.Need, base vault.VersionID) (Item, error) {
	rec, err := s.objects.Record(ctx, call, &Selector{Name: need.Name, Label: vault.Current})
	if err != nil {
		return Item{}, s.Guard.Refuse(ctx, call, need, err)
	}
	if base != "" && rec.Version.ID != base {
		return Item{}, object.ErrMoved
	}
	from, err := s.parse(ctx, rec)
	if err != nil {
		return Item{}, s.Guard.Refuse(ctx, call, need, err)
	}
	next, err := s.successor(ctx, call, from)
	if err != nil {
		return Item{}, s.Guard.Refuse(ctx, call, need, err)
	}
	facts := *from.facts
	facts.Public = next.key.PublicJWK()
	draft, err := newDraft(ctx, next, &facts)
	if err != nil {
		return Item{}, s.Guard.Refuse(ctx, call, need, err)
	}
	defer clear(draft.Value)
	draft.Tags, draft.Enabled = rec.Version.Tags, true
	if draft.Expires, err = s.nextExpiry(ctx, rec.Object.ID); err != nil {
		return Item{}, s.Guard.Refuse(ctx, call, need, err)
	}
	draft.Check = func(o *vault.Object) error {
		if o.ID != rec.Object.ID || o.Current != rec.Version.ID {
			return object.ErrMoved
		}
		return nil
	}
	return s.objects.Add(ctx, call, need, need.Name, draft)
}

// successor makes a key of the kind of another. An exportable one stays where it is, because a token would not let it out.
func (s *Service) successor(ctx context.Context, call *guard.Call, from *parsed) (*fresh, error) {
	if from.facts.Exportable {
		k, err := s.generate(ctx, call, from.key.Spec(), from.facts.HSM)
		return &fresh{key: k, hsm: from.facts.HSM}, err
	}
	return s.make(ctx, call, from.key.Spec(), from.facts.HSM, false)
}

// nextExpiry is when a version that is made now expires.
func (s *Service) nextExpiry(ctx context.Context, o vault.ObjectID) (expires time.Time, err error) {
	err = s.Store.View(ctx, func(tx store.Tx) error {
		p, _, err := policyOf(ctx, tx, o)
		if err == nil && !p.Expiry.IsZero() {
			expires = p.Expiry.After(s.Clock.Now().UTC().Truncate(time.Second))
		}
		return err
	})
	return expires, err
}

// dueRetry is when a key that could not be rotated is tried again.
const dueRetry = time.Hour

// RotateDue rotates the keys whose policies say so, and returns how many those were. Keys that cannot be rotated now are put off, so that they do not stand
// before others.
func (s *Service) RotateDue(ctx context.Context) (rotated int, err error) {
	// One at a time: making keys takes processors, and there are requests that wait for theirs.
	err = s.objects.EachDue(ctx, 1, func(p *store.Policy, now time.Time) (putOff time.Duration) {
		did, err := s.rotateIfDue(ctx, p, now)
		if err != nil {
			s.Logger.ErrorContext(ctx, "a key was not rotated; it is tried again", "key", p.NameKey, "vault", p.Vault, "after", dueRetry, "error", err)
		}
		if did {
			rotated++
			return 0
		}
		return dueRetry
	})
	return rotated, err
}

// rotateIfDue rotates one key, unless it is not to be rotated now: it is disabled, its vault is deleted, or
// somebody else was first.
func (s *Service) rotateIfDue(ctx context.Context, p *store.Policy, now time.Time) (bool, error) {
	var v *vault.Vault
	var current *vault.Version
	err := s.Store.View(ctx, func(tx store.Tx) (err error) {
		if v, err = tx.Vault(ctx, p.Vault); err != nil {
			return err
		}
		o, err := s.objects.Live(ctx, tx, p.Vault, p.NameKey)
		if err == nil && o.ID == p.Object {
			current, err = tx.Version(ctx, o.ID, o.Current)
		}
		return err
	})
	if fault.Is(err, fault.NotFound) || err == nil && (current == nil || v.Deleted != nil || !current.Attributes.Enabled) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	call := guard.System(v.Tenant, "KeyRotateIfDue", now).About(v)
	need := guard.Need{Action: authz.KeyRotate, Kind: vault.Key, Name: p.NameKey, Reason: "RotationPolicy"}
	switch _, err = s.rotate(ctx, call, need, current.ID); {
	case errors.Is(err, object.ErrMoved):
		return false, nil // somebody else gave it a new version
	case err != nil:
		return false, fmt.Errorf("rotating the key %s: %w", p.NameKey, err)
	}
	return true, nil
}
