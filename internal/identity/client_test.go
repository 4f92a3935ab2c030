package identity_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	jose "github.com/go-jose/go-jose/v4"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/identity"
	"github.com/keywright/keywright/internal/principal"
	"github.com/keywright/keywright/internal/vault"
)

func TestSecretsOverlap(t *testing.T) {
	w := newWorld(t)
	app, first := w.app()
	w.clock.Advance(time.Hour)
	second := w.secret(app)
	w.signIn(app, first)
	token := w.signIn(app, second)
	c, err := w.svc.Authenticate(w.ctx, w.signIn(app, first).Access.Reveal(), w.vaults)
	w.must(err)
	w.apply(w.svc.PrepareRemoveCredential(w.tenant, app.ID, c.Credential))
	_, err = w.try(app.AppID, first)
	reason(t, err, identity.WrongSecret)
	_, err = w.svc.Authenticate(w.ctx, token.Access.Reveal(), w.vaults)
	w.must(err) // the other secret's token goes on
	if w.clock.Advance(366 * 24 * time.Hour); true {
		_, err = w.try(app.AppID, second)
		reason(t, err, identity.ExpiredSecret)
	}
}

func TestTokenEndsWithItsSecret(t *testing.T) {
	w := newWorld(t)
	app := w.make(identity.Spec{Kind: principal.Service})
	value, _, change, err := w.svc.PrepareSecret(w.ctx, w.tenant, app.ID, identity.SecretSpec{Expires: w.clock.Now().Add(10 * time.Minute)})
	w.must(err)
	w.apply(change)
	if got := w.signIn(app, value).Lifetime(); got != 10*time.Minute {
		t.Errorf("the token lives for %s", got)
	}
}

func TestSecretRefusals(t *testing.T) {
	w := newWorld(t)
	app, secret := w.app()
	_, err := w.try(vault.NewGUID(), secret)
	reason(t, err, identity.UnknownClient)
	_, err = w.try(app.AppID, secret+"x")
	reason(t, err, identity.WrongSecret)
	if strings.Contains(err.Error(), secret.Reveal()) {
		t.Error("the error repeats the secret")
	}
	if e := w.audit.last(); e.Reason != identity.WrongSecret || e.Principal != "" || e.Token != "" {
		t.Errorf("recorded %+v", e)
	}
	_, err = w.svc.ClientCredentials(w.ctx, identity.ClientRequest{Tenant: vault.NewTenantID(), ClientID: app.AppID, Secret: secret, Resource: resource})
	reason(t, err, identity.UnknownTenant)
	w.apply(w.svc.PrepareDisabled(w.tenant, app.ID, true))
	_, err = w.try(app.AppID, secret)
	reason(t, err, identity.DisabledPrincipal)
	w.apply(w.svc.PrepareDisabled(w.tenant, app.ID, false))
	w.audit.fail = errors.New("disk full")
	if token, err := w.try(app.AppID, secret); token != nil || !fault.Is(err, fault.Unavailable) {
		t.Errorf("without a record: %v, %v", token, err)
	}
}

func TestGuessingIsSlowed(t *testing.T) {
	w := newWorld(t)
	app, secret := w.app()
	var throttled *fault.Error
	guesses := 0
	for ; throttled == nil && guesses < 100; guesses++ {
		if _, err := w.try(app.AppID, "guess"); fault.Is(err, fault.Throttled) {
			throttled = fault.As(err)
		}
	}
	if throttled == nil || throttled.RetryAfter <= 0 || throttled.Reason != identity.TooManyAttempts {
		t.Fatalf("after %d guesses: %v", guesses, throttled)
	}
	if _, err := w.try(app.AppID, secret); !fault.Is(err, fault.Throttled) {
		t.Errorf("the guesser is let in: %v", err)
	}
	if len(w.audit.locked) == 0 {
		t.Error("nobody was told")
	}
	// The owner elsewhere does not notice.
	_, err := w.svc.ClientCredentials(w.ctx, identity.ClientRequest{Tenant: w.tenant, ClientID: app.AppID, Secret: secret, Resource: resource,
		From: identity.From{Address: there}})
	w.must(err)
	// The pause doubles.
	longest := throttled.RetryAfter
	for range 5 {
		w.clock.Advance(longest)
		w.try(app.AppID, "guess")
		_, err := w.try(app.AppID, "guess")
		if f := fault.As(err); f == nil || f.RetryAfter <= longest {
			t.Fatalf("after a pause of %s: %v", longest, err)
		} else {
			longest = f.RetryAfter
		}
	}
	w.clock.Advance(longest)
	w.signIn(app, secret)
	_, err = w.try(app.AppID, "guess")
	reason(t, err, identity.WrongSecret) // the success forgave
}

