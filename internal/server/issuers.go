package server

import (
	"context"
	"crypto"
	"strings"
	"sync/atomic"

	"github.com/keywright/keywright/internal/cert"
	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/issuer"
	"github.com/keywright/keywright/internal/issuer/acme"
	"github.com/keywright/keywright/internal/issuer/external"
	"github.com/keywright/keywright/internal/issuer/internalca"
	"github.com/keywright/keywright/internal/issuer/selfsigned"
	"github.com/keywright/keywright/internal/store"
)

// issuers implements cert.Issuers over the adapters that the product has.
type issuers struct {
	clock clock.Clock
	// http and alpn answer the challenges of all ACME issuers on the server's own listeners.
	http acme.HTTP01
	alpn acme.TLSALPN01
	// names says who may prove what there, besides the hosts of their own vaults below the suffix.
	names  []ChallengeName
	suffix atomic.Pointer[string]
	// accounts are the ACME issuers in use.
	accounts accounts
	// authorities are the internal ones, and store has what they have issued.
	authorities authorities
	store       store.Store
}

func newIssuers(c clock.Clock, s store.Store, names []ChallengeName) *issuers {
	answers := challengeAnswers{store: s, clock: c}
	return &issuers{clock: c, store: s, names: names, http: acme.HTTP01{Answers: answers}, alpn: acme.TLSALPN01{Answers: answers}, accounts: accounts{open: map[string]*account{}}, authorities: authorities{open: map[string]*openedCA{}}}
}

var _ cert.Preparer = (*issuers)(nil)

// Issuer implements cert.Issuers.
func (i *issuers) Issuer(ctx context.Context, o cert.Order) (issuer.Issuer, error) {
	own := func(ctx context.Context, _ issuer.Request) (crypto.Signer, error) { return o.Signer(ctx) }
	switch {
	case o.Ref.Is(cert.SelfIssuer) && o.Ref.Type == cert.RootType:
		return internalca.NewRootIssuer(internalca.RootConfig{Clock: i.clock, Signer: own})
	case o.Ref.Is(cert.SelfIssuer):
		return selfsigned.New(selfsigned.Config{Clock: i.clock, Signer: own})
	case o.Ref.Is(cert.UnknownIssuer), isTest(o.Settings.Provider):
		return external.New(external.Config{Clock: i.clock})
	}
	if isACME(o.Settings.Provider) {
		return i.account(o)
	}
	if isCA(o.Settings.Provider) {
		return i.ca(ctx, o)
	}
	return nil, unknownProvider(o.Settings)
}

// Prepare implements cert.Preparer.
func (i *issuers) Prepare(ctx context.Context, o cert.Order) error {
	if isTest(o.Settings.Provider) {
		return nil
	}
	if isACME(o.Settings.Provider) {
		return i.prepareACME(o)
	}
	if isCA(o.Settings.Provider) {
		return i.prepareCA(ctx, o)
	}
	return unknownProvider(o.Settings)
}

func unknownProvider(s *cert.Settings) error {
	return fault.New(fault.Invalid, "the issuer %q is of the provider %q, which this server does not know: use one of %s", s.Name, fault.Clip(s.Provider),
		strings.Join(providers(), ", "))
}

// providers are the words that name a kind of authority. They are compared without regard to case.
func providers() []string { return append(acmeProviders(), providerCA, providerTest) }

// providerTest is the provider that the samples and the suites of Azure's SDKs name. It has no authority behind it: a certificate of it waits for a chain that
// somebody brings, like one of the issuer Unknown.
const providerTest = "Test"

func isTest(provider string) bool { return strings.EqualFold(provider, providerTest) }
