package azure

import (
	"net/http"
	"strings"
	"time"

	"github.com/keywright/keywright/internal/door"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/key"
	"github.com/keywright/keywright/internal/vault"
)

// rotationPolicyBody is a key's rotation policy on the wire. Periods are ISO 8601 and come back as they were given.
type rotationPolicyBody struct {
	ID         string                   `json:"id,omitempty"`
	Actions    []lifetimeAction         `json:"lifetimeActions"`
	Attributes rotationPolicyAttributes `json:"attributes"`
}

type lifetimeAction struct {
	Trigger lifetimeTrigger `json:"trigger"`
	Action  lifetimeType    `json:"action"`
}

type lifetimeTrigger struct {
	AfterCreate  *string `json:"timeAfterCreate,omitempty"`
	BeforeExpiry *string `json:"timeBeforeExpiry,omitempty"`
}

type lifetimeType struct {
	Type string `json:"type"`
}

type rotationPolicyAttributes struct {
	ExpiryTime *string `json:"expiryTime"`
	Created    *int64  `json:"created,omitempty"`
	Updated    *int64  `json:"updated,omitempty"`
}

// The types of lifetime actions.
const (
	actionRotate = "Rotate"
	actionNotify = "Notify"
)

func (b *rotationPolicyBody) policy() (p key.Policy, err error) {
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

func policyBody(base string, o *vault.Object, p *key.Policy) rotationPolicyBody {
	b := rotationPolicyBody{ID: base + "/" + keys + "/" + o.Name + "/rotationpolicy", Actions: []lifetimeAction{},
		Attributes: rotationPolicyAttributes{ExpiryTime: text(p.Expiry), Created: unix(p.Created), Updated: unix(p.Updated)}}
	for _, a := range []struct {
		name string
		at   *key.Trigger
	}{{actionRotate, p.Rotate}, {actionNotify, p.Notify}} {
		if a.at != nil {
			b.Actions = append(b.Actions, lifetimeAction{lifetimeTrigger{text(a.at.AfterCreate), text(a.at.BeforeExpiry)}, lifetimeType{a.name}})
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

func (h *handler) getRotationPolicy(r *door.Request) error {
	o, p, err := h.Keys.Policy(r.HTTP.Context(), &r.Call, r.Params.Get("name"))
	if err != nil {
		return err
	}
	return r.JSON(http.StatusOK, policyBody(r.Base, o, &p))
}

func (h *handler) setRotationPolicy(r *door.Request) error {
	var in rotationPolicyBody
	if err := r.Decode(&in); err != nil {
		return err
	}
	p, err := in.policy()
	if err != nil {
		return err
	}
	o, p, err := h.Keys.SetPolicy(r.HTTP.Context(), &r.Call, r.Params.Get("name"), p)
	if err != nil {
		return err
	}
	return r.JSON(http.StatusOK, policyBody(r.Base, o, &p))
}
