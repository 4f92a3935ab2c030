package server

import (
	"context"
	"crypto"
	"strings"

	"github.com/keywright/keywright/internal/cert"
	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/issuer"
	"github.com/keywright/keywright/internal/issuer/acme"
	"github.com/keywright/keywright/internal/issuer/external"
	"github.com/keywright/keywright/internal/issuer/selfsigned"
)

// issuers implements cert.Issuers over the adapters that the product has.
type issuers struct {
	clock clock.Clock
	// http and alpn answer the challenges of all ACME issuers on the server's own listeners.
	http acme.HTTP01
	alpn acme.TLSALPN01
	// accounts are the ACME issuers in use.
	accounts accounts
}

func newIssuers(c clock.Clock) *issuers {
	return &issuers{clock: c, accounts: accounts{open: map[string]*account{}}}
}

var _ cert.Preparer = (*issuers)(nil)

// Issuer implements cert.Issuers.
func (i *issuers) Issuer(_ context.Context, o cert.Order) (issuer.Issuer, error) {
	switch {
	case o.Ref.Is(cert.SelfIssuer):
		return selfsigned.New(selfsigned.Config{Clock: i.clock, Signer: func(ctx context.Context, _ issuer.Request) (crypto.Signer, error) {
			return o.Signer(ctx)
		}})
	case o.Ref.Is(cert.UnknownIssuer):
		return external.New(external.Config{Clock: i.clock})
	}
	if isACME(o.Settings.Provider) {
		return i.account(o)
	}
	return nil, unknownProvider(o.Settings)
}

// Prepare implements cert.Preparer.
func (i *issuers) Prepare(_ context.Context, o cert.Order) error {
	if isACME(o.Settings.Provider) {
		return i.prepareACME(o.Settings)
	}
	return unknownProvider(o.Settings)
}

func unknownProvider(s *cert.Settings) error {
	return fault.New(fault.Invalid, "the issuer %q is of the provider %q, which this server does not know: use one of %s", s.Name, fault.Clip(s.Provider),
		strings.Join(providers(), ", "))
}

// providers are the words that name a kind of authority. They are compared without regard to case.
func providers() []string { return acmeProviders() }
