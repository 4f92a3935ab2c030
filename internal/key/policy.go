package key

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/object"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// Policy says when a key is rotated, and when somebody is told that it will expire.
type Policy struct {
	// Rotate and Notify are when to do so; nil for never. A Notify that is nil leaves the time to the usual 30 days.
	Rotate *Trigger `json:"rotate,omitempty"`
	Notify *Trigger `json:"notify,omitempty"`
	// Expiry is how long after its rotation a new version expires; zero for never.
	Expiry Period `json:"expiry,omitzero"`
	// Created and Updated are zero for the policy of a key that has none of its own.
	Created time.Time `json:"created,omitzero"`
	Updated time.Time `json:"updated,omitzero"`
}

// Trigger is one of two: so long after the version was made, or so long before it expires.
type Trigger struct {
	AfterCreate  Period `json:"afterCreate,omitzero"`
	BeforeExpiry Period `json:"beforeExpiry,omitzero"`
}

// defaultNotify is when Key Vault tells of the expiry of a key without a policy.
var defaultNotify = Trigger{BeforeExpiry: Period{text: "P30D", days: 30}}

// Bounds of rotation policies, from the Key Vault documentation on key autorotation.
const (
	minRotation = 7 * 24 * time.Hour
	minExpiry   = 28 * 24 * time.Hour
)

// Check reports whether a policy can be kept.
func (p *Policy) Check() error {
	// Periods of months have different lengths: they are compared from a day on which they are at their shortest.
	from := time.Date(2023, 2, 1, 0, 0, 0, 0, time.UTC)
	expires := p.Expiry.After(from)
	if !p.Expiry.IsZero() && expires.Sub(from) < minExpiry {
		return fault.New(fault.Invalid, "the expiry time of new versions is to be at least 28 days, as in P28D")
	}
	if t := p.Notify; t != nil {
		switch {
		case !t.AfterCreate.IsZero() || t.BeforeExpiry.IsZero():
			return fault.New(fault.Invalid, "the action Notify takes the trigger timeBeforeExpiry alone")
		case !p.Expiry.IsZero() && !t.BeforeExpiry.Before(expires).After(from):
			return fault.New(fault.Invalid, "the action Notify would be due before the version is made: choose a shorter timeBeforeExpiry than the expiry time %s", p.Expiry)
		}
	}
	if p.Rotate == nil {
		return nil
	}
	return p.checkRotate(from, expires)
}

func (p *Policy) checkRotate(from, expires time.Time) error {
	t := p.Rotate
	if t.AfterCreate.IsZero() == t.BeforeExpiry.IsZero() {
		return fault.New(fault.Invalid, "the action Rotate takes one trigger: timeAfterCreate or timeBeforeExpiry")
	}
	if p.Expiry.IsZero() {
		if !t.BeforeExpiry.IsZero() {
			return fault.New(fault.Invalid, "the trigger timeBeforeExpiry needs an expiryTime: without one new versions do not expire")
		}
		expires = time.Time{}
	}
	due := t.AfterCreate.After(from)
	if t.AfterCreate.IsZero() {
		due = t.BeforeExpiry.Before(expires)
	}
	if due.Sub(from) < minRotation {
		return fault.New(fault.Invalid, "a key is rotated 7 days after it is made at the earliest: choose another trigger")
	}
	if !expires.IsZero() && expires.Sub(due) < minRotation {
		return fault.New(fault.Invalid, "a key is rotated 7 days before it expires at the latest: choose another trigger")
	}
	return nil
}

// due is when the version is to be rotated; zero for never. A version that was made before its key had a policy, and does not expire, counts as if it
// had been made under it.
func (p *Policy) due(ver *vault.Version) time.Time {
	if p.Rotate == nil {
		return time.Time{}
	}
	a := &ver.Attributes
	if !p.Rotate.AfterCreate.IsZero() {
		return p.Rotate.AfterCreate.After(a.Created)
	}
	expires := a.Expires
	if expires.IsZero() {
		expires = p.Expiry.After(a.Created)
	}
	return p.Rotate.BeforeExpiry.Before(expires)
}

// Policy returns the rotation policy of a live key; that which Key Vault assumes when it has none.
func (s *Service) Policy(ctx context.Context, call *guard.Call, name string) (o *vault.Object, p Policy, err error) {
	if err := vault.CheckObjectName(name); err != nil {
		return nil, Policy{}, err
	}
	need := guard.Need{Action: authz.KeyRotationPolicyRead, Kind: vault.Key, Name: name}
	err = s.Guard.Read(ctx, call, &need, func() error {
		return s.Store.View(ctx, func(tx store.Tx) error {
			if o, err = s.objects.Live(ctx, tx, call.Vault.Vault.ID, name); err != nil {
				return err
			}
			p, _, err = policyOf(ctx, tx, o.ID)
			return err
		})
	})
	return o, p, err
}

