package identity

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	jose "github.com/go-jose/go-jose/v4"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/principal"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// DefaultFederationAudience is the audience that Azure's workload identity federation asks for.
const DefaultFederationAudience = "api://AzureADTokenExchange"

const (
	// issuerLife is how long an issuer's discovery document is believed. Its keys are fetched again when one is unknown, but
	// not more often than Config.IssuerKeysEvery allows.
	issuerLife = time.Hour
	// issuerTimeout bounds one fetch from an issuer: a dead one must not hold sign-ins.
	issuerTimeout = 10 * time.Second
)

// issuers remembers the key sets of outside issuers.
type issuers struct {
	mu sync.Mutex
	m  map[issuerKey]*outside
}

type issuerKey struct {
	tenant vault.TenantID
	issuer string
}

// outside is one outside issuer, as the record says.
type outside struct {
	record *store.TrustedIssuer
	keys   oidc.KeySet
	until  time.Time
}

func (i *issuers) forget(t vault.TenantID) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for k := range i.m {
		if k.tenant == t {
			delete(i.m, k)
		}
	}
}

func (i *issuers) flush() {
	i.mu.Lock()
	defer i.mu.Unlock()
	clear(i.m)
}

// get returns what is remembered of an issuer if it was made from the same record.
func (i *issuers) get(r *store.TrustedIssuer, now time.Time) *outside {
	i.mu.Lock()
	defer i.mu.Unlock()
	o := i.m[issuerKey{r.Tenant, r.Issuer}]
	if o == nil || !now.Before(o.until) || !bytes.Equal(o.record.JWKS, r.JWKS) || !bytes.Equal(o.record.CA, r.CA) {
		return nil
	}
	return o
}

func (i *issuers) put(o *outside) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.m == nil {
		i.m = map[issuerKey]*outside{}
	}
	i.m[issuerKey{o.record.Tenant, o.record.Issuer}] = o
}

// proveFederation believes an outside issuer about a subject that the principal is federated with.
func (s *Service) proveFederation(ctx context.Context, p *proof, a *assertion) error {
	i := slices.IndexFunc(p.principal.Federations, func(f principal.Federation) bool {
		return f.Issuer == a.claims.Issuer && f.Subject == a.claims.Subject && slices.Contains(a.claims.Audience, audienceOf(f))
	})
	if i < 0 {
		return wrongAssertion("no federated identity record of application %s matches its issuer '%s', subject '%s' and audience",
			p.principal.AppID, fault.Clip(a.claims.Issuer), fault.Clip(a.claims.Subject))
	}
	f := p.principal.Federations[i]
	var record *store.TrustedIssuer
	err := s.Store.View(ctx, func(tx store.Tx) (err error) {
		record, err = tx.TrustedIssuer(ctx, p.principal.Tenant, f.Issuer)
		return err
	})
	if fault.Is(err, fault.NotFound) {
		return unauthenticated(UntrustedIssuer, "The issuer '%s' is not trusted in this tenant; an administrator can add it.", fault.Clip(f.Issuer))
	}
	if err != nil {
		return err
	}
	keys, err := s.keySet(ctx, record)
	if err != nil {
		return err
	}
	verifier := oidc.NewVerifier(f.Issuer, keys, &oidc.Config{ClientID: audienceOf(f), Now: s.Clock.Now,
		SupportedSigningAlgs: algorithmNames(federatedAlgorithms)})
	if _, err := verifier.Verify(ctx, a.text); err != nil {
		var expired *oidc.TokenExpiredError
		if errors.As(err, &expired) {
			return unauthenticated(ExpiredAssertion, "The assertion of '%s' expired at %s; read the token file again.", fault.Clip(f.Issuer),
				expired.Expiry.UTC().Format(time.RFC3339))
		}
		e := wrongAssertion("it cannot be verified with the keys of '%s'", fault.Clip(f.Issuer))
		e.Err = err
		return e
	}
	p.credential = credentialName(credFederation, f.ID)
	return nil
}

func audienceOf(f principal.Federation) string {
	if f.Audience == "" {
		return DefaultFederationAudience
	}
	return f.Audience
}

func algorithmNames(algs []jose.SignatureAlgorithm) []string {
	names := make([]string, len(algs))
	for i, a := range algs {
		names[i] = string(a)
	}
	return names
}

// keySet returns the issuer's keys: those given by hand, else those that its discovery document points to.
func (s *Service) keySet(ctx context.Context, r *store.TrustedIssuer) (oidc.KeySet, error) {
	if o := s.issuers.get(r, s.Clock.Now()); o != nil {
		return o.keys, nil
	}
	v, err, _ := s.flights.Do(flightOf(r), func() (any, error) {
		// Others wait for this discovery too: the caller's leaving does not end it.
		o, err := s.discover(context.WithoutCancel(ctx), r)
		if err != nil {
			return nil, err
		}
		s.issuers.put(o)
		return o.keys, nil
	})
	if err != nil {
		return nil, err
	}
	return v.(oidc.KeySet), nil
}

