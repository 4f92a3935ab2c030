package identity

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"time"

	jose "github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/keywright/keywright/internal/principal"
	"github.com/keywright/keywright/internal/redact"
	"github.com/keywright/keywright/internal/vault"
)

// Token is an issued access token and what goes with it.
type Token struct {
	Access redact.String
	// ID is the token's id (jti).
	ID       string
	Issued   time.Time
	Expires  time.Time
	Resource string
	// ClientID is the program that asked; for applications also who was proved.
	ClientID string
	// Refresh and IDToken are set for people; Scope is what they asked for.
	Refresh, IDToken redact.String
	Scope            string
	Tenant           vault.TenantID
	Principal        principal.ID
}

// Lifetime is how long the token lives from its issue.
func (t *Token) Lifetime() time.Duration { return t.Expires.Sub(t.Issued) }

// The values of idtyp.
const (
	appToken  = "app"
	userToken = "user"
)

// claims is the body of an access token, in the words of the tokens that Key Vault accepts. Every byte of it is hashed and
// carried with each request, so it holds no more than somebody reads.
type claims struct {
	Audience   string   `json:"aud"`
	Issuer     string   `json:"iss"`
	IssuedAt   int64    `json:"iat"`
	NotBefore  int64    `json:"nbf"`
	Expires    int64    `json:"exp"`
	AppID      string   `json:"appid,omitempty"`
	IDType     string   `json:"idtyp"`
	ObjectID   string   `json:"oid"`
	Subject    string   `json:"sub"`
	Tenant     string   `json:"tid"`
	UPN        string   `json:"upn,omitempty"`
	Groups     []string `json:"groups,omitempty"`
	HasGroups  bool     `json:"hasgroups,omitempty"`
	ID         string   `json:"jti"`
	UniqueID   string   `json:"uti"`
	Version    string   `json:"ver"`
	ResourceID string   `json:"xms_mirid,omitempty"`
	// Credential names the credential by which the token was had, and Family the sign-in that its refresh token continues;
	// both are ours alone.
	Credential string `json:"kwc"`
	Family     string `json:"kwf,omitempty"`
}

// mostGroupClaims bounds the groups in a token. They are there for people who look; Authenticate reads the store.
const mostGroupClaims = 20

// issue is what mint needs to know beyond the principal.
type issue struct {
	resource   string
	client     string
	credential string
	family     string
	// until bounds the token's life by that of its credential; zero does not.
	until time.Time
}

func (s *Service) mint(ctx context.Context, p *principal.Principal, groups []principal.ID, i issue) (*Token, error) {
	now := s.Clock.Now().UTC().Truncate(time.Second)
	expires := now.Add(s.TokenLifetime)
	if !i.until.IsZero() && i.until.Before(expires) {
		expires = i.until.Truncate(time.Second)
	}
	issued := now
	if issued.Before(p.TokensValidAfter) && !s.Clock.Now().Before(p.TokensValidAfter) {
		// The revocation lies within this second, and this token after it. Its claim, which has whole seconds, says so.
		issued = issued.Add(time.Second)
	}
	id := randomText(12)
	c := claims{
		Audience: i.resource, Issuer: s.Issuer(p.Tenant), IssuedAt: issued.Unix(), NotBefore: now.Unix(), Expires: expires.Unix(),
		AppID: i.client, IDType: appToken, ObjectID: string(p.ID), Subject: string(p.ID), Tenant: string(p.Tenant),
		ID: id, UniqueID: id, Version: "1.0", ResourceID: p.Resource, Credential: i.credential, Family: i.family,
	}
	if p.Kind == principal.User {
		c.IDType, c.UPN = userToken, p.UPN
	}
	if c.HasGroups = len(groups) > mostGroupClaims; !c.HasGroups {
		for _, g := range groups {
			c.Groups = append(c.Groups, string(g))
		}
	}
	access, err := s.sign(ctx, p.Tenant, c)
	if err != nil {
		return nil, err
	}
	return &Token{Access: redact.String(access), ID: id, Issued: now, Expires: expires, Resource: i.resource,
		ClientID: i.client, Tenant: p.Tenant, Principal: p.ID}, nil
}

// sign returns body as a JWT signed with the tenant's present key.
func (s *Service) sign(ctx context.Context, t vault.TenantID, body any) (string, error) {
	key, id, err := s.signer(ctx, t)
	if err != nil {
		return "", err
	}
	select {
	case s.heavy <- struct{}{}:
		defer func() { <-s.heavy }()
	case <-ctx.Done():
		return "", ctx.Err()
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: jose.JSONWebKey{Key: key, KeyID: id}},
		(&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		return "", fmt.Errorf("preparing to sign a token: %w", err)
	}
	text, err := jwt.Signed(signer).Claims(body).Serialize()
	if err != nil {
		return "", fmt.Errorf("signing a token: %w", err)
	}
	return text, nil
}

// randomText returns n random bytes in unpadded base64url.
func randomText(n int) string {
	b := make([]byte, n)
	rand.Read(b)
	return base64.RawURLEncoding.EncodeToString(b)
}