// SetPolicy puts a rotation policy in place of the one before. It acts from the next minute on.
func (s *Service) SetPolicy(ctx context.Context, call *guard.Call, name string, p Policy) (o *vault.Object, _ Policy, err error) {
	if err := vault.CheckObjectName(name); err != nil {
		return nil, Policy{}, err
	}
	need := guard.Need{Action: authz.KeyRotationPolicyWrite, Kind: vault.Key, Name: name}
	if err := s.Guard.Authorize(ctx, call, &need); err != nil {
		return nil, Policy{}, err
	}
	if err := p.Check(); err != nil {
		return nil, Policy{}, s.Guard.Refuse(ctx, call, need, err)
	}
	v, op := call.Vault.Vault, store.NewOp(s.Clock.Now())
	set := p
	err = s.Guard.Commit(ctx, call, need, op, func(tx store.Tx) error {
		if o, err = s.objects.Live(ctx, tx, v.ID, name); err != nil {
			return err
		}
		if o.Managed {
			return fault.New(fault.Forbidden, "the key %q belongs to a certificate, whose policy says when it is renewed", o.Name)
		}
		_, row, err := policyOf(ctx, tx, o.ID)
		if err != nil {
			return err
		}
		current, err := tx.Version(ctx, o.ID, o.Current)
		if err != nil {
			return err
		}
		set, err = p.put(ctx, tx, v, object.Item{Object: o, Version: current}, row, op.At)
		return err
	})
	return o, set, err
}

// put stores a policy over the row that was read, and returns it as it is then.
func (p Policy) put(ctx context.Context, tx store.Tx, v *vault.Vault, it Item, row *store.Policy, now time.Time) (Policy, error) {
	p.Created, p.Updated = now, now
	next := store.Policy{Object: it.Object.ID, Tenant: v.Tenant, Vault: v.ID, Kind: vault.Key, NameKey: vault.NameKey(it.Object.Name)}
	if row != nil {
		before, err := readPolicy(row)
		if err != nil {
			return Policy{}, err
		}
		next.Revision, p.Created = row.Revision, before.Created
	}
	doc, err := json.Marshal(&p)
	if err != nil {
		return Policy{}, err
	}
	next.Doc, next.DueAt = doc, p.due(it.Version)
	return p, tx.PutPolicy(ctx, &next)
}

// policyOf reads a key's policy and its row, which is nil when the key has none of its own.
func policyOf(ctx context.Context, tx store.Tx, o vault.ObjectID) (Policy, *store.Policy, error) {
	row, err := tx.Policy(ctx, o)
	if fault.Is(err, fault.NotFound) {
		return Policy{Notify: &defaultNotify}, nil, nil
	}
	if err != nil {
		return Policy{}, nil, err
	}
	p, err := readPolicy(row)
	return p, row, err
}

func readPolicy(row *store.Policy) (p Policy, err error) {
	if err := json.Unmarshal(row.Doc, &p); err != nil {
		return p, fmt.Errorf("decoding the rotation policy of key %s: %w", row.Object, err)
	}
	return p, nil
}

// settled moves the instant of the next rotation when the current version, its expiry, or the state of the key has changed.
func settled(ctx context.Context, tx store.Tx, _ *vault.Vault, it Item) error {
	p, row, err := policyOf(ctx, tx, it.Object.ID)
	if err != nil || row == nil {
		return err
	}
	var due time.Time
	if it.Object.Deleted == nil {
		due = p.due(it.Version)
	}
	if due.Equal(row.DueAt) {
		return nil
	}
	next := *row
	next.DueAt = due
	return tx.PutPolicy(ctx, &next)
}

// ahead is how long before its expiry the policy wants a version to be told of.
func ahead(ctx context.Context, tx store.Tx, it Item) (time.Duration, error) {
	p, row, err := policyOf(ctx, tx, it.Object.ID)
	if err != nil || row == nil || p.Notify == nil {
		return 0, err
	}
	expires := it.Version.Attributes.Expires
	return expires.Sub(p.Notify.BeforeExpiry.Before(expires)), nil
}

// pack refuses to back up what cannot leave its token, and brings the policy into the backup.
func pack(ctx context.Context, tx store.Tx, o *vault.Object) ([]byte, error) {
	if err := leaves(ctx, tx, o); err != nil {
		return nil, err
	}
	return packPolicy(ctx, tx, o)
}

// packPolicy and unpackPolicy bring the policy into a backup and back.
func packPolicy(ctx context.Context, tx store.Tx, o *vault.Object) ([]byte, error) {
	_, row, err := policyOf(ctx, tx, o.ID)
	if err != nil || row == nil {
		return nil, err
	}
	return row.Doc, nil
}

func unpackPolicy(ctx context.Context, tx store.Tx, v *vault.Vault, o *vault.Object, packed []byte) error {
	return tx.PutPolicy(ctx, &store.Policy{Object: o.ID, Tenant: v.Tenant, Vault: v.ID, Kind: vault.Key, NameKey: vault.NameKey(o.Name), Doc: packed})
}
