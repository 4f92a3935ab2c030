// Package keyjson is the JSON of a key's rotation policy, which the data plane and the management plane write alike (Key Vault REST API,
// KeyRotationPolicy).
package keyjson

import (
	"strings"
	"time"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/key"
)

// RotationPolicy is a key's rotation policy on the wire. Periods are ISO 8601 and come back as they were given.
type RotationPolicy struct {
	ID         string     `json:"id,omitempty"`
	Actions    []Action   `json:"lifetimeActions"`
	Attributes Attributes `json:"attributes"`
}

// Action is what happens, and when.
type Action struct {
	Trigger Trigger    `json:"trigger"`
	Action  ActionType `json:"action"`
}

// Trigger has one of two periods.
type Trigger struct {
	AfterCreate  *string `json:"timeAfterCreate,omitempty"`
	BeforeExpiry *string `json:"timeBeforeExpiry,omitempty"`
}

// ActionType is Rotate or Notify, in any case.
type ActionType struct {
	Type string `json:"type"`
}

// Attributes hold Unix seconds.
type Attributes struct {
	ExpiryTime *string `json:"expiryTime"`
	Created    *int64  `json:"created,omitempty"`
	Updated    *int64  `json:"updated,omitempty"`
}

// The types of lifetime actions.
const (
	actionRotate = "Rotate"
	actionNotify = "Notify"
)

// Policy reads the policy. Whether it can be kept is for the service to say.
func (b *RotationPolicy) Policy() (p key.Policy, err error) {
	if p.Expiry, err = period(b.Attributes.ExpiryTime); err != nil {
		return p, err
	}
	for i := range b.Actions {
		a := &b.Actions[i]
		t := &key.Trigger{}
		if t.AfterCreate, err = period(a.Trigger.AfterCreate); err != nil {
			return p, err
		}
		if t.BeforeExpiry, err = period(a.Trigger.BeforeExpiry); err != nil {
			return p, err
		}
		into := &p.Rotate
		switch {
		case strings.EqualFold(a.Action.Type, actionRotate):
		case strings.EqualFold(a.Action.Type, actionNotify):
			into = &p.Notify
		default:
			return p, fault.New(fault.Invalid, "the type of a lifetime action is not known: use %s or %s", actionRotate, actionNotify)
		}
		if *into != nil {
			return p, fault.New(fault.Invalid, "the policy has the action %s twice: give one at most", a.Action.Type)
		}
		*into = t
	}
	return p, nil
}

func period(s *string) (key.Period, error) {
	if s == nil || *s == "" {
		return key.Period{}, nil
	}
	return key.ParsePeriod(*s)
}

// Of writes a policy.
func Of(p *key.Policy) RotationPolicy {
	b := RotationPolicy{Actions: []Action{}, Attributes: Attributes{ExpiryTime: text(p.Expiry), Created: unix(p.Created), Updated: unix(p.Updated)}}
	for _, a := range []struct {
		name string
		at   *key.Trigger
	}{{actionRotate, p.Rotate}, {actionNotify, p.Notify}} {
		if a.at != nil {
			b.Actions = append(b.Actions, Action{Trigger{text(a.at.AfterCreate), text(a.at.BeforeExpiry)}, ActionType{a.name}})
		}
	}
	return b
}

func text(p key.Period) *string {
	if p.IsZero() {
		return nil
	}
	s := p.String()
	return &s
}

func unix(t time.Time) *int64 {
	if t.IsZero() {
		return nil
	}
	s := t.Unix()
	return &s
}
