package rotator

import (
	"context"
	"encoding/json"
	"time"

	"github.com/keywright/keywright/internal/redact"
)

// Rotator changes credentials at one kind of target.
type Rotator interface {
	// Describe says what the rotator can do. It is constant.
	Describe() Description
	// Check reports every mistake in a target's configuration at once, as one fault.Invalid that says what to do. It reaches nothing.
	Check(config json.RawMessage) error
	// Preflight proves, without a change, that a run can succeed: every endpoint answers, the administrator may do what the plan needs, the
	// accounts exist (a pair with equal rights), the present credential works, there is room for another.
	Preflight(ctx context.Context, t *Target, p Plan) (*Report, error)
	// Set makes the account accept the credential at every endpoint. With Keep, the account accepts that one as before; without, only
	// the new one. It never ends a session.
	Set(ctx context.Context, t *Target, c Change) error
	// Probe logs in with the credential at every endpoint. It returns an error only when it could not try at all.
	Probe(ctx context.Context, t *Target, c Credential) (Logins, error)
	// Revoke makes the account refuse the credential at every endpoint. With Keep, the account goes on accepting that one; without, the account
	// accepts nothing until the next Set, and may be disabled.
	Revoke(ctx context.Context, t *Target, c Change) error
}

// Observer is implemented by a rotator whose target shows who is logged in.
type Observer interface {
	// Sessions lists the account's sessions at every endpoint. A list is evidence only when it has no error.
	Sessions(ctx context.Context, t *Target, account string) ([]Session, error)
}

// Terminator is implemented by a rotator that can end sessions.
type Terminator interface {
	// Terminate ends the account's sessions at every endpoint and says how many there were.
	Terminate(ctx context.Context, t *Target, account string) (int, error)
}

// Blind is implemented by a rotator some of whose targets cannot be asked whether they accept a credential.
type Blind interface {
	// Probes reports whether Probe can prove anything at a target of this configuration, which Check has let through.
	Probes(config json.RawMessage) bool
}

// Creator is implemented by a rotator whose target makes the values by itself, such as an account key that is regenerated. The engine calls
// it in the place of Set, and keeps what it returned before anything else happens.
type Creator interface {
	// Create makes the target issue a new value in the slot of the change, which kills the value that was there. When its answer gets lost,
	// Slots shows what it did.
	Create(ctx context.Context, t *Target, c Change) (Credential, error)
	// Slots lists the credentials that the target has, with their values where it shows them.
	Slots(ctx context.Context, t *Target, account string) ([]Slot, error)
}

// Provisioner is implemented by a rotator that can make accounts which live as long as a lease, and remove them.
type Provisioner interface {
	// Provision makes an account with the credential and the rights that the target's configuration names; the target itself ends it at
	// expires where it can. It exists already after a lost answer: then it is made to fit.
	Provision(ctx context.Context, t *Target, c Credential, expires time.Time) error
	// Remove ends the account and its sessions, and gives what it owned to the owner in the configuration. An absent one is a success.
	Remove(ctx context.Context, t *Target, account string) error
	// Provisioned lists the accounts whose name has the prefix.
	Provisioned(ctx context.Context, t *Target, prefix string) ([]string, error)
}

// Target is where a credential is changed: what the policy says of it, and by whose right.
type Target struct {
	// Config is the rotator's own part of the policy: endpoints, TLS, databases. It holds no value.
	Config json.RawMessage
	// Admin is the credential by which changes are made; zero when each account changes its own.
	Admin Credential
	// Attempt identifies the run, for tags and names of sessions at the target.
	Attempt string
}

// Credential is what a target asks for: the whole tuple changes together.
type Credential struct {
	// Account is the login: a role, a user, the name of a service. Slot is the place of the value where an account has several that
	// are named, such as key1 and key2.
	Account, Slot string
	// KeyID is the target's own id of the value, where it gives one.
	KeyID string
	// Version is the vault's id of the version whose value this is; empty where there is none yet. Targets that keep a journal get it.
	Version string
	Value   redact.Bytes
}

// IsZero reports whether there is no credential.
func (c Credential) IsZero() bool { return c.Account == "" && c.Slot == "" && len(c.Value) == 0 }

// Change is one credential to be set or revoked.
type Change struct {
	Credential
	// Keep is another value of the same account that the target goes on accepting; nil when it has none.
	Keep *Credential
}

// Strategy says how an old credential and a new one live side by side.
type Strategy string

// The strategies.
const (
	// Single replaces the only value of one account: there is no overlap.
	Single Strategy = "single"
	// Dual gives one account two values for a time.
	Dual Strategy = "dual"
	// Alternating uses two accounts with equal rights in turn.
	Alternating Strategy = "alternating"
	// TwoKey regenerates the one of two named keys that nobody uses.
	TwoKey Strategy = "two-key"
	// NKeys adds a key, and removes the oldest after a time disabled.
	NKeys Strategy = "n-keys"
	// CertificateOverlap has two certificates trusted for a time.
	CertificateOverlap Strategy = "certificate-overlap"
	// Dynamic makes an account for each lease.
	Dynamic Strategy = "dynamic"
	// Manual leaves the change at the target to a person.
	Manual Strategy = "manual"
)

// Plan is what a run is about to do, for Preflight.
type Plan struct {
	Strategy Strategy
	// Accounts are all accounts of the object: one, or a pair.
	Accounts []string
	// Current is the credential in use; nil at the first rotation of an account whose value is unknown.
	Current *Credential
	// Next is the account, and the slot, that is about to change.
	Next Credential
}

// Report is what Preflight found.
type Report struct {
	// Identities names each account of the plan in a way that does not depend on how the target is reached, such as the system's
	// identifier with the account's own: two objects with one identity share one account, and rotate one after the other.
	Identities map[string]string
	// System names the product and its version, as it says itself.
	System string
	// Snapshot is what the rotator wants to remember of the state before; it holds no value.
	Snapshot json.RawMessage
	// Warnings are for the person who planned it.
	Warnings []string
}

// Verdict is what a login proved.
type Verdict uint8

// The verdicts. The zero value proves nothing.
const (
	Unknown Verdict = iota
	Accepted
	Rejected
)

// String returns the verdict's word.
func (v Verdict) String() string {
	switch v {
	case Accepted:
		return "accepted"
	case Rejected:
		return "rejected"
	default:
		return "unknown"
	}
}

// Login is one try at one endpoint.
type Login struct {
	Endpoint string
	Verdict  Verdict
	// Identity is who the login became, in the words of Report.Identities. A login as somebody else is Unknown: another account shadows this one.
	Identity string
	// Detail says, without values, what the endpoint answered.
	Detail string
}

// Logins are the tries at all endpoints.
type Logins []Login

// Verdict is what all endpoints agree on, else Unknown: one that lags behind proves nothing yet.
func (l Logins) Verdict() Verdict {
	if len(l) == 0 {
		return Unknown
	}
	for _, one := range l[1:] {
		if one.Verdict != l[0].Verdict {
			return Unknown
		}
	}
	return l[0].Verdict
}

// Session is one login that is still there.
type Session struct {
	Endpoint, Account string
	// ID is the target's own id of the session. Address is where the client is, Client how it calls itself; both may be empty.
	ID, Address, Client string
	// Since is when it began; zero when the target does not tell.
	Since time.Time
}

// Slot is a credential that a target holds.
type Slot struct {
	Credential
	Created time.Time
	// Disabled is true for one that is refused until it is enabled again.
	Disabled bool
}
