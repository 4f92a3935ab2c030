package identity

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	jose "github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/principal"
	"github.com/keywright/keywright/internal/store"
)

// maxAssertionLife is how far ahead an assertion may expire; the client libraries choose ten minutes.
const maxAssertionLife = 10 * time.Minute

// kindAssertion is the kind of a store.SignIn that remembers a client assertion.
const kindAssertion = "assertion"

// assertionAlgorithms are those of client certificates.
var assertionAlgorithms = []jose.SignatureAlgorithm{jose.RS256, jose.PS256, jose.ES256}

// federatedAlgorithms are those of outside issuers.
var federatedAlgorithms = []jose.SignatureAlgorithm{jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512,
	jose.ES256, jose.ES384, jose.ES512, jose.EdDSA}

// assertion is a parsed JWT of which nothing is believed yet.
type assertion struct {
	text   string
	jwt    *jwt.JSONWebToken
	header jose.Header
	claims jwt.Claims
}

// parseAssertion reads a client assertion. The file that a federated one comes from may end in a newline, which clients send along.
func parseAssertion(text string) (*assertion, error) {
	text = strings.TrimSpace(text)
	if len(text) > maxTokenBytes {
		return nil, wrongAssertion("it has more than %d bytes", maxTokenBytes)
	}
	token, err := jwt.ParseSigned(text, federatedAlgorithms)
	if err != nil || len(token.Headers) != 1 {
		return nil, wrongAssertion("it is not a JWT with a supported signature algorithm")
	}
	a := &assertion{text: text, jwt: token, header: token.Headers[0]}
	if err := token.UnsafeClaimsWithoutVerification(&a.claims); err != nil {
		return nil, wrongAssertion("its claims cannot be read")
	}
	return a, nil
}

func wrongAssertion(format string, args ...any) *fault.Error {
	return unauthenticated(WrongAssertion, "Client assertion is not valid: %s.", fmt.Sprintf(format, args...))
}

// proveAssertion tells the two kinds of assertions apart: an application that signs for itself is its own issuer.
func (s *Service) proveAssertion(ctx context.Context, p *proof, r ClientRequest) error {
	a, err := parseAssertion(r.Assertion.Reveal())
	if err != nil {
		return err
	}
	if strings.EqualFold(a.claims.Issuer, p.principal.AppID) {
		return s.proveCertificate(ctx, p, r, a)
	}
	p.flow = FlowFederation
	return s.proveFederation(ctx, p, a)
}

func (s *Service) proveCertificate(ctx context.Context, p *proof, r ClientRequest, a *assertion) error {
	now := s.Clock.Now()
	cert, err := namedCertificate(p.principal, a)
	if err != nil {
		return err
	}
	key, err := assertionKey(cert.DER, a.header.Algorithm)
	if err != nil {
		return err
	}
	if err := a.jwt.Claims(key); err != nil {
		return wrongAssertion("its signature does not match the certificate with thumbprint %X", cert.SHA1)
	}
	switch {
	case !valid(cert.NotBefore, cert.Expires, now):
		return unauthenticated(ExpiredAssertion, "The certificate with thumbprint %X has expired or is not valid yet; register another.", cert.SHA1)
	case !strings.EqualFold(a.claims.Subject, p.principal.AppID):
		return wrongAssertion("its subject is not the client id")
	case !endpointMatches(a.claims.Audience, r.Endpoints):
		return wrongAssertion("its audience %q is not this token endpoint", fault.Clip(strings.Join(a.claims.Audience, " ")))
	}
	expires, err := a.lifetime(now)
	if err != nil {
		return err
	}
	if err := s.spend(ctx, p.principal, a, r, expires); err != nil {
		return err
	}
	p.credential, p.until = credentialName(credCertificate, cert.ID), cert.Expires
	return nil
}

// lifetime checks the instants of an assertion and returns its end.
func (a *assertion) lifetime(now time.Time) (time.Time, error) {
	if a.claims.Expiry == nil {
		return time.Time{}, wrongAssertion("it does not say when it expires")
	}
	expires := a.claims.Expiry.Time()
	switch {
	case !now.Before(expires.Add(skew)):
		return expires, unauthenticated(ExpiredAssertion, "Client assertion is not within its valid time range: it expired at %s. Check "+
			"the client's clock.", expires.UTC().Format(time.RFC3339))
	case expires.After(now.Add(maxAssertionLife + skew)):
		return expires, unauthenticated(ExpiredAssertion, "Client assertion is not within its valid time range: it may live for at most %s.", maxAssertionLife)
	case a.claims.NotBefore != nil && a.claims.NotBefore.Time().After(now.Add(skew)):
		return expires, unauthenticated(ExpiredAssertion, "Client assertion is not within its valid time range: it is not valid yet. Check "+
			"the client's clock.")
	}
	return expires, nil
}

