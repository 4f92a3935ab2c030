package identity

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/principal"
	"github.com/keywright/keywright/internal/redact"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// A refresh token is base64url( family, 16 bytes | secret, 32 bytes ). The secrets of a family form a chain: the next one is a keyed
// digest of the one before. Presenting the newest gives the next:
//
//	S0 ──▶ S1 ──▶ S2 ──▶ …        the store holds digests of the newest and the one before it
//
// Presenting the one before gives the newest again for a short while: the answer may have been lost, or two programs share a
// cache. Anything else means that somebody kept a copy, and ends the family with all its access tokens (RFC 9700, section
// 4.14.2).
const (
	familyBytes  = 16
	secretBytes  = sha256.Size
	refreshIdle  = 72 * time.Hour
	refreshLife  = 30 * 24 * time.Hour
	refreshGrace = 10 * time.Second
	// purposeRefresh keys the chain.
	purposeRefresh = "identity-refresh-token"
)

// family is the stored state of a family of refresh tokens.
type family struct {
	Principal  principal.ID `json:"p"`
	Credential string       `json:"c"`
	Client     string       `json:"a"`
	Scope      string       `json:"s"`
	Issuer     string       `json:"i"`
	Newest     []byte       `json:"n"`
	Before     []byte       `json:"b,omitempty"`
	Rotated    time.Time    `json:"r"`
	Created    time.Time    `json:"t"`
}

// RefreshRequest asks for new tokens with a refresh token (RFC 6749, section 6).
type RefreshRequest struct {
	Tenant   vault.TenantID
	ClientID string
	Refresh  redact.String
	// Resource may differ from the one before: one sign-in serves several.
	Resource string
	// Scope holds the scopes of OpenID Connect; empty means those of the sign-in.
	Scope  string
	Issuer string
	From
}

func newFamily(g personGrant, now time.Time) (redact.String, *store.SignIn, error) {
	var b [familyBytes + secretBytes]byte
	rand.Read(b[:])
	sum := sha256.Sum256(b[familyBytes:])
	now = clock.Micro(now)
	row := &store.SignIn{Kind: kindFamily, ID: hex.EncodeToString(b[:familyBytes]), Tenant: g.tenant, Expires: now.Add(refreshIdle)}
	var err error
	row.Data, err = json.Marshal(family{Principal: g.principal, Credential: g.credential, Client: g.client, Scope: g.scope, Issuer: g.issuer,
		Newest: sum[:], Rotated: now, Created: now})
	return redact.String(base64.RawURLEncoding.EncodeToString(b[:])), row, err
}

// parseRefresh takes a refresh token apart.
func parseRefresh(text redact.String) (id string, secret []byte, err error) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(text.Reveal())
	if err != nil || len(b) != familyBytes+secretBytes {
		return "", nil, wrongGrant("the refresh token is malformed")
	}
	return hex.EncodeToString(b[:familyBytes]), b[familyBytes:], nil
}

// successor returns the secret after this one.
func (s *Service) successor(ctx context.Context, t vault.TenantID, secret []byte) ([]byte, error) {
	digest, err := s.Keys.Digest(ctx, t, purposeRefresh, secret)
	if err != nil {
		return nil, fmt.Errorf("deriving a refresh token: %w", err)
	}
	sum := sha256.Sum256(digest)
	return sum[:], nil
}

// Refresh issues new tokens for a person who signed in before.
func (s *Service) Refresh(ctx context.Context, r RefreshRequest) (*Token, error) {
	if err := checkResource(r.Resource); err != nil {
		return nil, err
	}
	event := SignInEvent{Tenant: r.Tenant, Subject: fault.Clip(r.ClientID), Flow: FlowRefresh, Resource: r.Resource, Address: r.Address,
		Correlation: r.Correlation}
	pass, err := s.gate.redeem(r.Tenant, r.From)
	if err != nil {
		return nil, s.refuse(ctx, event, err)
	}
	user, g, refresh, err := s.redeemRefresh(ctx, r)
	pass.ended(err)
	if err != nil {
		return nil, s.refuse(ctx, event, err)
	}
	return s.tokens(ctx, event, user, g, refresh)
}

