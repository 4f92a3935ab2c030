// Package manual stands for targets that a person changes: it describes the strategy manual and does nothing.
//
// The engine opens a task, reminds, escalates, and takes the value that the person hands in. Nothing here can try that value, so Probe proves nothing and
// says so, and the engine takes the person's word (attestation) where it would otherwise log in. A policy with the strategy manual may name another
// rotator instead: then the person changes the target, and that rotator proves it.
package manual

import (
	"context"
	"encoding/json"

	"github.com/keywright/keywright/internal/rotator"
)

// Name is the word by which policies ask for this rotator.
const Name = "manual"

// Rotator changes nothing. It implements rotator.Rotator and rotator.Blind.
type Rotator struct{}

var (
	_ rotator.Rotator = (*Rotator)(nil)
	_ rotator.Blind   = (*Rotator)(nil)
)

// New returns the rotator.
func New() *Rotator { return &Rotator{} }

// Describe says that people do it.
func (*Rotator) Describe() rotator.Description {
	return rotator.Description{
		Name: Name, Title: "A person",
		Strategies: []rotator.Strategy{rotator.Manual},
		Evidence:   rotator.NoEvidence,
		Value:      rotator.DefaultValue,
		Unverified: []rotator.System{{Product: "whatever a person changes", Version: "any"}},
		Config: []rotator.Member{
			{Name: "where", Type: "string", Help: "Where the person finds the target, such as an address or the page that explains it. It holds no value."},
		},
	}
}

// config is the target's part of a policy.
type config struct {
	Where string `json:"where"`
}

// Check reports every mistake of a configuration.
func (*Rotator) Check(raw json.RawMessage) error {
	return rotator.Decode(Name, raw, &config{})
}

// Probes reports false: nothing here can try a credential.
func (*Rotator) Probes(json.RawMessage) bool { return false }

// Preflight lets a manual run through. There is nothing to look at.
func (*Rotator) Preflight(_ context.Context, _ *rotator.Target, p rotator.Plan) (*rotator.Report, error) {
	if p.Strategy != rotator.Manual {
		return nil, rotator.Fail(rotator.Misconfigured, nil, "the rotator manual has the strategy manual, and not %q: name the rotator of the target", p.Strategy)
	}
	return &rotator.Report{Identities: map[string]string{}, System: "a person"}, nil
}

// Set is a person's work.
func (*Rotator) Set(_ context.Context, _ *rotator.Target, c rotator.Change) error {
	return rotator.Fail(rotator.Misconfigured, nil, "a person changes the target of %q: open a task", c.Account)
}

// Probe proves nothing.
func (*Rotator) Probe(_ context.Context, _ *rotator.Target, c rotator.Credential) (rotator.Logins, error) {
	return rotator.Logins{{Endpoint: Name, Detail: "nothing can try the credential of " + c.Account + ": a person has to say whether it works"}}, nil
}

// Revoke has nothing to do: the change of a person's hand, which was attested, ended the old value. It does not prove that.
func (*Rotator) Revoke(context.Context, *rotator.Target, rotator.Change) error { return nil }
