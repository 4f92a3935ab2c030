package identity

import (
	"context"
	"encoding/json"
	"strings"

	"github.com/coreos/go-oidc/v3/oidc"
	jose "github.com/go-jose/go-jose/v4"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// A statement is what is signed beside tokens: an attestation of who may get a key, by an outside issuer, and what was released to it, by us.

// statementType is the typ of the statements that we sign (RFC 8725, section 3.11): nobody takes one for a token.
const statementType = "keyrelease+jws"

// BelieveStatement returns the claims of a JWT of an outside issuer that the tenant trusts. It checks the signature, the issuer and the time; an audience
// is not asked for, since attestations are made for whoever reads them. What proves nothing is a fault.Unauthenticated.
func (s *Service) BelieveStatement(ctx context.Context, t vault.TenantID, issuer, text string) (map[string]any, error) {
	if len(text) > maxTokenBytes {
		return nil, unauthenticated(WrongAssertion, "The statement has more than %d bytes.", maxTokenBytes)
	}
	var record *store.TrustedIssuer
	err := s.Store.View(ctx, func(tx store.Tx) (err error) {
		if record, err = tx.TrustedIssuer(ctx, t, issuer); fault.Is(err, fault.NotFound) {
			record, err = tx.TrustedIssuer(ctx, t, strings.TrimRight(issuer, "/"))
		}
		return err
	})
	if fault.Is(err, fault.NotFound) {
		return nil, unauthenticated(UntrustedIssuer, "The issuer '%s' is not trusted in this tenant; an administrator can add it.", fault.Clip(issuer))
	}
	if err != nil {
		return nil, err
	}
	keys, err := s.keySet(ctx, record)
	if err != nil {
		return nil, err
	}
	verifier := oidc.NewVerifier(issuer, keys, &oidc.Config{SkipClientIDCheck: true, Now: s.Clock.Now, SupportedSigningAlgs: algorithmNames(federatedAlgorithms)})
	token, err := verifier.Verify(ctx, text)
	if err != nil {
		e := unauthenticated(WrongAssertion, "The statement cannot be verified with the keys of '%s'.", fault.Clip(issuer))
		e.Err = err
		return nil, e
	}
	var claims map[string]any
	if err := token.Claims(&claims); err != nil {
		return nil, unauthenticated(WrongAssertion, "The claims of the statement cannot be read.")
	}
	return claims, nil
}

// SignStatement returns a JWS over a JSON object in the compact form (RFC 7515, section 7.1), signed by the key that the tenant's tokens are signed with
// and that its published key set has. It is no token, and refuses what could be taken for one.
func (s *Service) SignStatement(ctx context.Context, t vault.TenantID, payload []byte) (string, error) {
	var named struct {
		Issuer  any `json:"iss"`
		Subject any `json:"sub"`
	}
	if err := json.Unmarshal(payload, &named); err != nil || named.Issuer != nil || named.Subject != nil {
		return "", fault.New(fault.Internal, "a statement is a JSON object without an issuer or a subject")
	}
	key, id, err := s.signer(ctx, t)
	if err != nil {
		return "", err
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: jose.JSONWebKey{Key: key, KeyID: id}}, (&jose.SignerOptions{}).WithType(statementType))
	if err != nil {
		return "", err
	}
	signed, err := signer.Sign(payload)
	if err != nil {
		return "", err
	}
	return signed.CompactSerialize()
}
