package key

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"strings"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/cryptokey"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/vault"
)

// Attestations believes and makes signed statements. The identity service does.
type Attestations interface {
	// BelieveStatement returns the claims of a JWT of the issuer, which the tenant trusts. One that proves nothing is a fault.Unauthenticated, an issuer
	// that cannot be reached a fault.Unavailable.
	BelieveStatement(ctx context.Context, t vault.TenantID, issuer, text string) (claims map[string]any, err error)
	// SignStatement returns a JWS over the payload (RFC 7515, compact), signed by the tenant's key.
	SignStatement(ctx context.Context, t vault.TenantID, payload []byte) (string, error)
}

// ReleaseRequest asks for a key.
type ReleaseRequest struct {
	// Target is the attestation of who is to get the key: a JWT. It names the RSA key for which the released one is wrapped.
	Target string
	// Nonce comes back in the answer.
	Nonce string
	// Encoding says how to wrap; empty means CKM_RSA_AES_KEY_WRAP.
	Encoding cryptokey.TransferEncoding
	// Kid makes the id of the released version, for the answer.
	Kid func(Item) string
}

const (
	maxTargetBytes = 64 << 10
	maxNonceBytes  = 1 << 10
)

// Release gives a key to who is attested, wrapped for the attested key, as a JWS whose payload has the request and the wrapped key. The attestation has to
// be of an authority that both the key's release policy and the tenant trust, and its claims have to satisfy the policy: otherwise it is a fault.Forbidden.
func (s *Service) Release(ctx context.Context, call *guard.Call, sel Selector, r ReleaseRequest) (item Item, jws string, err error) {
	if err := vault.CheckObjectName(sel.Name); err != nil {
		return Item{}, "", err
	}
	need := guard.Need{Action: authz.KeyRelease, Kind: vault.Key, Name: sel.Name, Version: sel.Version}
	err = s.Guard.Read(ctx, call, &need, func() error {
		rec, err := s.objects.Record(ctx, call, &sel)
		if err != nil {
			return err
		}
		item, need.Name, need.Version = rec.Item, rec.Object.Name, rec.Version.ID
		p, err := s.parse(ctx, rec)
		if err != nil {
			return err
		}
		jws, err = s.release(ctx, call, item, p, &r)
		return err
	})
	return item, jws, err
}

func (s *Service) release(ctx context.Context, call *guard.Call, item Item, p *parsed, r *ReleaseRequest) (string, error) {
	switch {
	case !item.Version.Attributes.Enabled:
		return "", fault.New(fault.Forbidden, "the operation release is not allowed on a disabled key: enable version %s of %q first", item.Version.ID, item.Object.Name).
			Because("KeyDisabled")
	case !p.facts.Exportable || p.facts.Release == nil:
		return "", fault.New(fault.Forbidden, "the key %q is not exportable: nothing makes it leave", item.Object.Name).Because("KeyOperationForbidden")
	case len(r.Nonce) > maxNonceBytes || len(r.Target) > maxTargetBytes:
		return "", fault.New(fault.Invalid, "the target is to have at most %d bytes and the nonce %d", maxTargetBytes, maxNonceBytes)
	case s.Attestations == nil:
		return "", fault.New(fault.Unsupported, "this server has nobody to judge attestations, so it releases no keys")
	}
	if r.Encoding == "" {
		r.Encoding = cryptokey.CKMRSAAESKeyWrap
	}
	claims, err := s.attested(ctx, call.Vault.Vault.Tenant, p.facts.Release, r.Target)
	if err != nil {
		return "", err
	}
	target, kid, err := attestedKey(claims)
	if err != nil {
		return "", err
	}
	wrapped, err := p.key.Release(target, r.Encoding)
	if err != nil {
		return "", err
	}
	payload, err := released(call, item, p, r, cryptokey.NewTransferBlob(kid, r.Encoding, wrapped))
	if err != nil {
		return "", err
	}
	return s.Attestations.SignStatement(ctx, call.Vault.Vault.Tenant, payload)
}

