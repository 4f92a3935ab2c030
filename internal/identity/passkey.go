package identity

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"time"

	"github.com/go-webauthn/webauthn/protocol"
	"github.com/go-webauthn/webauthn/webauthn"

	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/principal"
	"github.com/keywright/keywright/internal/redact"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// kindCeremony is the kind of a store.SignIn that holds the challenge of a passkey ceremony.
const kindCeremony = "passkey"

// ceremonyLife is how long a person has to touch the authenticator.
const ceremonyLife = 5 * time.Minute

// Ceremony is a started passkey ceremony: ID comes back with the browser's answer, Options go to navigator.credentials.
type Ceremony struct {
	ID      redact.String
	Options any
}

// relyingParty speaks for one origin, such as https://login.example.org:8443. Passkeys need a name: an address has none.
func relyingParty(origin string) (*webauthn.WebAuthn, error) {
	u, err := url.Parse(origin)
	if err != nil || u.Scheme != "https" || u.Hostname() == "" || net.ParseIP(u.Hostname()) != nil {
		return nil, invalid(WrongRequest, "Passkeys work at https and a host name only; use a code, or open the page by its name.")
	}
	rp, err := webauthn.New(&webauthn.Config{RPID: u.Hostname(), RPDisplayName: "Keywright", RPOrigins: []string{origin}})
	if err != nil {
		return nil, fmt.Errorf("preparing passkeys for %s: %w", origin, err)
	}
	return rp, nil
}

// holder shows a user to the library.
type holder struct {
	user        *principal.Principal
	credentials []webauthn.Credential
	// ids are the names of the credentials, in the same order.
	ids []string
}

func newHolder(p *principal.Principal) (*holder, error) {
	h := &holder{user: p}
	for _, k := range p.Passkeys {
		var c webauthn.Credential
		if err := json.Unmarshal(k.Data, &c); err != nil {
			return nil, fmt.Errorf("reading passkey %s: %w", k.ID, err)
		}
		h.credentials, h.ids = append(h.credentials, c), append(h.ids, k.ID)
	}
	return h, nil
}

// WebAuthnID names the user to its authenticator: the object id, which tells nobody else anything.
func (h *holder) WebAuthnID() []byte                         { return []byte(h.user.ID) }
func (h *holder) WebAuthnName() string                       { return h.user.UPN }
func (h *holder) WebAuthnDisplayName() string                { return h.user.Name }
func (h *holder) WebAuthnCredentials() []webauthn.Credential { return h.credentials }

// BeginPasskey starts the sign-in of whoever holds a passkey for the origin. The authenticator names the user, so that nobody
// learns here who exists. How often that can be done is bounded, see starts.
func (s *Service) BeginPasskey(ctx context.Context, t vault.TenantID, origin string, from From) (*Ceremony, error) {
	rp, err := relyingParty(origin)
	if err != nil {
		return nil, err
	}
	if err := s.starts.take(t, from); err != nil {
		return nil, err
	}
	options, session, err := rp.BeginDiscoverableLogin(webauthn.WithUserVerification(protocol.VerificationRequired))
	if err != nil {
		return nil, fmt.Errorf("starting a passkey ceremony: %w", err)
	}
	return s.keepCeremony(ctx, t, ceremony{Session: *session}, options)
}

func (s *Service) keepCeremony(ctx context.Context, t vault.TenantID, state ceremony, options any) (*Ceremony, error) {
	c := &Ceremony{ID: redact.String(randomText(24)), Options: options}
	now := clock.Micro(s.Clock.Now())
	state.Begun = now
	data, err := json.Marshal(state)
	if err != nil {
		return nil, err
	}
	row := &store.SignIn{Kind: kindCeremony, ID: deviceID(c.ID), Tenant: t, Expires: now.Add(ceremonyLife), Data: data}
	return c, s.Store.Update(ctx, store.NewOp(now), func(tx store.Tx) error {
		if err := enabledTenant(ctx, tx, t); err != nil {
			return err
		}
		return tx.PutSignIn(ctx, row)
	})
}

// ceremony is the stored state of a ceremony.
type ceremony struct {
	// User, Name and Credential are set when a passkey is registered: who proved itself by what. Name is the sign-in name.
	User             principal.ID
	Name, Credential string
	Begun            time.Time
	Session          webauthn.SessionData
}

