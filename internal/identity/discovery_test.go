package identity

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	jose "github.com/go-jose/go-jose/v4"

	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// TestIssuerIsReachedByDialAlone refuses each connection in turn: that for the discovery, and that for the keys.
func TestIssuerIsReachedByDialAlone(t *testing.T) {
	discovery, keys := publish(t), publish(t)
	sign := keys.newKey(t, "one")
	discovery.Config.Handler.(*http.ServeMux).HandleFunc("/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		json.NewEncoder(w).Encode(map[string]any{"issuer": discovery.URL, "jwks_uri": keys.URL + "/keys"})
	})
	for name, refuse := range map[string]string{"nothing": "", "discovery": discovery.Listener.Addr().String(), "keys": keys.Listener.Addr().String()} {
		t.Run(name, func(t *testing.T) {
			refused := errors.New("refused")
			s := &Service{Config: Config{Clock: clock.NewManual(time.Now()), IssuerKeysEvery: time.Minute,
				Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
					if address == refuse {
						return nil, refused
					}
					return new(net.Dialer).DialContext(ctx, network, address)
				}}}
			set, err := s.keySet(t.Context(), &store.TrustedIssuer{Tenant: vault.NewTenantID(), Issuer: discovery.URL,
				CA: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: discovery.Certificate().Raw})})
			if err == nil {
				_, err = set.VerifySignature(t.Context(), sign())
			}
			if refuse == "" && err != nil || refuse != "" && !errors.Is(err, refused) {
				t.Error(err)
			}
		})
	}
}

// TestReplacedIssuerWaitsForNoOlderDiscovery registers an issuer anew, with another key, while the discovery of the record
// before is under way: an assertion must be judged by the new record.
func TestReplacedIssuerWaitsForNoOlderDiscovery(t *testing.T) {
	asked, answer := make(chan struct{}), make(chan struct{})
	mux := http.NewServeMux()
	server := httptest.NewTLSServer(mux)
	t.Cleanup(server.Close)
	mux.HandleFunc("/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		close(asked)
		<-answer
		json.NewEncoder(w).Encode(map[string]any{"issuer": server.URL, "jwks_uri": server.URL + "/keys"})
	})
	s := &Service{Config: Config{Clock: clock.NewManual(time.Now()), Dial: (&net.Dialer{}).DialContext, IssuerKeysEvery: time.Minute}}
	tenant, key := vault.NewTenantID(), newSigner(t)
	set, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "new", Algorithm: "ES256", Use: "sig"}}})
	if err != nil {
		t.Fatal(err)
	}
	before := &store.TrustedIssuer{Tenant: tenant, Issuer: server.URL,
		CA: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})}
	after := &store.TrustedIssuer{Tenant: tenant, Issuer: server.URL, JWKS: set}

	older := make(chan error, 1)
	go func() {
		_, err := s.keySet(t.Context(), before)
		older <- err
	}()
	<-asked
	newer := make(chan error, 1)
	go func() {
		keys, err := s.keySet(t.Context(), after)
		if err == nil {
			_, err = keys.VerifySignature(t.Context(), signWith(t, key, "new"))
		}
		newer <- err
	}()
	select {
	case err := <-newer:
		if err != nil {
			t.Errorf("an assertion that the new key signed is refused: %v", err)
		}
	case <-time.After(time.Minute):
		t.Error("the new record waits for the discovery of the one before")
	}
	close(answer)
	if err := <-older; err != nil {
		t.Error(err)
	}
	keys, err := s.keySet(t.Context(), after)
	if err == nil {
		_, err = keys.VerifySignature(t.Context(), signWith(t, key, "new"))
	}
	if err != nil {
		t.Errorf("the discovery that came late has replaced the new keys: %v", err)
	}
}
