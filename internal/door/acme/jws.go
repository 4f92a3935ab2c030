package acme

import (
	"bytes"
	"context"
	"crypto"
	"encoding/base64"
	"encoding/json"
	"errors"
	"mime"
	"net/http"
	"strings"

	"github.com/go-jose/go-jose/v4"

	"github.com/keywright/keywright/internal/door"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/issuer"
	"github.com/keywright/keywright/internal/principal"
)

// maxBody bounds a request. A certificate request with 250 names is about 20 KiB long in base64.
const maxBody = 128 << 10

// signatures are the algorithms of accounts (RFC 8555, section 6.2, forbids MACs and "none").
var signatures = []jose.SignatureAlgorithm{jose.RS256, jose.ES256, jose.ES384, jose.ES512, jose.EdDSA}

// message is a request whose signature was checked.
type message struct {
	payload []byte
	// key signed it; account is whose it is, unless the request brought the key itself.
	key     *jose.JSONWebKey
	account Account
}

// asGet reports whether the message asks for a resource (RFC 8555, section 6.3).
func (m *message) asGet() bool { return len(m.payload) == 0 }

// who says which key a request may be signed with.
type who uint8

const (
	byAccount who = iota
	byKey
	byEither
)

// read takes a request apart and proves that it is new, was made for this address, and is signed by whom it says.
func (s *exchange) read(r *door.Request, signer who) (*message, error) {
	if kind, _, err := mime.ParseMediaType(r.HTTP.Header.Get("Content-Type")); err != nil || kind != "application/jose+json" {
		return nil, problem(http.StatusUnsupportedMediaType, "malformed", "Requests have the content type application/jose+json.")
	}
	jws, err := parseJWS(r.Body(), signatures)
	if err != nil {
		return nil, err
	}
	header := jws.Signatures[0].Protected
	if address, _ := header.ExtraHeaders["url"].(string); address != s.URL+strings.TrimPrefix(r.HTTP.URL.Path, s.prefix) {
		return nil, problem(http.StatusForbidden, "unauthorized", "The request was signed for another address.")
	}
	m, err := s.signer(r.HTTP.Context(), header, signer)
	if err != nil {
		return nil, err
	}
	if m.payload, err = jws.Verify(m.key); err != nil {
		return nil, unauthorized("The signature is not that of the key.")
	}
	// After the signature: nobody else can use up a client's nonces.
	fresh, err := s.Nonces.Use(r.HTTP.Context(), header.Nonce)
	if err != nil {
		return nil, err
	}
	if !fresh {
		return nil, problem(http.StatusBadRequest, "badNonce", "The nonce is unknown or was used already: try again with the one of this answer.")
	}
	if m.account.ID != "" && m.account.Status != statusValid {
		return nil, unauthorized("The account is " + m.account.Status + ".")
	}
	if m.account.ID != "" {
		r.Call.Caller = accountCaller(r.Call.Vault, m.account)
	}
	return m, nil
}

// accountCaller is who an account is for the audit log. No role is ever asked about it.
func accountCaller(v *guard.View, a Account) *guard.Caller {
	c := &guard.Caller{Principal: principal.ID("acme:" + a.ID), Kind: AccountKind}
	if v != nil {
		c.Tenant = v.Vault.Tenant
	}
	c.Name, _, _ = strings.Cut(a.Binding, "/")
	return c
}

// AccountKind is the kind of caller that an account is in audit records.
const AccountKind principal.Kind = "AcmeAccount"

// parseJWS reads a JWS in flattened serialization without anything outside of what is signed.
func parseJWS(body []byte, algorithms []jose.SignatureAlgorithm) (*jose.JSONWebSignature, error) {
	var shape map[string]json.RawMessage
	decoder := json.NewDecoder(bytes.NewReader(body))
	if err := decoder.Decode(&shape); err != nil || decoder.More() {
		return nil, malformed("The request is no JWS.")
	}
	for name := range shape {
		if name != "protected" && name != "payload" && name != "signature" {
			return nil, malformed("A JWS in flattened serialization has protected, payload and signature alone.")
		}
	}
	jws, err := jose.ParseSignedJSON(string(body), algorithms)
	var unexpected *jose.ErrUnexpectedSignatureAlgorithm
	if errors.As(err, &unexpected) {
		return nil, problem(http.StatusBadRequest, "badSignatureAlgorithm", "Requests are signed with RS256, ES256, ES384, ES512 or EdDSA.")
	}
	if err != nil || len(jws.Signatures) != 1 {
		return nil, malformed("The request is no JWS.")
	}
	return jws, nil
}

// signer finds the key that a header names.
func (s *exchange) signer(ctx context.Context, header jose.Header, signer who) (*message, error) {
	if (header.JSONWebKey == nil) == (header.KeyID == "") {
		return nil, malformed("A request names its account (kid) or brings its key (jwk), not both.")
	}
	if header.JSONWebKey != nil {
		if signer == byAccount {
			return nil, malformed("This request is signed in the name of an account (kid).")
		}
		key := header.JSONWebKey
		return &message{key: key}, checkKey(key)
	}
	if signer == byKey {
		return nil, malformed("This request brings its key (jwk).")
	}
	id, ok := strings.CutPrefix(header.KeyID, s.URL+pathAccount)
	if !ok {
		return nil, unknownAccount()
	}
	account, err := s.Store.Account(ctx, id)
	if fault.Is(err, fault.NotFound) {
		return nil, unknownAccount()
	}
	if err != nil {
		return nil, err
	}
	return &message{key: account.Key, account: account}, nil
}

func unknownAccount() *Problem {
	return problem(http.StatusBadRequest, "accountDoesNotExist", "There is no such account: make one with newAccount.")
}

// checkKey refuses keys of accounts that are weak or not public.
func checkKey(key *jose.JSONWebKey) error {
	if !key.Valid() || !key.IsPublic() || issuer.CheckKey(key.Key) != nil {
		return problem(http.StatusBadRequest, "badPublicKey", "The key is none that is accepted: use RSA with 2048 bits or more, P-256, P-384, P-521 or Ed25519.")
	}
	return nil
}

// thumbprint is that of RFC 7638, in base64url.
func thumbprint(key *jose.JSONWebKey) (string, error) {
	sum, err := key.Thumbprint(crypto.SHA256)
	if err != nil {
		return "", err
	}
	return base64.RawURLEncoding.EncodeToString(sum), nil
}

// samePublic compares a certificate's key with a JWK's.
func samePublic(a, b crypto.PublicKey) bool {
	known, ok := a.(interface{ Equal(crypto.PublicKey) bool })
	return ok && known.Equal(b)
}

// decode reads a payload. Members that are not known here are passed over, as section 6 wants.
func decode(payload []byte, into any) error {
	if err := json.Unmarshal(payload, into); err != nil {
		return malformed("The payload cannot be read.")
	}
	return nil
}
