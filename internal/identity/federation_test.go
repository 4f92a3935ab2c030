package identity_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	jose "github.com/go-jose/go-jose/v4"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/identity"
	"github.com/keywright/keywright/internal/principal"
	"github.com/keywright/keywright/internal/store"
)

const workload = "system:serviceaccount:shop:orders"

func TestFederation(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	set, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "k", Algorithm: "ES256", Use: "sig"}}})
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	cluster := httptest.NewTLSServer(mux)
	t.Cleanup(cluster.Close)
	mux.HandleFunc("/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		json.NewEncoder(w).Encode(map[string]any{"issuer": cluster.URL, "jwks_uri": cluster.URL + "/keys", "authorization_endpoint": cluster.URL,
			"token_endpoint": cluster.URL, "response_types_supported": []string{"id_token"}, "subject_types_supported": []string{"public"},
			"id_token_signing_alg_values_supported": []string{"ES256"}})
	})
	var fetches atomic.Int64
	mux.HandleFunc("/keys", func(w http.ResponseWriter, _ *http.Request) {
		fetches.Add(1)
		w.Write(set)
	})
	authority := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cluster.Certificate().Raw})

	for name, trust := range map[string]store.TrustedIssuer{
		"discovered":    {Issuer: cluster.URL, CA: authority},
		"given by hand": {Issuer: "https://kubernetes.default.svc", JWKS: set},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			app := w.make(identity.Spec{Kind: principal.Service})
			trust.Tenant = w.tenant
			trusted, err := w.svc.PrepareTrustedIssuer(trust)
			w.must(err)
			_, federated, err := w.svc.PrepareFederation(w.tenant, app.ID, principal.Federation{Name: "cluster", Issuer: trust.Issuer, Subject: workload})
			w.must(err)
			w.apply(trusted, federated)
			now := w.clock.Now().Unix()
			make := func(key *ecdsa.PrivateKey, change map[string]any) string {
				claims := map[string]any{"iss": trust.Issuer, "sub": workload, "aud": []string{identity.DefaultFederationAudience}, "exp": now + 3600, "iat": now}
				for k, v := range change {
					claims[k] = v
				}
				return signer{key: key}.sign(t, jose.ES256, map[string]any{"kid": "k"}, claims) + "\n"
			}
			for what, c := range map[string]struct {
				assertion string
				want      fault.Reason
			}{
				"good":             {make(key, nil), ""},
				"another subject":  {make(key, map[string]any{"sub": "system:serviceaccount:evil:orders"}), identity.WrongAssertion},
				"another audience": {make(key, map[string]any{"aud": "https://kubernetes"}), identity.WrongAssertion},
				"another issuer":   {make(key, map[string]any{"iss": "https://evil.test"}), identity.WrongAssertion},
				"another key":      {make(other, nil), identity.WrongAssertion},
				"expired":          {make(key, map[string]any{"exp": now - 1}), identity.ExpiredAssertion},
				"no end":           {make(key, map[string]any{"exp": nil}), identity.ExpiredAssertion},
			} {
				_, err := w.assert(app.AppID, c.assertion, netip.Addr{})
				if f := fault.As(err); c.want != "" && (f == nil || f.Reason != c.want) || c.want == "" && err != nil {
					t.Errorf("%s: %v", what, err)
				}
			}
			// All of it at one instant: "another key" was not worth a second fetch.
			if n := fetches.Swap(0); n > 1 || (n == 0) != (name == "given by hand") {
				t.Errorf("the keys were fetched %d times", n)
			}
			token, err := w.assert(app.AppID, make(key, nil), here)
			w.must(err)
			_, err = w.svc.Authenticate(w.ctx, token.Access.Reveal(), w.vaults)
			w.must(err)
			w.clock.Advance(time.Second)
			w.apply(w.svc.PrepareDistrust(w.tenant, trust.Issuer))
			_, err = w.svc.Authenticate(w.ctx, token.Access.Reveal(), w.vaults)
			reason(t, err, identity.StaleToken)
			_, err = w.assert(app.AppID, make(key, nil), here)
			reason(t, err, identity.UntrustedIssuer)
		})
	}
}

func TestUnreachableIssuer(t *testing.T) {
	w := newWorld(t)
	dead := httptest.NewTLSServer(http.NotFoundHandler())
	url := dead.URL
	dead.Close()
	app := w.make(identity.Spec{Kind: principal.Service})
	trusted, err := w.svc.PrepareTrustedIssuer(store.TrustedIssuer{Tenant: w.tenant, Issuer: url})
	w.must(err)
	_, federated, err := w.svc.PrepareFederation(w.tenant, app.ID, principal.Federation{Name: "gone", Issuer: url, Subject: workload})
	w.must(err)
	w.apply(trusted, federated)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	w.must(err)
	_, err = w.assert(app.AppID, signer{key: key}.sign(t, jose.ES256, nil, map[string]any{"iss": url, "sub": workload,
		"aud": identity.DefaultFederationAudience, "exp": w.clock.Now().Unix() + 60}), here)
	if !fault.Is(err, fault.Unavailable) {
		t.Errorf("got %v", err)
	}
}

// An issuer that somebody else took over cannot make the server fetch from where it should not, or fill its memory.
func TestAnIssuersAnswersAreNotFollowedAnywhere(t *testing.T) {
	inside := false
	plain := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { inside = true }))
	t.Cleanup(plain.Close)
	for name, serve := range map[string]func(issuer string, w http.ResponseWriter, r *http.Request){
		"keys without TLS": func(issuer string, w http.ResponseWriter, _ *http.Request) {
			json.NewEncoder(w).Encode(map[string]any{"issuer": issuer, "jwks_uri": plain.URL})
		},
		"redirection": func(_ string, w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, plain.URL, http.StatusFound)
		},
		"endless document": func(_ string, w http.ResponseWriter, r *http.Request) {
			block := make([]byte, 64<<10)
			for sent := 0; ; sent += len(block) {
				if sent > 16<<20 {
					t.Error("16 MiB of a discovery document were read")
					return
				}
				if _, err := w.Write(block); err != nil {
					return
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			var issuer string
			server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { serve(issuer, w, r) }))
			t.Cleanup(server.Close)
			issuer = server.URL
			app := w.make(identity.Spec{Kind: principal.Service})
			trusted, err := w.svc.PrepareTrustedIssuer(store.TrustedIssuer{Tenant: w.tenant, Issuer: issuer,
				CA: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})})
			w.must(err)
			_, federated, err := w.svc.PrepareFederation(w.tenant, app.ID, principal.Federation{Name: "f", Issuer: issuer, Subject: workload})
			w.must(err)
			w.apply(trusted, federated)
			key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
			w.must(err)
			_, err = w.assert(app.AppID, signer{key: key}.sign(t, jose.ES256, nil, map[string]any{"iss": issuer, "sub": workload,
				"aud": identity.DefaultFederationAudience, "exp": w.clock.Now().Unix() + 60}), here)
			if err == nil || inside {
				t.Errorf("got %v; reached the inside: %v", err, inside)
			}
		})
	}
}
