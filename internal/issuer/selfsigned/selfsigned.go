// Package selfsigned issues certificates that their own key signs: for a laptop, for tests, and for peers that pin the certificate. Nobody vouches for them, and
// nothing revokes them.
package selfsigned

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"time"

	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/issuer"
	"github.com/keywright/keywright/internal/issuer/template"
)

// DefaultLifetime is that of a certificate whose request names no end.
const DefaultLifetime = 365 * 24 * time.Hour

// allUsages are what the request may choose from: a certificate that vouches for nothing but itself needs no other restraint.
const allUsages = x509.KeyUsageDigitalSignature | x509.KeyUsageContentCommitment | x509.KeyUsageKeyEncipherment | x509.KeyUsageDataEncipherment |
	x509.KeyUsageKeyAgreement | x509.KeyUsageCertSign | x509.KeyUsageCRLSign | x509.KeyUsageEncipherOnly | x509.KeyUsageDecipherOnly

// defaultUsages are those of a request without wishes.
const defaultUsages = x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment

// Config tells an Issuer where the keys are.
type Config struct {
	// Signer returns the private key of a request. It may be a handle to a key that does not leave where it is. Required.
	Signer func(context.Context, issuer.Request) (crypto.Signer, error)
	// Clock is required.
	Clock clock.Clock
	// Backdate is how much earlier than now a certificate begins, for peers whose clocks are late.
	Backdate time.Duration
}

// Issuer is the issuer "Self".
type Issuer struct{ config Config }

var _ issuer.Issuer = (*Issuer)(nil)

// New returns an Issuer.
func New(config Config) (*Issuer, error) {
	if config.Signer == nil || config.Clock == nil || config.Backdate < 0 {
		return nil, errors.New("selfsigned: a signer and a clock are required, and Backdate is not negative")
	}
	return &Issuer{config}, nil
}

// Describe says that it issues at once.
func (*Issuer) Describe() issuer.Description { return issuer.Description{Name: "self"} }

// Begin signs the certificate with its own key.
func (i *Issuer) Begin(ctx context.Context, r issuer.Request) (issuer.Result, error) {
	if err := ctx.Err(); err != nil {
		return issuer.Result{}, fault.Wrap(err, fault.Unavailable, "the request was given up before its certificate was signed")
	}
	if err := issuer.Check(r); err != nil {
		return issuer.Result{}, err
	}
	now := i.config.Clock.Now()
	rules := template.Rules{KeyUsage: allUsages, NotBefore: now.Add(-i.config.Backdate), NotAfter: now.Add(DefaultLifetime)}
	if !r.NotAfter.IsZero() {
		rules.NotAfter = r.NotAfter
	}
	if r.KeyUsage == 0 {
		r.KeyUsage = defaultUsages
	}
	c, err := template.From(r, rules)
	if err != nil {
		return issuer.Result{}, err
	}
	key, err := i.config.Signer(ctx, r)
	if err != nil {
		return issuer.Result{}, err
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, r.CSR.PublicKey, key)
	if err != nil {
		return issuer.Result{}, fault.Wrap(err, fault.Internal, "signing the certificate of request %s with its own key", r.ID)
	}
	signed, err := x509.ParseCertificate(der)
	if err != nil {
		return issuer.Result{}, fault.Wrap(err, fault.Internal, "reading the certificate that was just signed for request %s", r.ID)
	}
	chain := []*x509.Certificate{signed}
	return issuer.Result{Chain: chain}, issuer.CheckChain(r, chain)
}

// Poll knows no token: nothing is ever pending.
func (*Issuer) Poll(_ context.Context, r issuer.Request, _ []byte) (issuer.Result, error) {
	return issuer.Result{}, fault.New(fault.NotFound, "request %s is not pending: self-signed certificates are issued at once", r.ID)
}
