package server

import (
	"context"
	"time"

	"github.com/keywright/keywright/internal/composition"
	"github.com/keywright/keywright/internal/rotation"
	"github.com/keywright/keywright/internal/vault"
)

// throughParts is evidence that knows of composed secrets: whoever holds a value that an old version is a part of holds that version.
type throughParts struct {
	evidence
	composed *composition.Service
}

// Verdict implements rotation.Evidence.
func (e throughParts) Verdict(ctx context.Context, o rotation.Subject, old, replacing vault.VersionID, since time.Time, p *rotation.Policy) (rotation.Verdict, error) {
	v, err := e.evidence.Verdict(ctx, o, old, replacing, since, p)
	if err != nil || o.Kind == vault.Certificate {
		return v, err
	}
	uses, err := e.composed.Uses(ctx, o.Vault, o.NameKey, old)
	if err != nil {
		return rotation.Verdict{}, err
	}
	for _, u := range uses {
		if u.Replacing == "" {
			v.Safe = false
			v.Waiting = append(v.Waiting, rotation.Holder{Principal: "secret " + u.Name, Why: "it is composed of this version and was not made anew yet"})
			continue
		}
		holder := rotation.Subject{Tenant: o.Tenant, Vault: o.Vault, Object: u.Object, NameKey: vault.NameKey(u.Name)}
		// A composed secret of which it is a part in turn is looked through too.
		more, err := e.Verdict(ctx, holder, u.Version, u.Replacing, u.Since, p)
		if err != nil {
			return rotation.Verdict{}, err
		}
		v.Safe = v.Safe && more.Safe
		v.Waiting = append(v.Waiting, more.Waiting...)
		if more.Whole.After(v.Whole) {
			v.Whole = more.Whole
		}
	}
	return v, nil
}