// signer is an application's key with its certificate.
type signer struct {
	key crypto.Signer
	der []byte
}

func newSigner(t testing.TB, key crypto.Signer, w *world) signer {
	t.Helper()
	return signer{key, selfSigned(t, key, w.clock.Now().Add(-time.Hour), w.clock.Now().Add(1000*time.Hour))}
}

// sign makes a JWT. A nil value takes a claim away.
func (s signer) sign(t testing.TB, alg jose.SignatureAlgorithm, headers, claims map[string]any) string {
	t.Helper()
	opts := &jose.SignerOptions{ExtraHeaders: map[jose.HeaderKey]any{}}
	for k, v := range headers {
		opts.ExtraHeaders[jose.HeaderKey(k)] = v
	}
	sig, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: s.key}, opts)
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range claims {
		if v == nil {
			delete(claims, k)
		}
	}
	body, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	object, err := sig.Sign(body)
	if err != nil {
		t.Fatal(err)
	}
	text, err := object.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestCertificateAssertions(t *testing.T) {
	w := newWorld(t)
	app := w.make(identity.Spec{Kind: principal.Service})
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	w.must(err)
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	w.must(err)
	strangerKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	w.must(err)
	rsaSigner, ecSigner, stranger := newSigner(t, rsaKey, w), newSigner(t, ecKey, w), newSigner(t, strangerKey, w)
	for sum := sha256.Sum256(ecSigner.der); !strings.ContainsAny(base64.StdEncoding.EncodeToString(sum[:]), "+/"); sum = sha256.Sum256(ecSigner.der) {
		ecSigner = newSigner(t, ecKey, w)
	}
	old := signer{ecKey, selfSigned(t, ecKey, w.clock.Now().Add(-48*time.Hour), w.clock.Now().Add(-24*time.Hour))}
	for _, s := range []signer{rsaSigner, ecSigner, old} {
		_, change, err := w.svc.PrepareCertificate(w.tenant, app.ID, "", s.der)
		w.must(err)
		w.apply(change)
	}
	x5t := func(s signer) map[string]any {
		sum := sha1.Sum(s.der)
		return map[string]any{"x5t": base64.URLEncoding.EncodeToString(sum[:])} // padded
	}
	x5t256 := func(s signer) map[string]any {
		sum := sha256.Sum256(s.der)
		return map[string]any{"x5t#S256": base64.RawURLEncoding.EncodeToString(sum[:])}
	}
	now := float64(w.clock.Now().Unix())
	for name, c := range map[string]struct {
		signer  signer
		alg     jose.SignatureAlgorithm
		headers map[string]any
		claims  map[string]any
		want    fault.Reason
	}{
		"RS256, padded x5t": {rsaSigner, jose.RS256, x5t(rsaSigner), nil, ""},
		"PS256, x5t#S256":   {rsaSigner, jose.PS256, x5t256(rsaSigner), nil, ""},
		"standard alphabet": {ecSigner, jose.ES256, map[string]any{"x5t#S256": func() string {
			sum := sha256.Sum256(ecSigner.der)
			return base64.StdEncoding.EncodeToString(sum[:])
		}()}, nil, ""},
		"ES256":                  {ecSigner, jose.ES256, x5t256(ecSigner), nil, ""},
		"float instants":         {ecSigner, jose.ES256, x5t256(ecSigner), map[string]any{"exp": now + 600.25, "nbf": now - 0.5}, ""},
		"no id":                  {ecSigner, jose.ES256, x5t256(ecSigner), map[string]any{"jti": nil, "x": "no id"}, ""},
		"audience with a slash":  {ecSigner, jose.ES256, x5t256(ecSigner), map[string]any{"aud": endpoint + "/"}, ""},
		"several audiences":      {ecSigner, jose.ES256, x5t256(ecSigner), map[string]any{"aud": []string{"https://x.test", endpoint}}, ""},
		"another audience":       {ecSigner, jose.ES256, x5t256(ecSigner), map[string]any{"aud": "https://evil.test/adfs/oauth2/token"}, identity.WrongAssertion},
		"no audience":            {ecSigner, jose.ES256, x5t256(ecSigner), map[string]any{"aud": nil}, identity.WrongAssertion},
		"another subject":        {ecSigner, jose.ES256, x5t256(ecSigner), map[string]any{"sub": vault.NewGUID()}, identity.WrongAssertion},
		"another issuer":         {ecSigner, jose.ES256, x5t256(ecSigner), map[string]any{"iss": vault.NewGUID()}, identity.WrongAssertion},
		"no end":                 {ecSigner, jose.ES256, x5t256(ecSigner), map[string]any{"exp": nil}, identity.WrongAssertion},
		"expired":                {ecSigner, jose.ES256, x5t256(ecSigner), map[string]any{"exp": now - 301}, identity.ExpiredAssertion},
		"lives too long":         {ecSigner, jose.ES256, x5t256(ecSigner), map[string]any{"exp": now + 3600}, identity.ExpiredAssertion},
		"not yet":                {ecSigner, jose.ES256, x5t256(ecSigner), map[string]any{"nbf": now + 301}, identity.ExpiredAssertion},
		"no thumbprint":          {ecSigner, jose.ES256, nil, nil, identity.WrongAssertion},
		"unknown certificate":    {stranger, jose.ES256, x5t256(stranger), nil, identity.WrongAssertion},
		"signed by another":      {stranger, jose.ES256, x5t256(ecSigner), nil, identity.WrongAssertion},
		"wrong kind of key":      {ecSigner, jose.ES256, x5t256(rsaSigner), nil, identity.WrongAssertion},
		"weak algorithm choice":  {rsaSigner, jose.RS512, x5t256(rsaSigner), nil, identity.WrongAssertion},
		"expired certificate":    {old, jose.ES256, x5t256(old), nil, identity.ExpiredAssertion},
		"thumbprint of a number": {ecSigner, jose.ES256, map[string]any{"x5t": 5}, nil, identity.WrongAssertion},
	} {
		t.Run(name, func(t *testing.T) {
			claims := map[string]any{"iss": app.AppID, "sub": app.AppID, "aud": endpoint, "jti": vault.NewGUID(), "exp": now + 600, "nbf": now}
			for k, v := range c.claims {
				claims[k] = v
			}
			token, err := w.assert(app.AppID, c.signer.sign(t, c.alg, c.headers, claims), netip.Addr{})
			reason(t, err, c.want)
			if c.want == "" && !strings.HasPrefix(w.audit.last().Credential, "certificate/") {
				t.Errorf("recorded %+v for %v", w.audit.last(), token)
			}
			w.signInOnce(app)
		})
	}
}