// takeCeremony finds a ceremony and removes it: its challenge is good once.
func (s *Service) takeCeremony(ctx context.Context, t vault.TenantID, id redact.String) (ceremony, error) {
	var data []byte
	now := s.Clock.Now()
	err := s.Store.Update(ctx, store.NewOp(now), func(tx store.Tx) error {
		row, err := tx.SignIn(ctx, kindCeremony, deviceID(id), now)
		if fault.Is(err, fault.NotFound) || err == nil && row.Tenant != t {
			return unauthenticated(WrongPassword, "The passkey came too late or twice; try again.")
		}
		if err != nil {
			return err
		}
		data = row.Data
		return tx.DeleteSignIn(ctx, kindCeremony, row.ID)
	})
	var c ceremony
	if err == nil {
		err = json.Unmarshal(data, &c)
	}
	return c, err
}

// SignInWithPasskey proves a person by the browser's answer to BeginPasskey.
func (s *Service) SignInWithPasskey(ctx context.Context, t vault.TenantID, origin string, id redact.String, response []byte, from From) (*Person, error) {
	event := SignInEvent{Tenant: t, Flow: FlowPasskey, Address: from.Address, Correlation: from.Correlation}
	pass, err := s.gate.enter(attempt{kind: "code", name: "passkey " + string(t), address: from.Address})
	if err != nil {
		return nil, s.refuse(ctx, event, err)
	}
	person, err := s.provePasskey(ctx, t, origin, id, response)
	if err != nil {
		pass.failed(err)
		return nil, s.refuse(ctx, event, err)
	}
	pass.takeBack()
	event.Subject = person.name
	return s.recordPerson(ctx, event, person)
}

func (s *Service) provePasskey(ctx context.Context, t vault.TenantID, origin string, id redact.String, response []byte) (*Person, error) {
	rp, err := relyingParty(origin)
	if err != nil {
		return nil, err
	}
	wrong := func(cause error) error {
		e := unauthenticated(WrongPassword, "The passkey is not one of a user here.")
		e.Err = cause
		return e
	}
	parsed, err := protocol.ParseCredentialRequestResponseBytes(response)
	if err != nil {
		return nil, wrong(err)
	}
	c, err := s.takeCeremony(ctx, t, id)
	if err != nil {
		return nil, err
	}
	if c.User != "" {
		return nil, wrong(errors.New("the ceremony is one of registration"))
	}
	var who *holder
	found, credential, err := rp.ValidatePasskeyLogin(func(_, handle []byte) (webauthn.User, error) {
		err := s.Store.View(ctx, func(tx store.Tx) error {
			p, err := tx.Principal(ctx, t, principal.ID(handle))
			if err == nil {
				who, err = newHolder(p)
			}
			return err
		})
		if err != nil {
			return nil, err
		}
		return who, nil
	}, c.Session, parsed)
	if err != nil || found == nil || who == nil {
		return nil, wrong(err)
	}
	if credential.Authenticator.CloneWarning || !credential.Flags.UserVerified || who.user.Disabled {
		return nil, wrong(errors.New("the passkey was cloned, the person not verified, or the user disabled"))
	}
	i := slices.IndexFunc(who.credentials, func(c webauthn.Credential) bool { return string(c.ID) == string(credential.ID) })
	if i < 0 {
		return nil, wrong(errors.New("the passkey is not registered"))
	}
	if err := s.keepCounter(ctx, who, i, credential); err != nil {
		return nil, err
	}
	return &Person{t, who.user.ID, who.user.UPN, credentialName(credPasskey, who.ids[i])}, nil
}

// keepCounter stores the authenticator's counter, by which a copy of it is found out.
func (s *Service) keepCounter(ctx context.Context, who *holder, i int, credential *webauthn.Credential) error {
	data, err := json.Marshal(credential)
	if err != nil {
		return err
	}
	return s.Apply(ctx, nil, s.alter(who.user.Tenant, who.user.ID, func(p *principal.Principal) error {
		j := slices.IndexFunc(p.Passkeys, func(k principal.Passkey) bool { return k.ID == who.ids[i] })
		if j < 0 || p.Disabled {
			return wrongPassword()
		}
		p.Passkeys[j].Data = data
		return nil
	}))
}