// flightOf names the discovery for a record. One that began for the record before it must not answer for what replaced it.
func flightOf(r *store.TrustedIssuer) string {
	sum := sha256.New()
	for _, part := range [][]byte{[]byte(r.Tenant), []byte(r.Issuer), r.JWKS, r.CA} {
		fmt.Fprintf(sum, "%d:%s", len(part), part)
	}
	return fmt.Sprintf("issuer %x", sum.Sum(nil))
}

func (s *Service) discover(ctx context.Context, r *store.TrustedIssuer) (*outside, error) {
	o := &outside{record: r, until: s.Clock.Now().Add(issuerLife)}
	if len(r.JWKS) > 0 {
		keys, err := parseKeySet(r.JWKS)
		o.keys = keys
		return o, err
	}
	client, err := s.issuerClient(r)
	if err != nil {
		return nil, err
	}
	provider, err := oidc.NewProvider(oidc.ClientContext(ctx, client), r.Issuer)
	if err != nil {
		return nil, fault.Wrap(err, fault.Unavailable, "The issuer '%s' cannot be reached for its keys: try again, give its key "+
			"set by hand, or ask the operator whether the server may connect to its address.", fault.Clip(r.Issuer)).(*fault.Error).Because(UnreachableIssuer)
	}
	var doc struct {
		JWKS string `json:"jwks_uri"`
	}
	if err := provider.Claims(&doc); err != nil {
		return nil, fault.Wrap(err, fault.Unavailable, "The discovery document of '%s' cannot be read.", fault.Clip(r.Issuer))
	}
	o.keys = &remoteKeys{url: doc.JWKS, client: client, clock: s.Clock, every: s.IssuerKeysEvery}
	return o, nil
}

// issuerClient returns a client that trusts the issuer's own authority, if it has one, and no other then. It follows no
// redirection, and it asks no proxy, which would connect in our place: what an issuer's answers point to is fetched from inside of
// our network.
func (s *Service) issuerClient(r *store.TrustedIssuer) (*http.Client, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if len(r.CA) > 0 {
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(r.CA) {
			return nil, fault.New(fault.Unavailable, "The certificate authority of the issuer '%s' holds no certificate; register it again.", fault.Clip(r.Issuer))
		}
	}
	transport := &http.Transport{DialContext: s.Dial, TLSClientConfig: config, TLSHandshakeTimeout: issuerTimeout, MaxIdleConns: 2,
		IdleConnTimeout: time.Minute, MaxResponseHeaderBytes: 64 << 10, ForceAttemptHTTP2: true}
	return &http.Client{Transport: issuerTransport{transport}, Timeout: issuerTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}, nil
}

// maxIssuerBytes bounds an answer of an issuer. Discovery documents have some kilobytes, key sets of large issuers some tens.
const maxIssuerBytes = 256 << 10

// issuerTransport asks over TLS only, whatever address a discovery document names, and ends an answer that is too long: the
// library reads the whole of it.
type issuerTransport struct{ base http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (t issuerTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Scheme != "https" {
		return nil, errors.New("an issuer's documents are fetched over https only")
	}
	answer, err := t.base.RoundTrip(r)
	if err == nil {
		answer.Body = http.MaxBytesReader(nil, answer.Body, maxIssuerBytes)
	}
	return answer, err
}

// fixedKeys is a key set that was given by hand.
type fixedKeys jose.JSONWebKeySet

func parseKeySet(text []byte) (fixedKeys, error) {
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(text, &set); err != nil || len(set.Keys) == 0 {
		return fixedKeys{}, invalid(WrongRequest, "The key set is not a JWK set (RFC 7517) with at least one key.")
	}
	for _, k := range set.Keys {
		if !k.Valid() || !k.IsPublic() {
			return fixedKeys{}, invalid(WrongRequest, "The key set must hold valid public keys only.")
		}
	}
	return fixedKeys(set), nil
}

// VerifySignature returns the payload of a JWT that one of the keys signed.
func (f fixedKeys) VerifySignature(_ context.Context, text string) ([]byte, error) {
	signed, err := jose.ParseSignedCompact(text, federatedAlgorithms)
	if err != nil {
		return nil, err
	}
	for _, k := range f.Keys {
		if len(signed.Signatures) == 1 && (k.KeyID == "" || signed.Signatures[0].Header.KeyID == "" || k.KeyID == signed.Signatures[0].Header.KeyID) {
			if payload, err := signed.Verify(k.Public()); err == nil {
				return payload, nil
			}
		}
	}
	return nil, errors.New("no key of the set verifies the signature")
}