// signInOnce makes the gate forgive, so that a table of failures does not end in pauses.
func (w *world) signInOnce(p *principal.Principal) {
	w.t.Helper()
	w.clock.Advance(0)
	if w.forgive == "" {
		w.forgive = w.secret(p)
	}
	_, err := w.svc.ClientCredentials(w.ctx, identity.ClientRequest{Tenant: w.tenant, ClientID: p.AppID, Secret: w.forgive, Resource: resource})
	w.must(err)
}

func TestAssertionReplay(t *testing.T) {
	for _, once := range []bool{false, true} {
		w := newWorld(t, func(c *identity.Config) { c.AssertionsOnce = once })
		app := w.make(identity.Spec{Kind: principal.Service})
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		w.must(err)
		s := newSigner(t, key, w)
		_, change, err := w.svc.PrepareCertificate(w.tenant, app.ID, "", s.der)
		w.must(err)
		w.apply(change)
		sum := sha256.Sum256(s.der)
		make := func(jti string) string {
			return s.sign(t, jose.ES256, map[string]any{"x5t#S256": base64.RawURLEncoding.EncodeToString(sum[:])}, map[string]any{
				"iss": app.AppID, "sub": app.AppID, "aud": endpoint, "jti": jti, "exp": w.clock.Now().Add(10 * time.Minute).Unix()})
		}
		first := make("one")
		_, err = w.assert(app.AppID, first, here)
		w.must(err)
		again := fault.Reason("")
		if once {
			again = identity.ReplayedAssertion
		}
		_, err = w.assert(app.AppID, first, here)
		reason(t, err, again)
		_, err = w.assert(app.AppID, first, there)
		reason(t, err, identity.ReplayedAssertion)
		_, err = w.assert(app.AppID, make("one"), here) // another assertion with the same id
		reason(t, err, identity.ReplayedAssertion)
		_, err = w.assert(app.AppID, make("two"), there)
		w.must(err)
	}
}
