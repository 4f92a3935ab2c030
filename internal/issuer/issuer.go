package issuer

import (
	"context"
	"crypto/x509"
	"encoding/asn1"
	"time"
)

// Issuer issues certificates. It is safe for concurrent use.
//
// Errors carry a kind of package fault. Invalid: this request will never be fulfilled, and the message says what to change. Forbidden: the authority
// refuses us or these names. Throttled and Unavailable: the same call may succeed later, after Error.RetryAfter where it is set. Conflict: the order
// has come to a bad end, and a new one may succeed. NotFound: the token names no order.
type Issuer interface {
	// Describe says what the issuer can do. It does no I/O.
	Describe() Description
	// Begin asks for a certificate. It returns a chain, or what to wait for.
	Begin(context.Context, Request) (Result, error)
	// Poll asks after a request that Begin, or Poll, left pending. It takes the same request as Begin did.
	Poll(ctx context.Context, r Request, token []byte) (Result, error)
}

// Description tells callers what to expect of an issuer.
type Description struct {
	// Name is the kind of issuer, in lower case: "self", "internal", "acme", "external".
	Name string
	// Waits says that Begin may leave a request pending.
	Waits bool
	// Merges says that a person brings the chain; such an issuer is a Merger, and Poll never ends by itself.
	Merges bool
	// Repeats says that a second Begin with the same Request.ID returns the certificate of the first.
	Repeats bool
	// Renews says that Previous ties a renewal to the certificate that it replaces.
	Renews bool
	// ChoosesLifetime says that Request.NotAfter is a wish which the authority may ignore.
	ChoosesLifetime bool
}

// Request is one certificate to be issued.
type Request struct {
	// ID is the caller's operation, the same whenever it is repeated. At most 128 printable ASCII characters.
	ID string
	// CSR carries the subject, the names and the public key. Its other wishes (usages, constraints) count for nothing: those are below.
	CSR *x509.CertificateRequest
	// Profile is the issuer's name for a kind of certificate; empty is its default.
	Profile string
	// KeyUsage and ExtKeyUsage narrow what the profile allows; empty takes all of it. ACME's authorities decide by themselves.
	KeyUsage    x509.KeyUsage
	ExtKeyUsage []asn1.ObjectIdentifier
	// NotAfter is when the certificate should end. It may end earlier, never later. Zero leaves it to the issuer.
	NotAfter time.Time
	// Previous is the certificate that this one replaces, or nil.
	Previous *x509.Certificate
}

// Result is a chain or what to wait for, never both.
type Result struct {
	// Chain has the leaf first, then each one's issuer. A self-signed root need not be in it.
	Chain []*x509.Certificate
	// Pending is nil when there is a chain.
	Pending *Pending
}

// Pending is a request that is under way.
type Pending struct {
	// Token is what Poll wants. It is no secret and at most MaxToken bytes long.
	Token []byte
	// RetryAfter is how long to wait before asking. Zero where only a person helps.
	RetryAfter time.Duration
	// Detail says in a sentence what is waited for.
	Detail string
}

// MaxToken is the length of the longest token, in bytes.
const MaxToken = 4096

// Merger is an issuer whose chains are brought by a person.
type Merger interface {
	// Merge takes the certificates that the authority gave for a pending request, in any order. The one with the request's public key is the leaf.
	Merge(ctx context.Context, r Request, certificates []*x509.Certificate) (Result, error)
}

// Canceller is an issuer that can give up a pending request. Giving up what has ended, or was never begun, does nothing.
type Canceller interface {
	Cancel(ctx context.Context, r Request, token []byte) error
}

// Revoker is an issuer that can take back what it issued. Taking it back twice is no error.
type Revoker interface {
	Revoke(ctx context.Context, leaf *x509.Certificate, reason Reason) error
}

// Advisor is an issuer that says when to renew (RFC 9773).
type Advisor interface {
	RenewalWindow(ctx context.Context, leaf *x509.Certificate) (Window, error)
}

// Window is when to renew: at an instant between Start and End, at once when that has passed.
type Window struct {
	Start, End time.Time
	// Explanation is the address of a page that says why, or empty.
	Explanation string
	// AskAgain is when the advice may have changed.
	AskAgain time.Time
}

// Reason is why a certificate is revoked, with the codes of RFC 5280, section 5.3.1.
type Reason int

// The reasons that are accepted. A hold is not: it would have to be lifted, and clients that cache answers would not learn that in time.
const (
	Unspecified          Reason = 0
	KeyCompromise        Reason = 1
	CACompromise         Reason = 2
	AffiliationChanged   Reason = 3
	Superseded           Reason = 4
	CessationOfOperation Reason = 5
	PrivilegeWithdrawn   Reason = 9
	AACompromise         Reason = 10
)

// Known reports whether the reason is one of the above.
func (r Reason) Known() bool {
	return r >= Unspecified && r <= CessationOfOperation || r == PrivilegeWithdrawn || r == AACompromise
}
