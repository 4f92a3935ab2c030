package contract

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"time"

	"github.com/keywright/keywright/internal/redact"
	"github.com/keywright/keywright/internal/rotator"
)

// Version is that of the messages. A change that an older receiver would misread gets another number.
const Version = 1

// Step is what is to be done.
type Step string

// The steps, which are the verbs of rotator.Rotator.
const (
	Preflight Step = "preflight"
	Set       Step = "set"
	Probe     Step = "probe"
	Revoke    Step = "revoke"
)

// Order is one request.
type Order struct {
	Contract int    `json:"contract"`
	Attempt  string `json:"attempt,omitempty"`
	Step     Step   `json:"step"`
	// Credential is set, tried or revoked; Keep is another value of its account, which goes on being accepted. Preflight has neither.
	Credential *Part `json:"credential,omitempty"`
	Keep       *Part `json:"keep,omitempty"`
	// Plan is for Preflight.
	Plan *Plan `json:"plan,omitempty"`
	// Deadline is when the order is void: what has not been done by then must not be done.
	Deadline time.Time `json:"deadline"`
	// Values is where the values wait for the tokens of the parts; empty when the parts hold the values.
	Values string `json:"values,omitempty"`
	// Admin is by whose right the change is made, for a receiver that has no credential of its own.
	Admin *Part `json:"admin,omitempty"`
}

// Part is one credential of an order. A message has either Token or Clear.
type Part struct {
	Account string `json:"account"`
	Slot    string `json:"slot,omitempty"`
	KeyID   string `json:"keyId,omitempty"`
	// Version names the value: equal for equal values of one account.
	Version string `json:"version,omitempty"`
	// Token fetches the value, once. Clear is the value itself.
	Token string `json:"token,omitempty"`
	Clear string `json:"value,omitempty"`

	// Value is what Token and Clear stand for. It is in no message by itself.
	Value redact.Bytes `json:"-"`
}

// Plan says what a run is about to do.
type Plan struct {
	Strategy rotator.Strategy `json:"strategy"`
	Accounts []string         `json:"accounts"`
	Next     Part             `json:"next"`
}

// Key names the order's effect: a repetition has the same, another value or step another one. It holds no value.
func (o *Order) Key() string {
	key := o.Attempt + ":" + string(o.Step)
	for _, p := range []*Part{o.Credential, o.Keep} {
		if p != nil {
			key += ":" + p.Version
		}
	}
	return key
}

// Parts are the credentials of an order that have values.
func (o *Order) Parts() []*Part {
	var parts []*Part
	for _, p := range []*Part{o.Credential, o.Keep, o.Admin} {
		if p != nil && len(p.Value) > 0 {
			parts = append(parts, p)
		}
	}
	return parts
}

// Secrets are the values of an order, for looking through words that come back.
func (o *Order) Secrets() []redact.Bytes {
	var values []redact.Bytes
	for _, p := range o.Parts() {
		values = append(values, p.Value)
	}
	return values
}

// part makes the part of a credential.
func part(t *rotator.Target, c rotator.Credential) *Part {
	p := &Part{Account: c.Account, Slot: c.Slot, KeyID: c.KeyID, Version: c.Version, Value: c.Value}
	if p.Version == "" {
		p.Version = name(t, c)
	}
	return p
}

// name names a value whose version is not known. Keyed with the administrator's value, it is of no use for guessing.
func name(t *rotator.Target, c rotator.Credential) string {
	m := hmac.New(sha256.New, append([]byte("keywright version "), t.Admin.Value...))
	for _, field := range [][]byte{[]byte(c.Account), []byte(c.Slot), []byte(c.KeyID), c.Value} {
		sum := sha256.Sum256(field) // of one length, so that no two credentials run into each other
		m.Write(sum[:])
	}
	return hex.EncodeToString(m.Sum(nil)[:16])
}

// callTime bounds a verb whose caller gave no deadline.
const callTime = 30 * time.Second

// order begins an order with what all have, and a context that ends with it.
func order(ctx context.Context, t *rotator.Target, s Step) (context.Context, context.CancelFunc, *Order) {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	deadline, _ := ctx.Deadline()
	return ctx, cancel, &Order{Contract: Version, Attempt: t.Attempt, Step: s, Deadline: deadline.UTC()}
}
