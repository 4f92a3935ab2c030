package identity

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/principal"
	"github.com/keywright/keywright/internal/redact"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// offline is the scope by which a client asks for a refresh token.
const offline = "offline_access"

// personGrant is what a person allowed a program, to be turned into tokens.
type personGrant struct {
	tenant     vault.TenantID
	principal  principal.ID
	credential string
	client     string
	resource   string
	// scope holds the scopes of OpenID Connect that were asked for.
	scope string
	nonce string
	// issuer is the issuer that the id token names: the one that the client found in the metadata.
	issuer string
	// family is set when tokens are refreshed.
	family string
}

func (g personGrant) asked(scope string) bool { return slices.Contains(strings.Fields(g.scope), scope) }

// checkPublicClient finds the name of a program that people sign in with.
func (s *Service) checkPublicClient(id string, t vault.TenantID) (string, error) {
	if name, ok := s.PublicClients[strings.ToLower(id)]; ok {
		return name, nil
	}
	return "", unknownClient(id, t)
}

// loadPerson finds the user behind a grant if it and the credential still count.
func (s *Service) loadPerson(ctx context.Context, tx store.Tx, g personGrant) (*principal.Principal, error) {
	if err := enabledTenant(ctx, tx, g.tenant); err != nil {
		return nil, err
	}
	p, err := tx.Principal(ctx, g.tenant, g.principal)
	if fault.Is(err, fault.NotFound) {
		return nil, wrongGrant("the user does not exist any more")
	}
	if err != nil {
		return nil, err
	}
	if _, ok := credentialOf(p, g.credential, s.Clock.Now()); !ok || p.Disabled || p.Kind != principal.User {
		return nil, wrongGrant("the user is disabled or the credential behind the sign-in was removed")
	}
	return p, nil
}

func wrongGrant(why string) *fault.Error {
	return unauthenticated(WrongGrant, "The grant is not valid: %s. Sign in again.", why)
}

// begin turns a grant into tokens. consume takes the grant away in the same transaction that starts the family of refresh tokens,
// so that it is good once.
func (s *Service) begin(ctx context.Context, event SignInEvent, g personGrant, consume func(store.Tx, string) error) (*Token, error) {
	now := s.Clock.Now()
	var refresh redact.String
	var row *store.SignIn
	if g.asked(offline) {
		var err error
		if refresh, row, err = newFamily(g, now); err != nil {
			return nil, err
		}
		g.family = row.ID
	}
	var user *principal.Principal
	err := s.Store.Update(ctx, store.NewOp(now), func(tx store.Tx) (err error) {
		if user, err = s.loadPerson(ctx, tx, g); err != nil {
			return err
		}
		if err := consume(tx, g.family); err != nil || row == nil {
			return err
		}
		return tx.PutSignIn(ctx, row)
	})
	if err != nil {
		return nil, s.refuse(ctx, event, err)
	}
	return s.tokens(ctx, event, user, g, refresh)
}

// tokens issues the access token and the id token of a grant.
func (s *Service) tokens(ctx context.Context, event SignInEvent, user *principal.Principal, g personGrant, refresh redact.String) (*Token, error) {
	var m membership
	err := s.Store.View(ctx, func(tx store.Tx) (err error) {
		m, err = transitiveGroups(ctx, tx, user.Tenant, user.ID)
		return err
	})
	if err != nil {
		return nil, s.refuse(ctx, event, err)
	}
	event.Principal, event.Credential = user.ID, g.credential
	t, err := s.grant(ctx, event, user, m.groups, issue{resource: g.resource, client: g.client, credential: g.credential, family: g.family})
	if err != nil {
		return nil, err
	}
	t.Refresh = refresh
	t.Scope = strings.TrimSpace(g.resource + "/.default " + g.scope)
	if g.asked("openid") {
		id, err := s.idToken(ctx, user, g, t)
		if err != nil {
			return nil, err
		}
		t.IDToken = redact.String(id)
	}
	return t, nil
}

// idClaims is the body of an id token (OpenID Connect Core 1.0, section 2), with the claims that the client libraries read.
type idClaims struct {
	Audience  string `json:"aud"`
	Issuer    string `json:"iss"`
	IssuedAt  int64  `json:"iat"`
	NotBefore int64  `json:"nbf"`
	Expires   int64  `json:"exp"`
	Name      string `json:"name"`
	Nonce     string `json:"nonce,omitempty"`
	ObjectID  string `json:"oid"`
	Username  string `json:"preferred_username"`
	UPN       string `json:"upn"`
	Subject   string `json:"sub"`
	Tenant    string `json:"tid"`
	Version   string `json:"ver"`
}

func (s *Service) idToken(ctx context.Context, user *principal.Principal, g personGrant, t *Token) (string, error) {
	issuer := g.issuer
	if issuer == "" {
		issuer = s.Issuer(user.Tenant)
	}
	text, err := s.sign(ctx, user.Tenant, idClaims{Audience: g.client, Issuer: issuer, IssuedAt: t.Issued.Unix(), NotBefore: t.Issued.Unix(),
		Expires: t.Expires.Unix(), Name: user.Name, Nonce: g.nonce, ObjectID: string(user.ID), Username: user.UPN, UPN: user.UPN,
		Subject: string(user.ID), Tenant: string(user.Tenant), Version: "2.0"})
	if err != nil {
		return "", fmt.Errorf("signing an id token: %w", err)
	}
	return text, nil
}

// userCodeAlphabet has no vowels, so that no words arise, and nothing that looks like something else (RFC 8628, section 6.1).
const userCodeAlphabet = "BCDFGHJKLMNPQRSTVWXZ"

// userCodeLength gives 20^8 codes, of which five failed tries from one address buy a pause.
const userCodeLength = 8

// ParseUserCode reads a user code however it was typed: in any case, with any hyphens and blanks.
func ParseUserCode(text string) (redact.String, error) {
	code := make([]byte, 0, userCodeLength)
	for _, c := range strings.ToUpper(text) {
		switch {
		case strings.ContainsRune(" -\t\u2010\u2011\u2013", c):
		case c < 0x80 && strings.ContainsRune(userCodeAlphabet, c) && len(code) < userCodeLength:
			code = append(code, byte(c))
		default:
			return "", invalid(WrongCode, "That is not a code: a code has %d letters, such as BCDF-GHJK.", userCodeLength)
		}
	}
	if len(code) != userCodeLength {
		return "", invalid(WrongCode, "That is not a code: a code has %d letters, such as BCDF-GHJK.", userCodeLength)
	}
	return redact.String(code), nil
}

// FormatUserCode writes a user code as people read it: in two halves.
func FormatUserCode(code redact.String) redact.String {
	return code[:userCodeLength/2] + "-" + code[userCodeLength/2:]
}

// until returns the earlier of two instants.
func until(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