// fromStandard turns the standard alphabet of base64 into that of URLs (RFC 4648, sections 4 and 5).
var fromStandard = strings.NewReplacer("+", "-", "/", "_", "=", "")

// namedCertificate finds the certificate that the header names by x5t#S256 or x5t (RFC 7515, sections 4.1.7 and 4.1.8). These are
// base64url without padding, but some clients pad, and the library for Go writes the standard alphabet.
func namedCertificate(p *principal.Principal, a *assertion) (*principal.Certificate, error) {
	named := func(header string) []byte {
		text, _ := a.header.ExtraHeaders[jose.HeaderKey(header)].(string)
		print, err := base64.RawURLEncoding.DecodeString(fromStandard.Replace(text))
		if err != nil {
			return nil
		}
		return print
	}
	sha256Print, sha1Print := named("x5t#S256"), named("x5t")
	if len(sha256Print) == 0 && len(sha1Print) == 0 {
		return nil, wrongAssertion("its header names no certificate by x5t or x5t#S256")
	}
	for i := range p.Certificates {
		c := &p.Certificates[i]
		if len(sha256Print) > 0 && bytes.Equal(sha256Print, c.SHA256) || len(sha256Print) == 0 && bytes.Equal(sha1Print, c.SHA1) {
			return c, nil
		}
	}
	return nil, wrongAssertion("the certificate that signed it is not registered on application %s", p.AppID)
}

// assertionKey returns the certificate's key if it is one for the algorithm.
func assertionKey(der []byte, algorithm string) (any, error) {
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("parsing a registered certificate: %w", err)
	}
	for _, known := range assertionAlgorithms {
		if string(known) != algorithm {
			continue
		}
		switch key := cert.PublicKey.(type) {
		case *rsa.PublicKey:
			if known != jose.ES256 {
				return key, nil
			}
		case *ecdsa.PublicKey:
			if known == jose.ES256 && key.Curve == elliptic.P256() {
				return key, nil
			}
		}
	}
	return nil, wrongAssertion("the algorithm %q does not fit the certificate; RS256, PS256 and ES256 are known", fault.Clip(algorithm))
}

// spend notes who presented an assertion first, and refuses it from anybody else.
func (s *Service) spend(ctx context.Context, p *principal.Principal, a *assertion, r ClientRequest, expires time.Time) error {
	id := a.claims.ID
	if id == "" {
		// Without an id the assertion stands for itself.
		id = a.text
	}
	sum := sha256.Sum256([]byte(string(p.Tenant) + "\x00" + p.AppID + "\x00" + id))
	mark := &store.SignIn{Kind: kindAssertion, ID: hex.EncodeToString(sum[:]), Tenant: p.Tenant, Expires: expires.Add(skew)}
	own := sha256.Sum256([]byte(a.text))
	var err error
	if mark.Data, err = json.Marshal(spent{Address: network(r.Address).String(), Sum: own[:]}); err != nil {
		return err
	}
	now := s.Clock.Now()
	seen := func(tx store.Tx) (bool, error) {
		old, err := tx.SignIn(ctx, mark.Kind, mark.ID, now)
		if fault.Is(err, fault.NotFound) {
			return false, nil
		}
		if err == nil && (s.AssertionsOnce || !bytes.Equal(old.Data, mark.Data)) {
			err = unauthenticated(ReplayedAssertion, "The client assertion was used before, from elsewhere or for something else; sign a new one.")
		}
		return true, err
	}
	var again bool
	if err := s.Store.View(ctx, func(tx store.Tx) (err error) { again, err = seen(tx); return err }); err != nil || again {
		return err
	}
	return s.Store.Update(ctx, store.NewOp(now), func(tx store.Tx) error {
		if again, err := seen(tx); err != nil || again {
			return err
		}
		return tx.PutSignIn(ctx, mark)
	})
}

// spent is what is remembered of a client assertion: who presented it, and a digest of the whole, so that an id is not used for two.
type spent struct {
	Address string `json:"a"`
	Sum     []byte `json:"s"`
}
