package identity_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	jose "github.com/go-jose/go-jose/v4"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/store"
)

// An attestation service publishes its keys as certificates alone, among others that cannot be used.
func TestBelievesKeysThatAreCertificates(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "attestation"}, NotBefore: now.Add(-time.Hour),
		NotAfter: now.Add(time.Hour)}, &x509.Certificate{}, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	service := httptest.NewTLSServer(mux)
	t.Cleanup(service.Close)
	mux.HandleFunc("/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		json.NewEncoder(w).Encode(map[string]any{"issuer": service.URL, "jwks_uri": service.URL + "/certs"})
	})
	mux.HandleFunc("/certs", func(w http.ResponseWriter, _ *http.Request) {
		json.NewEncoder(w).Encode(map[string]any{"keys": []any{map[string]any{"kty": "new", "kid": "x"}, map[string]any{"kty": "RSA", "kid": "broken", "x5c": [][]byte{{1}}},
			map[string]any{"kty": "RSA", "kid": "a+b/c=", "x5c": [][]byte{der}}}})
	})
	w := newWorld(t)
	trusted, err := w.svc.PrepareTrustedIssuer(store.TrustedIssuer{Tenant: w.tenant, Issuer: service.URL,
		CA: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: service.Certificate().Raw})})
	w.must(err)
	w.apply(trusted)
	statement := func(kid string, key *rsa.PrivateKey) string {
		return signer{key: key}.sign(t, jose.RS256, map[string]any{"kid": kid, "jku": service.URL + "/certs"},
			map[string]any{"iss": service.URL, "exp": w.clock.Now().Unix() + 60, "x-ms-ver": "1.0"})
	}
	claims, err := w.svc.BelieveStatement(w.ctx, w.tenant, service.URL, statement("a+b/c=", key))
	if err != nil || claims["x-ms-ver"] != "1.0" {
		t.Errorf("%v, %v", claims, err)
	}
	other, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"another key": statement("a+b/c=", other), "a key that is none": statement("broken", key)} {
		if _, err := w.svc.BelieveStatement(w.ctx, w.tenant, service.URL, text); !fault.Is(err, fault.Unauthenticated) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
