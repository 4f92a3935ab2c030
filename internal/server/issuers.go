package server

import (
	"context"
	"crypto"

	"github.com/keywright/keywright/internal/cert"
	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/issuer"
	"github.com/keywright/keywright/internal/issuer/external"
	"github.com/keywright/keywright/internal/issuer/selfsigned"
)

// issuers implements cert.Issuers over the adapters that the product has.
type issuers struct{ clock clock.Clock }

// Issuer implements cert.Issuers.
func (i issuers) Issuer(_ context.Context, o cert.Order) (issuer.Issuer, error) {
	switch {
	case o.Ref.Is(cert.SelfIssuer):
		return selfsigned.New(selfsigned.Config{Clock: i.clock, Signer: func(ctx context.Context, _ issuer.Request) (crypto.Signer, error) {
			return o.Signer(ctx)
		}})
	case o.Ref.Is(cert.UnknownIssuer):
		return external.New(external.Config{Clock: i.clock})
	}
	return nil, fault.New(fault.Invalid, "the issuer %q is of the provider %q, which this server does not know", o.Settings.Name, o.Settings.Provider)
}
