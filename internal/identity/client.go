package identity

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/principal"
	"github.com/keywright/keywright/internal/redact"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// ClientRequest asks for a token for an application itself (RFC 6749, section 4.4).
type ClientRequest struct {
	Tenant   vault.TenantID
	ClientID string
	// Exactly one of Secret and Assertion (RFC 7523) is set.
	Secret    redact.String
	Assertion redact.String
	// Resource becomes the token's audience.
	Resource string
	// Endpoints are the URLs of this installation's token endpoints and issuers under the host that was called. One of them
	// must be the assertion's audience. The door must know the host for its own: an assertion made for somebody else must
	// not become good by a Host header.
	Endpoints []string
	From
}

// From says where a request came from.
type From struct {
	Address     netip.Addr
	Correlation string
}

// ClientCredentials proves an application and issues a token for it.
func (s *Service) ClientCredentials(ctx context.Context, r ClientRequest) (*Token, error) {
	if err := checkResource(r.Resource); err != nil {
		return nil, err
	}
	if (r.Secret == "") == (r.Assertion == "") {
		return nil, invalid(MissingCredential, "The request must hold either a client secret or a client assertion.")
	}
	pass, err := s.gate.enter(attempt{"client", string(r.Tenant) + "/" + strings.ToLower(r.ClientID), r.Address})
	if err != nil {
		return nil, s.refuse(ctx, r.event(FlowSecret), err)
	}
	proof, err := s.proveClient(ctx, r)
	event := r.event(proof.flow)
	if err != nil {
		pass.failed(err)
		return nil, s.refuse(ctx, event, err)
	}
	pass.succeeded()
	event.Principal, event.Credential = proof.principal.ID, proof.credential
	return s.grant(ctx, event, proof.principal, proof.groups, issue{resource: r.Resource, client: proof.principal.AppID,
		credential: proof.credential, until: proof.until})
}

func (r ClientRequest) event(f Flow) SignInEvent {
	return SignInEvent{Tenant: r.Tenant, Subject: fault.Clip(r.ClientID), Flow: f, Resource: r.Resource, Address: r.Address,
		Correlation: r.Correlation}
}

// proof is a principal and what proved it.
type proof struct {
	principal  *principal.Principal
	groups     []principal.ID
	flow       Flow
	credential string
	until      time.Time
}

func (s *Service) proveClient(ctx context.Context, r ClientRequest) (proof, error) {
	p := proof{flow: FlowSecret}
	if r.Assertion != "" {
		p.flow = FlowCertificate
	}
	id, err := vault.ParseGUID(r.ClientID)
	if err != nil {
		return p, unknownClient(r.ClientID, r.Tenant)
	}
	err = s.Store.View(ctx, func(tx store.Tx) (err error) {
		if err = enabledTenant(ctx, tx, r.Tenant); err != nil {
			return err
		}
		if p.principal, err = tx.PrincipalByAppID(ctx, r.Tenant, id); err != nil {
			return err
		}
		m, err := transitiveGroups(ctx, tx, r.Tenant, p.principal.ID)
		p.groups = m.groups
		return err
	})
	switch {
	case fault.Is(err, fault.NotFound):
		return p, unknownClient(r.ClientID, r.Tenant)
	case err != nil:
		return p, fmt.Errorf("looking up client %s: %w", id, err)
	case p.principal.Kind != principal.Service:
		// The credentials of a managed identity are good at its own endpoint only.
		return p, unknownClient(r.ClientID, r.Tenant)
	}
	if r.Secret != "" {
		err = s.proveSecret(ctx, &p, r.Secret)
	} else {
		err = s.proveAssertion(ctx, &p, r)
	}
	if err == nil && p.principal.Disabled {
		// Said only to somebody who holds a credential.
		err = unauthenticated(DisabledPrincipal, "The service principal of application %s is disabled.", id)
	}
	return p, err
}

func unknownClient(id string, t vault.TenantID) error {
	return unauthenticated(UnknownClient, "Application with identifier '%s' was not found in the directory '%s'. Check the client id "+
		"and the tenant.", fault.Clip(id), fault.Clip(string(t)))
}

// proveSecret finds the client secret among those that the principal has.
func (s *Service) proveSecret(ctx context.Context, p *proof, secret redact.String) error {
	match, err := s.matchSecret(ctx, p.principal, secret)
	if err != nil {
		return err
	}
	now := s.Clock.Now()
	switch {
	case match == nil:
		return unauthenticated(WrongSecret, "Invalid client secret provided. Ensure the secret being sent in the request is the client "+
			"secret value, not the client secret ID, for a secret added to app '%s'.", p.principal.AppID)
	case !valid(match.NotBefore, match.Expires, now):
		return unauthenticated(ExpiredSecret, "The provided client secret keys for app '%s' are expired or not valid yet. Add a new "+
			"secret to the application.", p.principal.AppID)
	}
	p.credential, p.until = credentialName(credSecret, match.ID), match.Expires
	return nil
}

// matchSecret returns the secret that was presented, or nil. It compares with all of them, so that its time does not tell which
// one, and prefers a valid one should the same value have been registered twice.
func (s *Service) matchSecret(ctx context.Context, p *principal.Principal, secret redact.String) (*principal.Secret, error) {
	var match *principal.Secret
	now := s.Clock.Now()
	for i := range p.Secrets {
		c := &p.Secrets[i]
		same, err := s.Keys.Matches(ctx, p.Tenant, purposeSecret, []byte(secret.Reveal()), c.Digest)
		if err != nil {
			return nil, fmt.Errorf("comparing a client secret: %w", err)
		}
		if same && (match == nil || valid(c.NotBefore, c.Expires, now)) {
			match = c
		}
	}
	return match, nil
}

// refuse records why no token is issued and returns err for the caller.
func (s *Service) refuse(ctx context.Context, e SignInEvent, err error) error {
	f := fault.As(err)
	if f == nil {
		err = unavailable(err)
		f = fault.As(err)
	}
	e.At, e.Reason = s.Clock.Now(), f.Reason
	if e.Reason == "" {
		e.Reason = fault.Reason(f.Kind.String())
	}
	if failed := s.Auditor.SignIn(ctx, e); failed != nil {
		s.Logger.ErrorContext(ctx, "a refused sign-in could not be recorded", "flow", e.Flow, "tenant", e.Tenant,
			"correlation", e.Correlation, "error", failed)
	}
	return err
}

// grant issues a token, once its issue is recorded.
func (s *Service) grant(ctx context.Context, e SignInEvent, p *principal.Principal, groups []principal.ID, i issue) (*Token, error) {
	t, err := s.mint(ctx, p, groups, i)
	if err != nil {
		return nil, s.refuse(ctx, e, err)
	}
	e.At, e.Token = s.Clock.Now(), t.ID
	if err := s.Auditor.SignIn(ctx, e); err != nil {
		return nil, fault.Wrap(err, fault.Unavailable, "The sign-in cannot be recorded now, so no token is issued; try again.")
	}
	return t, nil
}

// endpointMatches reports whether an assertion's audience is one of ours, a trailing slash apart.
func endpointMatches(audience, endpoints []string) bool {
	return slices.ContainsFunc(audience, func(a string) bool {
		return slices.ContainsFunc(endpoints, func(e string) bool {
			return strings.EqualFold(strings.TrimRight(a, "/"), strings.TrimRight(e, "/"))
		})
	})
}
