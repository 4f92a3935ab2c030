package identity

import (
	"context"
	"crypto/sha256"
	"fmt"
	"time"
	"unsafe"

	jose "github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/principal"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// maxTokenBytes bounds what is parsed as a token or an assertion. Ours have about one kilobyte, others' rarely eight.
const maxTokenBytes = 16 << 10

// Audiences says which audiences a door takes tokens for. An implementation must not allocate: it is asked with every
// request.
type Audiences interface {
	Accepts(audience string) bool
}

// Authenticate returns who presents the token, or a fault.Unauthenticated whose reason is Key Vault's code. The caller is
// shared with other requests that present the token. A fault.Unavailable says nothing about the token.
func (s *Service) Authenticate(ctx context.Context, token string, audiences Audiences) (*guard.Caller, error) {
	if token == "" {
		return nil, unauthenticated(NoToken, "Request is missing a Bearer or PoP token.")
	}
	// The bytes are only read.
	key := tokenKey(sha256.Sum256(unsafe.Slice(unsafe.StringData(token), len(token))))
	if e := s.cache.get(&key); e != nil {
		if e.caller.Live(s.Clock.Now()) {
			if !audiences.Accepts(e.audience) {
				return nil, wrongAudience(e.audience)
			}
			return e.caller, nil
		}
		s.cache.drop(e)
	}
	return s.authenticate(ctx, token, key, audiences)
}

func (s *Service) authenticate(ctx context.Context, token string, key tokenKey, audiences Audiences) (*guard.Caller, error) {
	generation := s.cache.generation()
	c, err := s.verify(ctx, token)
	if err != nil {
		return nil, err
	}
	if !audiences.Accepts(c.Audience) {
		return nil, wrongAudience(c.Audience)
	}
	e, err := s.look(ctx, c)
	if err != nil {
		return nil, err
	}
	e.key = key
	return s.cache.put(e, generation, s.Clock.Now()), nil
}

func wrongAudience(got string) error {
	return unauthenticated(WrongAudience, "Invalid audience. The token is for %q, which is not this service; "+
		"ask for the resource that the challenge names.", fault.Clip(got))
}

// verify checks everything that the token says about itself.
func (s *Service) verify(ctx context.Context, token string) (*claims, error) {
	if len(token) > maxTokenBytes {
		return nil, unauthenticated(MalformedToken, "The token has more than %d bytes.", maxTokenBytes)
	}
	parsed, err := jwt.ParseSigned(token, []jose.SignatureAlgorithm{jose.RS256})
	if err != nil || len(parsed.Headers) != 1 {
		return nil, unauthenticated(MalformedToken, "Error validating token: it is not a JWT signed with RS256.")
	}
	var c claims
	// The tenant decides where the key is looked up. Nothing of c is believed before the signature was checked.
	if err := parsed.UnsafeClaimsWithoutVerification(&c); err != nil {
		return nil, unauthenticated(MalformedToken, "Error validating token: its claims cannot be read.")
	}
	if guid, err := vault.ParseGUID(c.Tenant); err != nil || guid != c.Tenant || c.Issuer != s.Issuer(vault.TenantID(guid)) {
		return nil, unauthenticated(WrongIssuer, "Error validating token: the issuer %q is not this installation's.", fault.Clip(c.Issuer))
	}
	r, err := s.ringWith(ctx, vault.TenantID(c.Tenant), parsed.Headers[0].KeyID)
	if err != nil {
		return nil, unavailable(err)
	}
	now := s.Clock.Now()
	pub := r.verifier(parsed.Headers[0].KeyID, now)
	if pub == nil {
		return nil, unauthenticated(UnknownKey, "Unable to find the signing key %q of the token; sign in again.",
			fault.Clip(parsed.Headers[0].KeyID))
	}
	if err := parsed.Claims(pub); err != nil {
		return nil, unauthenticated(BadSignature, "Error validating token: the signature is not valid.")
	}
	switch {
	case now.Unix() >= c.Expires:
		return nil, unauthenticated(StaleToken, "The token expired at %s; ask for a new one.", at(c.Expires))
	case now.Add(skew).Unix() < c.NotBefore, now.Add(skew).Unix() < c.IssuedAt:
		return nil, unauthenticated(StaleToken, "The token is not valid before %s.", at(c.NotBefore))
	}
	return &c, nil
}

func at(unix int64) string { return time.Unix(unix, 0).UTC().Format(time.RFC3339) }

// look finds out whether what a verified token says still holds.
func (s *Service) look(ctx context.Context, c *claims) (*entry, error) {
	var (
		p     *principal.Principal
		m     membership
		until time.Time
		now   = s.Clock.Now()
		t     = vault.TenantID(c.Tenant)
	)
	err := s.Store.View(ctx, func(tx store.Tx) (err error) {
		if err = enabledTenant(ctx, tx, t); err != nil {
			return err
		}
		if p, err = tx.Principal(ctx, t, principal.ID(c.ObjectID)); err != nil {
			return err
		}
		if until, err = s.credentialHolds(ctx, tx, p, c, now); err != nil {
			return err
		}
		m, err = transitiveGroups(ctx, tx, t, p.ID)
		return err
	})
	switch {
	case fault.Is(err, fault.NotFound):
		return nil, unauthenticated(StaleToken, "The token's principal %s does not exist any more.", fault.Clip(c.ObjectID))
	case fault.Is(err, fault.Unauthenticated):
		return nil, err
	case err != nil:
		return nil, unavailable(fmt.Errorf("looking up principal %s: %w", fault.Clip(c.ObjectID), err))
	case p.Disabled:
		return nil, unauthenticated(StaleToken, "The principal %s is disabled.", p.ID)
	case time.Unix(c.IssuedAt, 0).Before(p.TokensValidAfter):
		return nil, unauthenticated(StaleToken, "The token was issued before %s, when the tokens of principal %s were revoked; "+
			"sign in again.", p.TokensValidAfter.Format(time.RFC3339), p.ID)
	}
	expires := time.Unix(c.Expires, 0)
	if !until.IsZero() && until.Before(expires) {
		expires = until
	}
	return &entry{
		caller: &guard.Caller{Principal: p.ID, Tenant: t, Kind: p.Kind, AppID: c.AppID, Name: p.Name, UPN: p.UPN,
			Resource: p.Resource, Issuer: c.Issuer, Groups: m.groups, Credential: c.Credential, Expires: expires},
		audience: c.Audience,
		watch:    append(m.visited, c.Tenant, c.ObjectID),
	}, nil
}

// enabledTenant answers a fault.Unauthenticated for a tenant that does not exist or is disabled.
func enabledTenant(ctx context.Context, tx store.Tx, t vault.TenantID) error {
	tenant, err := tx.Tenant(ctx, t)
	if fault.Is(err, fault.NotFound) || err == nil && tenant.Disabled {
		return unauthenticated(UnknownTenant, "Tenant %q does not exist here or is disabled; check the tenant id.", fault.Clip(string(t)))
	}
	return err
}

// unavailable turns an error of the store into one that says nothing about the caller's credential.
func unavailable(err error) error {
	if fault.Of(err) != fault.Internal {
		return err
	}
	return fault.Wrap(err, fault.Unavailable, "The identity of the caller cannot be checked now; try again.")
}
