package internalca

import (
	"context"
	"crypto"
	"crypto/x509"
	"errors"

	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/issuer"
)

// RootMaxPathLen is how many authorities may stand between a root that a RootIssuer makes and a leaf.
const RootMaxPathLen = 1

// RootConfig tells a RootIssuer where the keys are. Both are required.
type RootConfig struct {
	// Signer returns the private key of a request.
	Signer func(context.Context, issuer.Request) (crypto.Signer, error)
	Clock  clock.Clock
}

// RootIssuer makes roots: certificates of authorities that their own key signs. Of a request, the subject counts and the end.
type RootIssuer struct{ config RootConfig }

var _ issuer.Issuer = (*RootIssuer)(nil)

// NewRootIssuer returns a RootIssuer.
func NewRootIssuer(c RootConfig) (*RootIssuer, error) {
	if c.Signer == nil || c.Clock == nil {
		return nil, errors.New("internalca: a signer and a clock are required")
	}
	return &RootIssuer{c}, nil
}

// Describe says that it issues at once.
func (*RootIssuer) Describe() issuer.Description { return issuer.Description{Name: "root"} }

// Begin signs the root with its own key.
func (i *RootIssuer) Begin(ctx context.Context, r issuer.Request) (issuer.Result, error) {
	if err := ctx.Err(); err != nil {
		return issuer.Result{}, fault.Wrap(err, fault.Unavailable, "the request was given up before its certificate was signed")
	}
	if err := issuer.Check(r); err != nil {
		return issuer.Result{}, err
	}
	key, err := i.config.Signer(ctx, r)
	if err != nil {
		return issuer.Result{}, err
	}
	root, err := SelfSign(Root{Subject: r.CSR.Subject, NotBefore: i.config.Clock.Now().Add(-DefaultBackdate), NotAfter: r.NotAfter, MaxPathLen: RootMaxPathLen}, key)
	if err != nil {
		return issuer.Result{}, err
	}
	chain := []*x509.Certificate{root}
	return issuer.Result{Chain: chain}, issuer.CheckChain(r, chain)
}

// Poll knows no token: nothing is ever pending.
func (*RootIssuer) Poll(_ context.Context, r issuer.Request, _ []byte) (issuer.Result, error) {
	return issuer.Result{}, fault.New(fault.NotFound, "request %s is not pending: roots are signed at once", r.ID)
}