// attested returns the claims of an attestation that satisfies the policy.
func (s *Service) attested(ctx context.Context, t vault.TenantID, p *ReleasePolicy, target string) (map[string]any, error) {
	rules, err := parseReleasePolicy(p.Data)
	if err != nil {
		return nil, err
	}
	refused := fault.New(fault.Forbidden, "the target attestation does not satisfy the release policy of this key: it is to be of one of the authorities %s, "+
		"which the tenant has to trust as an issuer, and to have the claims that the policy names", strings.Join(rules.authorities(), ", "))
	issuer := issuerOf(target)
	for _, a := range rules.authorities() {
		if !sameAuthority(a, issuer) {
			continue
		}
		claims, err := s.Attestations.BelieveStatement(ctx, t, issuer, target)
		if fault.Is(err, fault.Unauthenticated) {
			refused.Err = err
			return nil, refused
		}
		if err != nil {
			return nil, err
		}
		if rules.satisfied(issuer, claims) {
			return claims, nil
		}
		return nil, refused
	}
	return nil, refused
}

// issuerOf reads who a JWT says that it is of, before anything of it is believed.
func issuerOf(token string) string {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return ""
	}
	body, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return ""
	}
	var claims struct {
		Issuer string `json:"iss"`
	}
	if json.Unmarshal(body, &claims) != nil {
		return ""
	}
	return claims.Issuer
}

// runtimeClaim is where an attestation has the keys of who is attested (Microsoft Azure Attestation, "x-ms-runtime").
const runtimeClaim = "x-ms-runtime"

// attestedKey returns the RSA key of who is attested, and its id: the first of the runtime claims that is for encryption.
func attestedKey(claims map[string]any) (*cryptokey.Public, string, error) {
	missing := fault.New(fault.Invalid, "the target attestation has no RSA key for encryption in its claim %s.keys: the key is released to that", runtimeClaim)
	found, ok := claimOf(claims, runtimeClaim+".keys")
	if !ok {
		return nil, "", missing
	}
	text, err := json.Marshal(found)
	if err != nil {
		return nil, "", missing
	}
	var keys []json.RawMessage
	if json.Unmarshal(text, &keys) != nil {
		return nil, "", missing
	}
	for _, k := range keys {
		jwk, err := cryptokey.ParseJWK(k)
		if err != nil || jwk.Kty != string(cryptokey.RSA) || !encrypts(k, &jwk) {
			continue
		}
		public, err := jwk.PublicKey()
		if err != nil {
			return nil, "", err
		}
		return public, jwk.Kid, nil
	}
	return nil, "", missing
}

// encrypts reports whether a JWK says that it is for encryption, by use or key_ops (RFC 7517, sections 4.2 and 4.3), or says nothing.
func encrypts(text []byte, jwk *cryptokey.JWK) bool {
	var more struct {
		Use string `json:"use"`
	}
	if json.Unmarshal(text, &more) != nil {
		return false
	}
	if more.Use != "" {
		return more.Use == "enc"
	}
	if jwk.KeyOps == nil {
		return true
	}
	for _, op := range jwk.KeyOps {
		if op == string(cryptokey.Encrypt) || op == string(cryptokey.WrapKey) {
			return true
		}
	}
	return false
}

// released is the payload of the answer.
func released(call *guard.Call, item Item, p *parsed, r *ReleaseRequest, blob cryptokey.TransferBlob) ([]byte, error) {
	hsm, err := json.Marshal(&blob)
	if err != nil {
		return nil, err
	}
	kid := r.Kid(item)
	jwk := p.facts.Public
	jwk.Kid, jwk.Kty, jwk.KeyOps, jwk.KeyHSM = kid, p.facts.Kty(), p.facts.Ops.Words(), hsm
	type object map[string]any
	return json.Marshal(object{
		"request": object{"api-version": call.APIVersion, "enc": r.Encoding, "kid": kid, "nonce": r.Nonce},
		"response": object{"key": object{
			"key":            jwk,
			"attributes":     object{"enabled": true, "exportable": true, "created": item.Version.Attributes.Created.Unix(), "updated": item.Version.Attributes.Updated.Unix()},
			"release_policy": object{"contentType": p.facts.Release.ContentType, "data": cryptokey.Bytes(p.facts.Release.Data)},
		}},
	})
}
