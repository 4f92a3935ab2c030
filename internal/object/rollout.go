package object

import (
	"encoding/json"
	"fmt"

	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/ledger"
	"github.com/keywright/keywright/internal/rollout"
	"github.com/keywright/keywright/internal/vault"
)

// resolve returns the version that is meant for this caller; the empty id when the object has none.
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
