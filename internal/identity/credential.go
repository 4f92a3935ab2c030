package identity

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/principal"
	"github.com/keywright/keywright/internal/store"
)

// The kinds of credentials. A credential is named KIND/ID in tokens, records and guard.Caller.
const (
	credSecret      = "secret"
	credCertificate = "certificate"
	credFederation  = "federation"
	// credBinding is a managed identity that a listener vouches for; it has no id.
	credBinding = "binding"
	credPasskey = "passkey"
	credTOTP    = "totp"
)

func credentialName(kind, id string) string { return kind + "/" + id }

// credentialHolds reports whether the credential by which a token was had still counts, and until when; zero means without end.
func (s *Service) credentialHolds(ctx context.Context, tx store.Tx, p *principal.Principal, c *claims, now time.Time) (time.Time, error) {
	until, ok := credentialOf(p, c.Credential, now)
	if !ok {
		return until, unauthenticated(StaleToken, "The credential %q by which the token was had has expired or was removed; "+
			"sign in with another.", fault.Clip(c.Credential))
	}
	if kind, id, _ := strings.Cut(c.Credential, "/"); kind == credFederation {
		i := slices.IndexFunc(p.Federations, func(f principal.Federation) bool { return f.ID == id })
		if _, err := tx.TrustedIssuer(ctx, p.Tenant, p.Federations[i].Issuer); err != nil {
			if fault.Is(err, fault.NotFound) {
				return until, unauthenticated(StaleToken, "The issuer of the assertion behind the token is not trusted any more.")
			}
			return until, err
		}
	}
	if c.Family != "" {
		if _, err := tx.SignIn(ctx, kindFamily, c.Family, now); err != nil {
			if fault.Is(err, fault.NotFound) {
				return until, unauthenticated(StaleToken, "The sign-in behind the token was ended; sign in again.")
			}
			return until, err
		}
	}
	return until, nil
}

// credentialOf finds the named credential and says until when it counts.
func credentialOf(p *principal.Principal, name string, now time.Time) (until time.Time, ok bool) {
	kind, id, _ := strings.Cut(name, "/")
	switch kind {
	case credSecret:
		for _, c := range p.Secrets {
			if c.ID == id {
				return c.Expires, valid(c.NotBefore, c.Expires, now)
			}
		}
	case credCertificate:
		for _, c := range p.Certificates {
			if c.ID == id {
				return c.Expires, valid(c.NotBefore, c.Expires, now)
			}
		}
	case credFederation:
		return until, slices.ContainsFunc(p.Federations, func(c principal.Federation) bool { return c.ID == id })
	case credBinding:
		return until, p.Kind == principal.ManagedIdentity
	case credPasskey:
		return until, slices.ContainsFunc(p.Passkeys, func(c principal.Passkey) bool { return c.ID == id })
	case credTOTP:
		return until, len(p.Password) > 0 && slices.ContainsFunc(p.TOTP, func(c principal.TOTP) bool { return c.ID == id })
	}
	return until, false
}

// valid reports whether now lies in a span; a zero end is no end.
func valid(from, to, now time.Time) bool {
	return !now.Before(from) && (to.IsZero() || now.Before(to))
}
