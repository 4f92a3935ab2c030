package directory

import (
	"context"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/identity"
	"github.com/keywright/keywright/internal/principal"
	"github.com/keywright/keywright/internal/redact"
	"github.com/keywright/keywright/internal/store"
)

// holder finds the principal whose credentials are about to change.
func (s *Service) holder(ctx context.Context, call *guard.Call, ref Ref) (*principal.Principal, guard.Need, error) {
	return s.target(ctx, call, ref, func(*principal.Principal) authz.Action { return authz.PrincipalCredentials })
}

// AddSecret gives a service principal a secret, or a managed identity the secret of its endpoint. The value is returned here and
// nowhere else: the store keeps its digest.
func (s *Service) AddSecret(ctx context.Context, call *guard.Call, ref Ref, spec identity.SecretSpec) (redact.String, *principal.Secret, error) {
	p, need, err := s.holder(ctx, call, ref)
	if err != nil {
		return "", nil, err
	}
	prepare := s.Identity.PrepareSecret
	if p.Kind == principal.ManagedIdentity {
		prepare = s.Identity.PrepareEndpointSecret
	}
	value, secret, put, err := prepare(ctx, p.Tenant, p.ID, spec)
	if err != nil {
		return "", nil, s.Guard.Refuse(ctx, call, need, err)
	}
	if err := s.change(ctx, call, need, put); err != nil {
		return "", nil, err
	}
	return value, secret, nil
}

// AddCertificate registers a certificate, PEM or DER, by whose key a service principal signs assertions.
func (s *Service) AddCertificate(ctx context.Context, call *guard.Call, ref Ref, name string, text []byte) (*principal.Certificate, error) {
	p, need, err := s.holder(ctx, call, ref)
	if err != nil {
		return nil, err
	}
	c, put, err := s.Identity.PrepareCertificate(p.Tenant, p.ID, name, text)
	if err != nil {
		return nil, s.Guard.Refuse(ctx, call, need, err)
	}
	return c, s.change(ctx, call, need, put)
}

// AddFederation believes assertions of an outside issuer, which the tenant has to trust, about one subject.
func (s *Service) AddFederation(ctx context.Context, call *guard.Call, ref Ref, f principal.Federation) (*principal.Federation, error) {
	p, need, err := s.holder(ctx, call, ref)
	if err != nil {
		return nil, err
	}
	done, put, err := s.Identity.PrepareFederation(p.Tenant, p.ID, f)
	if err != nil {
		return nil, s.Guard.Refuse(ctx, call, need, err)
	}
	return done, s.change(ctx, call, need, put)
}

// AddTOTP gives a user a generator of codes and returns its otpauth URL, here and nowhere else.
func (s *Service) AddTOTP(ctx context.Context, call *guard.Call, ref Ref, name string) (redact.String, *principal.TOTP, error) {
	p, need, err := s.holder(ctx, call, ref)
	if err != nil {
		return "", nil, err
	}
	url, totp, put, err := s.Identity.PrepareTOTP(ctx, p.Tenant, p, name)
	if err != nil {
		return "", nil, s.Guard.Refuse(ctx, call, need, err)
	}
	if err := s.change(ctx, call, need, put); err != nil {
		return "", nil, err
	}
	return url, totp, nil
}

// SetPassword sets a user's password, which signs in only together with a code. An empty one removes it.
func (s *Service) SetPassword(ctx context.Context, call *guard.Call, ref Ref, password redact.String) error {
	p, need, err := s.holder(ctx, call, ref)
	if err != nil {
		return err
	}
	put, err := s.Identity.PreparePassword(ctx, p.Tenant, p.ID, password)
	if err != nil {
		return s.Guard.Refuse(ctx, call, need, err)
	}
	return s.change(ctx, call, need, put)
}

// RemoveCredential removes the credential that is named KIND/ID. Tokens that were had by it end with it.
func (s *Service) RemoveCredential(ctx context.Context, call *guard.Call, ref Ref, credential string) error {
	p, need, err := s.holder(ctx, call, ref)
	if err != nil {
		return err
	}
	return s.change(ctx, call, need, s.Identity.PrepareRemoveCredential(p.Tenant, p.ID, credential))
}

// Issuers lists the outside issuers that the tenant believes.
func (s *Service) Issuers(ctx context.Context, call *guard.Call) (list []*store.TrustedIssuer, err error) {
	need := guard.Need{Action: authz.TrustedIssuerRead, Scope: tenantScope}
	err = s.Guard.Read(ctx, call, &need, func() error {
		return s.Store.View(ctx, func(tx store.Tx) (err error) {
			list, err = tx.TrustedIssuers(ctx, call.Caller.Tenant)
			return err
		})
	})
	return list, err
}

// Trust believes an outside issuer, in the caller's tenant.
func (s *Service) Trust(ctx context.Context, call *guard.Call, i store.TrustedIssuer) error {
	need := guard.Need{Action: authz.TrustedIssuerWrite, Scope: tenantScope, Name: fault.Clip(i.Issuer)}
	if err := s.Guard.Authorize(ctx, call, &need); err != nil {
		return err
	}
	i.Tenant = call.Caller.Tenant
	put, err := s.Identity.PrepareTrustedIssuer(i)
	if err != nil {
		return s.Guard.Refuse(ctx, call, need, err)
	}
	return s.change(ctx, call, need, put)
}

// Distrust stops believing an outside issuer. Tokens that were had by its assertions end with it.
func (s *Service) Distrust(ctx context.Context, call *guard.Call, issuer string) error {
	need := guard.Need{Action: authz.TrustedIssuerDelete, Scope: tenantScope, Name: fault.Clip(issuer)}
	if err := s.Guard.Authorize(ctx, call, &need); err != nil {
		return err
	}
	drop := s.Identity.PrepareDistrust(call.Caller.Tenant, issuer)
	return s.change(ctx, call, need, func(ctx context.Context, tx store.Tx) error {
		if _, err := tx.TrustedIssuer(ctx, call.Caller.Tenant, issuer); fault.Is(err, fault.NotFound) {
			return fault.New(fault.NotFound, "the issuer %q is not one that this tenant trusts: list the trusted issuers", fault.Clip(issuer)).Because("IssuerNotFound")
		}
		return drop(ctx, tx)
	})
}
