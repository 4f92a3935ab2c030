package oauth_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	jose "github.com/go-jose/go-jose/v4"

	"github.com/keywright/keywright/internal/identity"
	"github.com/keywright/keywright/internal/principal"
	"github.com/keywright/keywright/internal/store"
)

// serve puts the authority on a port and returns what points the SDK at it.
func (w *world) serve() azcore.ClientOptions {
	w.t.Helper()
	server := httptest.NewTLSServer(w.login)
	w.t.Cleanup(server.Close)
	w.host = strings.TrimPrefix(server.URL, "https://")
	return azcore.ClientOptions{Transport: server.Client(), Cloud: cloud.Configuration{ActiveDirectoryAuthorityHost: server.URL},
		Retry: policy.RetryOptions{MaxRetries: -1}}
}

// TestAzureSDK signs in with the Azure SDK for Go in the ways that it knows, with both kinds of authorities.
func TestAzureSDK(t *testing.T) {
	w := newWorldAt(t, time.Now()) // the SDK looks at the real clock
	options := w.serve()
	seed := w.addUser()
	rsaKey, cert := w.addCertificate()
	assertion := w.addFederation()
	for _, tenant := range []string{"adfs", string(w.tenant)} {
		t.Run(tenant, func(t *testing.T) {
			secret, err := azidentity.NewClientSecretCredential(tenant, w.app.AppID, w.secret.Reveal(),
				&azidentity.ClientSecretCredentialOptions{ClientOptions: options, DisableInstanceDiscovery: true})
			w.must(err)
			certificate, err := azidentity.NewClientCertificateCredential(tenant, w.app.AppID, []*x509.Certificate{cert}, rsaKey,
				&azidentity.ClientCertificateCredentialOptions{ClientOptions: options, DisableInstanceDiscovery: true})
			w.must(err)
			federated, err := azidentity.NewClientAssertionCredential(tenant, w.app.AppID, func(context.Context) (string, error) { return assertion, nil },
				&azidentity.ClientAssertionCredentialOptions{ClientOptions: options, DisableInstanceDiscovery: true})
			w.must(err)
			device, err := azidentity.NewDeviceCodeCredential(&azidentity.DeviceCodeCredentialOptions{ClientOptions: options, TenantID: tenant,
				DisableInstanceDiscovery: true, UserPrompt: func(_ context.Context, m azidentity.DeviceCodeMessage) error {
					w.clock.Advance(time.Minute) // a code that was not used yet
					a := w.do(w.login, http.MethodPost, "https://"+w.host+"/"+tenant+"/oauth2/deviceauth", url.Values{"user_code": {m.UserCode},
						"step": {"allow"}, "upn": {upn}, "password": {password}, "code": {w.totp(seed)}})
					if a.status != 200 {
						t.Errorf("allowing: %d %s", a.status, a.text)
					}
					return nil
				}})
			w.must(err)
			for name, credential := range map[string]azcore.TokenCredential{"secret": secret, "certificate": certificate, "federated": federated, "device": device} {
				token, err := credential.GetToken(t.Context(), policy.TokenRequestOptions{Scopes: []string{"https://vault.test:8443/.default"}})
				if err != nil {
					t.Errorf("%s: %v", name, err)
					continue
				}
				if _, err := w.svc.Authenticate(t.Context(), token.Token, identity.VaultAudiences("https://vault.test:8443")); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			}
		})
	}
}

func (w *world) addCertificate() (*rsa.PrivateKey, *x509.Certificate) {
	w.t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	w.must(err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "app"}, NotBefore: w.clock.Now().Add(-time.Hour),
		NotAfter: w.clock.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	w.must(err)
	cert, err := x509.ParseCertificate(der)
	w.must(err)
	_, change, err := w.svc.PrepareCertificate(w.tenant, w.app.ID, "", der)
	w.must(err)
	w.must(w.svc.Apply(w.t.Context(), nil, change))
	return key, cert
}

// addFederation trusts an issuer and returns an assertion of it, as a file holds it.
func (w *world) addFederation() string {
	w.t.Helper()
	const issuer, subject = "https://kubernetes.default.svc", "system:serviceaccount:shop:orders"
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	w.must(err)
	set, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "k"}}})
	w.must(err)
	trusted, err := w.svc.PrepareTrustedIssuer(store.TrustedIssuer{Tenant: w.tenant, Issuer: issuer, JWKS: set})
	w.must(err)
	_, federated, err := w.svc.PrepareFederation(w.tenant, w.app.ID, principal.Federation{Name: "cluster", Issuer: issuer, Subject: subject})
	w.must(err)
	w.must(w.svc.Apply(w.t.Context(), nil, trusted, federated))
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: key, KeyID: "k"}}, nil)
	w.must(err)
	body, err := json.Marshal(map[string]any{"iss": issuer, "sub": subject, "aud": identity.DefaultFederationAudience, "exp": w.clock.Now().Unix() + 3600})
	w.must(err)
	object, err := signer.Sign(body)
	w.must(err)
	text, err := object.CompactSerialize()
	w.must(err)
	return text + "\n"
}