// redeemRefresh finds out who a refresh token belongs to, and gives the next token for it.
func (s *Service) redeemRefresh(ctx context.Context, r RefreshRequest) (*principal.Principal, personGrant, redact.String, error) {
	id, secret, err := parseRefresh(r.Refresh)
	if err != nil {
		return nil, personGrant{}, "", err
	}
	next, err := s.successor(ctx, r.Tenant, secret)
	if err != nil {
		return nil, personGrant{}, "", err
	}
	user, g, err := s.rotate(ctx, r, id, secret, next)
	if err != nil {
		return nil, personGrant{}, "", err
	}
	raw, err := hex.DecodeString(id)
	return user, g, redact.String(base64.RawURLEncoding.EncodeToString(append(raw, next...))), err
}

// rotate moves the family on by one secret, or ends it.
func (s *Service) rotate(ctx context.Context, r RefreshRequest, id string, secret, next []byte) (*principal.Principal, personGrant, error) {
	var (
		now        = clock.Micro(s.Clock.Now())
		have, then = sha256.Sum256(secret), sha256.Sum256(next)
		user       *principal.Principal
		g          personGrant
		refused    error
	)
	err := s.Store.Update(ctx, store.NewOp(now), func(tx store.Tx) error {
		refused = nil
		row, f, err := readFamily(ctx, tx, r.Tenant, id, now)
		if err != nil {
			return err
		}
		if !strings.EqualFold(f.Client, r.ClientID) {
			return wrongGrant("the refresh token was issued to another client")
		}
		g = personGrant{tenant: r.Tenant, principal: f.Principal, credential: f.Credential, client: f.Client, resource: r.Resource,
			scope: f.Scope, issuer: f.Issuer, family: id}
		if r.Scope != "" {
			g.scope = r.Scope
		}
		if r.Issuer != "" {
			g.issuer = r.Issuer
		}
		if user, err = s.loadPerson(ctx, tx, g); err != nil {
			return err
		}
		if f.Created.Before(user.TokensValidAfter) {
			return wrongGrant("the user's tokens were revoked")
		}
		switch {
		case subtle.ConstantTimeCompare(f.Newest, have[:]) == 1:
			f.Before, f.Newest, f.Rotated = f.Newest, then[:], now
			expires := until(now.Add(refreshIdle), f.Created.Add(refreshLife))
			data, err := json.Marshal(f)
			if err != nil {
				return err
			}
			return tx.PutSignIn(ctx, &store.SignIn{Kind: row.Kind, ID: row.ID, Tenant: row.Tenant, Expires: expires, Data: data})
		case subtle.ConstantTimeCompare(f.Before, have[:]) == 1 && subtle.ConstantTimeCompare(f.Newest, then[:]) == 1 &&
			now.Sub(f.Rotated) <= refreshGrace:
			return nil
		}
		refused = unauthenticated(ReusedGrant, "The refresh token was used before. Somebody may have copied it, so the sign-in was ended; sign in again.")
		return s.endFamily(ctx, tx, user, id, now)
	})
	if err == nil {
		err = refused
	}
	return user, g, err
}

func readFamily(ctx context.Context, tx store.Tx, t vault.TenantID, id string, now time.Time) (*store.SignIn, family, error) {
	var f family
	row, err := tx.SignIn(ctx, kindFamily, id, now)
	if fault.Is(err, fault.NotFound) || err == nil && row.Tenant != t {
		return nil, f, wrongGrant("the refresh token has expired or was revoked")
	}
	if err != nil {
		return nil, f, err
	}
	if err := json.Unmarshal(row.Data, &f); err != nil {
		return nil, f, fmt.Errorf("reading the state of a sign-in: %w", err)
	}
	return row, f, nil
}

// endFamily removes a family. The user's record is written with it, so that every node hears of it and looks its access tokens
// up again.
func (s *Service) endFamily(ctx context.Context, tx store.Tx, user *principal.Principal, id string, now time.Time) error {
	if err := tx.DeleteSignIn(ctx, kindFamily, id); err != nil && !fault.Is(err, fault.NotFound) {
		return err
	}
	p := clone(user)
	p.Updated = now
	return tx.PutPrincipal(ctx, p)
}
