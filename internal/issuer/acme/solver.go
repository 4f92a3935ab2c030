package acme

import (
	"context"

	"github.com/mholt/acmez/v3/acme"
)

// challengeTypes are the ones that can be solved here, the default preference.
var challengeTypes = []string{acme.ChallengeTypeDNS01, acme.ChallengeTypeHTTP01, acme.ChallengeTypeTLSALPN01}

// Challenge is what an authority asks for one name.
type Challenge struct {
	// Type is the type of challenge; Name the DNS name, without "*.", or the IP address.
	Type, Name string
	// Token is the authority's word, KeyAuthorization what proves that the account's holder put it there. Neither is a secret.
	Token, KeyAuthorization string

	raw acme.Challenge
}

// Solver makes what an authority looks for. All methods may be called again for the same challenge, also by a process that did not see it before, and may be
// called concurrently.
type Solver interface {
	// Present makes it visible, or begins to.
	Present(context.Context, Challenge) error
	// Ready reports whether the authority can see it by now.
	Ready(context.Context, Challenge) (bool, error)
	// CleanUp takes it away again. What is not there is no error.
	CleanUp(context.Context, Challenge) error
}

// Chooser is a Solver that does not solve for every name.
type Chooser interface {
	// Solves reports whether it may be used for a name, as a fault that says why not. Another solver is looked for then.
	Solves(ctx context.Context, name string) error
}

// RecordName is where a dns-01 challenge is looked for, with the dot at the end (RFC 8555, section 8.4).
func (c Challenge) RecordName() string { return "_acme-challenge." + c.Name + "." }

// RecordValue is what must stand there.
func (c Challenge) RecordValue() string { return c.raw.DNS01KeyAuthorization() }

func challengeOf(raw acme.Challenge) Challenge {
	return Challenge{Type: raw.Type, Name: raw.Identifier.Value, Token: raw.Token, KeyAuthorization: raw.KeyAuthorization, raw: raw}
}
