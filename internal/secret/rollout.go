package secret

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/ledger"
	"github.com/keywright/keywright/internal/rollout"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// resolve returns the version that is meant for this caller; the empty id when the secret has none.
func (sel *Selector) resolve(o *vault.Object, call *guard.Call) (vault.VersionID, error) {
	switch {
	case sel.Version != "":
		return sel.Version, nil
	case sel.Label != "":
		return o.LabelOf(sel.Label), nil
	}
	open, err := rolloutOf(o)
	if err != nil || open == nil {
		return o.Current, err
	}
	return open.Resolve(consumer(call)), nil
}

// rolloutOf decodes the object's rollout; nil when it has none.
func rolloutOf(o *vault.Object) (*rollout.Rollout, error) {
	if o.Rollout == nil {
		return nil, nil
	}
	r := new(rollout.Rollout)
	if err := json.Unmarshal(o.Rollout, r); err != nil {
		return nil, fmt.Errorf("decoding the rollout of %s: %w", o, err)
	}
	return r, nil
}

// consumer is the caller as rings see it, and as the ledger knows it.
func consumer(call *guard.Call) *rollout.Consumer {
	c := &rollout.Consumer{Principal: call.Caller.Principal, Groups: call.Caller.Groups, Region: call.Region}
	c.Instance, c.Weak = ledger.Instance(call.Instance, call.Caller.Resource, call.Address)
	return c
}

// Meant returns a secret with the version that the caller would read now who names none, for whoever tells callers of changes. The
// version is nil when there is nothing to read: the secret is deleted, or has no current version yet. Without a trace of the name the
// object is nil too. It neither authorises nor records: the guard has admitted the caller to this secret, and no value is opened.
func (s *Service) Meant(ctx context.Context, call *guard.Call, name string) (Item, error) {
	rec, err := s.record(ctx, call, &Selector{Name: name})
	if err == nil {
		return rec.Item, nil
	}
	if !fault.Is(err, fault.NotFound) {
		return Item{}, err
	}
	var item Item
	err = s.Store.View(ctx, func(tx store.Tx) error {
		o, err := tx.Object(ctx, call.Vault.Vault.ID, vault.Secret, name)
		if fault.Is(err, fault.NotFound) {
			return nil
		}
		item.Object = o
		return err
	})
	return item, err
}
