package identity

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/go-webauthn/webauthn/protocol"
	"github.com/go-webauthn/webauthn/webauthn"

	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/principal"
	"github.com/keywright/keywright/internal/redact"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// defaultPasskey is the name of a passkey that nobody named.
const defaultPasskey = "passkey"

// CheckPasskeyOrigin reports with WrongRequest that no passkey can work for pages of the origin: WebAuthn refuses addresses.
func CheckPasskeyOrigin(origin string) error {
	_, err := relyingParty(origin)
	return err
}

// BeginPasskeyRegistration starts the registration of a passkey for a person who proved itself just now. A fault.Conflict says that
// it has as many credentials as one may have.
func (s *Service) BeginPasskeyRegistration(ctx context.Context, who *Person, origin string) (*Ceremony, error) {
	rp, err := relyingParty(origin)
	if err != nil {
		return nil, err
	}
	var h *holder
	err = s.Store.View(ctx, func(tx store.Tx) error {
		p, err := tx.Principal(ctx, who.tenant, who.id)
		if err != nil {
			return err
		}
		// Told now, before the authenticator keeps a passkey that is good for nothing.
		next := clone(p)
		next.Passkeys = append(next.Passkeys, principal.Passkey{})
		if err := checkCount(next); err != nil {
			return err
		}
		h, err = newHolder(p)
		return err
	})
	if err != nil {
		return nil, err
	}
	options, session, err := rp.BeginRegistration(h, webauthn.WithResidentKeyRequirement(protocol.ResidentKeyRequirementRequired),
		webauthn.WithExclusions(webauthn.Credentials(h.credentials).CredentialDescriptors()),
		webauthn.WithAuthenticatorSelection(protocol.AuthenticatorSelection{ResidentKey: protocol.ResidentKeyRequirementRequired,
			RequireResidentKey: protocol.ResidentKeyRequired(), UserVerification: protocol.VerificationRequired}))
	if err != nil {
		return nil, fmt.Errorf("starting a passkey ceremony: %w", err)
	}
	return s.keepCeremony(ctx, who.tenant, ceremony{User: who.id, Name: who.name, Credential: who.credential, Session: *session}, options)
}

// PasskeyAnswer is the browser's answer to BeginPasskeyRegistration.
type PasskeyAnswer struct {
	Tenant vault.TenantID
	// Origin is that of the page, Name what the person calls the passkey; "" is defaultPasskey.
	Origin, Name string
	// Ceremony is Ceremony.ID, which stands for the person: it proved itself for this, less than ceremonyLife ago.
	Ceremony redact.String
	// Response is the PublicKeyCredential as JSON.
	Response []byte
	From
}

// PreparePasskey checks the browser's answer and prepares to register the passkey. The ceremony is over, whatever comes of it. The
// person is returned with an error too once the ceremony proved it, for the record of the failure; a failure to prove anybody is
// recorded here.
func (s *Service) PreparePasskey(ctx context.Context, a PasskeyAnswer) (*Person, *principal.Passkey, Change, error) {
	event := SignInEvent{Tenant: a.Tenant, Flow: FlowEnrolment, Address: a.Address, Correlation: a.Correlation}
	pass, err := s.gate.enter(attempt{kind: "code", name: "enrolment " + string(a.Tenant), address: a.Address})
	if err != nil {
		return nil, nil, nil, s.refuse(ctx, event, err)
	}
	c, err := s.takeCeremony(ctx, a.Tenant, a.Ceremony)
	if err == nil && c.User == "" {
		err = unauthenticated(WrongPassword, "The passkey answers a sign-in and not a registration; try again.")
	}
	if err != nil {
		pass.failed(err)
		return nil, nil, nil, s.refuse(ctx, event, err)
	}
	pass.takeBack()
	who := &Person{a.Tenant, c.User, c.Name, c.Credential}
	k, change, err := s.register(who, c, a)
	return who, k, change, err
}

// register checks an answer against its ceremony.
func (s *Service) register(who *Person, c ceremony, a PasskeyAnswer) (*principal.Passkey, Change, error) {
	name := strings.TrimSpace(a.Name)
	if name == "" {
		name = defaultPasskey
	}
	if err := checkName("name of the passkey", name); err != nil {
		return nil, nil, err
	}
	rp, err := relyingParty(a.Origin)
	if err != nil {
		return nil, nil, err
	}
	parsed, err := protocol.ParseCredentialCreationResponseBytes(a.Response)
	if err != nil {
		return nil, nil, invalid(WrongRequest, "The authenticator's answer cannot be read.")
	}
	credential, err := rp.CreateCredential(&holder{user: &principal.Principal{ID: c.User}}, c.Session, parsed)
	if err != nil {
		return nil, nil, invalid(WrongRequest, "The authenticator's answer does not fit the ceremony.")
	}
	data, err := json.Marshal(credential)
	if err != nil {
		return nil, nil, err
	}
	now := clock.Micro(s.Clock.Now())
	k := principal.Passkey{ID: vault.NewGUID(), Name: name, Data: data, Created: now}
	enrolment, first := strings.CutPrefix(who.credential, credEnrolment+"/")
	put := s.alter(who.tenant, who.id, func(p *principal.Principal) error {
		// Who lost the account in between must not keep it by a passkey.
		if _, ok := credentialOf(p, who.credential, now); !ok && !first || p.Disabled || p.Kind != principal.User || c.Begun.Before(p.TokensValidAfter) {
			return wrongGrant("the user is disabled, or the credential behind the sign-in was removed")
		}
		h, err := newHolder(p)
		if err != nil {
			return err
		}
		if slices.ContainsFunc(h.credentials, func(o webauthn.Credential) bool { return bytes.Equal(o.ID, credential.ID) }) {
			return fault.New(fault.Conflict, "This passkey is registered already.")
		}
		p.Passkeys = append(p.Passkeys, k)
		return checkCount(p)
	})
	if !first {
		return &k, put, nil
	}
	return &k, func(ctx context.Context, tx store.Tx) error {
		if err := s.takeEnrolment(ctx, tx, enrolment, who.id); err != nil {
			return err
		}
		return put(ctx, tx)
	}, nil
}
