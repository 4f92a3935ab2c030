package contract

import (
	"context"
	"slices"

	"github.com/keywright/keywright/internal/rotator"
)

// Verbs are the verbs of a rotator that gives orders: the function finds the receiver of a target, anew for each verb, and its error is the verb's.
type Verbs func(*rotator.Target) (*Receiver, error)

// Preflight asks whether the plan can succeed.
func (find Verbs) Preflight(ctx context.Context, t *rotator.Target, p rotator.Plan) (*rotator.Report, error) {
	r, err := find(t)
	if err != nil {
		return nil, err
	}
	report, err := r.Preflight(ctx, t, p)
	if err != nil {
		return nil, err
	}
	return report, nil
}

// Set asks that the account accepts the credential.
func (find Verbs) Set(ctx context.Context, t *rotator.Target, c rotator.Change) error {
	r, err := find(t)
	if err != nil {
		return err
	}
	return r.Set(ctx, t, c)
}

// Probe asks that the credential is tried.
func (find Verbs) Probe(ctx context.Context, t *rotator.Target, c rotator.Credential) (rotator.Logins, error) {
	r, err := find(t)
	if err != nil {
		return nil, err
	}
	return r.Probe(ctx, t, c)
}

// Revoke asks that the account refuses the credential.
func (find Verbs) Revoke(ctx context.Context, t *rotator.Target, c rotator.Change) error {
	r, err := find(t)
	if err != nil {
		return err
	}
	return r.Revoke(ctx, t, c)
}

// Sight is what every policy says of a receiver: whether it can try credentials.
type Sight struct {
	// Probe is nil for true.
	Probe *bool `json:"probe"`
}

// Blind reports whether the receiver cannot try credentials.
func (s Sight) Blind() bool { return s.Probe != nil && !*s.Probe }

// Describe is what rotators that give orders have in common. Kind is what people call a receiver; members are what a policy says of it beside Sight.
func Describe(name, title, kind string, members ...rotator.Member) rotator.Description {
	return rotator.Description{
		Name: name, Title: title,
		Strategies: slices.Clone(Strategies),
		Evidence:   rotator.NoEvidence,
		Value:      rotator.DefaultValue,
		Verified:   []rotator.System{{Product: "the reference receiver of the contract", Version: "1"}},
		Unverified: []rotator.System{{Product: "any other " + kind, Version: "any"}},
		Config: append(members, rotator.Member{Name: "probe", Type: "boolean",
			Help: "false for a " + kind + " that cannot try credentials: then its word is the only proof, and whatever is unknown waits for a person."}),
	}
}
