package identity

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/principal"
	"github.com/keywright/keywright/internal/redact"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// ManagedRequest asks for a token for a managed identity: with the secret of its endpoint, or bound to it by the listener that
// the request came through.
type ManagedRequest struct {
	// Secret is the header of App Service's endpoint.
	Secret redact.String
	// Tenant and Principal say who is bound; they are ignored when Secret is set.
	Tenant    vault.TenantID
	Principal principal.ID
	// ClientID, ObjectID and ResourceID, when set, must be those of the identity.
	ClientID, ObjectID, ResourceID string
	Resource                       string
	From
}

// PrepareEndpointSecret draws the secret of a managed identity's endpoint (IDENTITY_HEADER). It names whom it belongs to, so that
// a request needs no other hint:
//
//	base64url( tenant GUID, 16 bytes | object GUID, 16 bytes | random, 32 bytes )
func (s *Service) PrepareEndpointSecret(ctx context.Context, t vault.TenantID, id principal.ID, spec SecretSpec) (redact.String, *principal.Secret, Change, error) {
	tenant, err := guidBytes(string(t))
	if err != nil {
		return "", nil, nil, err
	}
	object, err := guidBytes(string(id))
	if err != nil {
		return "", nil, nil, err
	}
	var b [endpointSecretBytes]byte
	copy(b[:16], tenant[:])
	copy(b[16:32], object[:])
	rand.Read(b[32:])
	return s.prepareSecret(ctx, t, id, principal.ManagedIdentity, spec, redact.String(base64.RawURLEncoding.EncodeToString(b[:])))
}

const endpointSecretBytes = 64

// guidBytes returns the bytes of a GUID that vault.FormatGUID wrote.
func guidBytes(s string) (b [16]byte, err error) {
	if s, err = vault.ParseGUID(s); err != nil {
		return b, err
	}
	_, err = hex.Decode(b[:], []byte(strings.ReplaceAll(s, "-", "")))
	return b, err
}

// parseEndpointSecret says whom an endpoint secret claims to belong to.
func parseEndpointSecret(text redact.String) (vault.TenantID, principal.ID, error) {
	b, err := base64.RawURLEncoding.DecodeString(text.Reveal())
	if err != nil || len(b) != endpointSecretBytes {
		return "", "", unauthenticated(WrongSecret, "The identity header is not valid; take it from the environment of the workload.")
	}
	return vault.TenantID(vault.FormatGUID([16]byte(b[:16]))), principal.ID(vault.FormatGUID([16]byte(b[16:32]))), nil
}

// ManagedIdentity issues a token for a managed identity.
func (s *Service) ManagedIdentity(ctx context.Context, r ManagedRequest) (*Token, error) {
	if err := checkResource(r.Resource); err != nil {
		return nil, err
	}
	event := SignInEvent{Tenant: r.Tenant, Subject: string(r.Principal), Flow: FlowManaged, Resource: r.Resource, Address: r.Address,
		Correlation: r.Correlation}
	var malformed error
	if r.Secret != "" {
		var t vault.TenantID
		var id principal.ID
		if t, id, malformed = parseEndpointSecret(r.Secret); malformed == nil {
			r.Tenant, r.Principal = t, id
			event.Tenant, event.Subject = t, string(id)
		}
	}
	who := attempt{"client", string(r.Tenant) + "/" + string(r.Principal), r.Address}
	if malformed != nil {
		who = attempt{kind: "grant", address: r.Address} // it names nobody
	}
	pass, err := s.gate.enter(who)
	if err != nil {
		return nil, s.refuse(ctx, event, err)
	}
	if malformed != nil {
		pass.failed(malformed)
		return nil, s.refuse(ctx, event, malformed)
	}
	proof, err := s.proveManaged(ctx, r)
	if err != nil {
		pass.failed(err)
		return nil, s.refuse(ctx, event, err)
	}
	pass.succeeded()
	event.Principal, event.Credential = proof.principal.ID, proof.credential
	return s.grant(ctx, event, proof.principal, proof.groups, issue{resource: r.Resource, client: proof.principal.AppID,
		credential: proof.credential, until: proof.until})
}

func (s *Service) proveManaged(ctx context.Context, r ManagedRequest) (proof, error) {
	p := proof{flow: FlowManaged, credential: credentialName(credBinding, "")}
	err := s.Store.View(ctx, func(tx store.Tx) (err error) {
		if err = enabledTenant(ctx, tx, r.Tenant); err != nil {
			return err
		}
		if p.principal, err = tx.Principal(ctx, r.Tenant, r.Principal); err != nil {
			return err
		}
		m, err := transitiveGroups(ctx, tx, r.Tenant, p.principal.ID)
		p.groups = m.groups
		return err
	})
	if fault.Is(err, fault.NotFound) || err == nil && p.principal.Kind != principal.ManagedIdentity {
		return p, unauthenticated(UnknownIdentity, "No managed identity belongs to this endpoint.")
	}
	if err != nil {
		return p, fmt.Errorf("looking up a managed identity: %w", err)
	}
	if r.Secret != "" {
		if err := s.proveSecret(ctx, &p, r.Secret); err != nil {
			return p, err
		}
	}
	switch {
	case p.principal.Disabled:
		return p, unauthenticated(DisabledPrincipal, "The managed identity %s is disabled.", p.principal.ID)
	case r.ClientID != "" && !strings.EqualFold(r.ClientID, p.principal.AppID),
		r.ObjectID != "" && !strings.EqualFold(r.ObjectID, string(p.principal.ID)),
		r.ResourceID != "" && !strings.EqualFold(r.ResourceID, p.principal.Resource):
		return p, invalid(UnknownIdentity, "Identity not found: the identity that was asked for is not assigned to this workload.")
	}
	return p, nil
}
