package identity

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	jose "github.com/go-jose/go-jose/v4"

	"github.com/keywright/keywright/internal/clock"
)

// publisher is an issuer whose keys change and whose key document counts its readers.
type publisher struct {
	*httptest.Server
	keys    atomic.Pointer[jose.JSONWebKeySet]
	fetches atomic.Int64
	down    atomic.Bool
}

func publish(t *testing.T) *publisher {
	t.Helper()
	p := &publisher{}
	mux := http.NewServeMux()
	p.Server = httptest.NewTLSServer(mux)
	t.Cleanup(p.Close)
	mux.HandleFunc("/keys", func(w http.ResponseWriter, _ *http.Request) {
		p.fetches.Add(1)
		if p.down.Load() {
			http.Error(w, "down", http.StatusBadGateway)
			return
		}
		json.NewEncoder(w).Encode(p.keys.Load())
	})
	return p
}

// newKey makes a signing key and publishes it as the only one. It returns what signs with it.
func (p *publisher) newKey(t *testing.T, id string) func() string {
	t.Helper()
	key := newSigner(t)
	p.keys.Store(&jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: id, Algorithm: "ES256", Use: "sig"}}})
	return func() string { return signWith(t, key, id) }
}

func newSigner(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func signWith(t *testing.T, key *ecdsa.PrivateKey, id string) string {
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: key, KeyID: id}}, nil)
	if err != nil {
		t.Error(err)
		return ""
	}
	signed, err := s.Sign([]byte("payload"))
	if err != nil {
		t.Error(err)
		return ""
	}
	text, err := signed.CompactSerialize()
	if err != nil {
		t.Error(err)
	}
	return text
}

func TestUnknownKeysAreNotFetchedEachTime(t *testing.T) {
	const every = 10 * time.Second
	p, now := publish(t), clock.NewManual(time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC))
	keys := &remoteKeys{url: p.URL + "/keys", client: p.Client(), clock: now, every: every}
	verifies := func(text string, want bool) {
		t.Helper()
		payload, err := keys.VerifySignature(t.Context(), text)
		if (err == nil) != want || want && string(payload) != "payload" {
			t.Errorf("got %q, %v; want it to verify: %t", payload, err, want)
		}
	}
	fetched := func(want int64) {
		t.Helper()
		if n := p.fetches.Swap(0); n != want {
			t.Errorf("the keys were fetched %d times, want %d", n, want)
		}
	}
	stranger := newSigner(t)
	guess := func() {
		var group sync.WaitGroup
		for worker := range 8 {
			group.Go(func() {
				for i := range 125 {
					verifies(signWith(t, stranger, fmt.Sprint("guess-", worker, "-", i)), false)
				}
			})
		}
		group.Wait()
	}

	first := p.newKey(t, "one")
	guess() // among them is the one that fetches for the first time
	fetched(1)
	verifies(first(), true)
	guess()
	fetched(0)
	now.Advance(every)
	guess()
	fetched(1)

	second := p.newKey(t, "two")
	verifies(second(), false) // too soon
	verifies(first(), true)
	now.Advance(every)
	verifies(second(), true)
	verifies(first(), false)
	fetched(1)

	// An issuer that fails is asked again sooner; who needs no new key never notices.
	third := p.newKey(t, "three")
	p.down.Store(true)
	now.Advance(every)
	verifies(third(), false)
	verifies(second(), true)
	p.down.Store(false)
	verifies(third(), false)
	now.Advance(issuerRetry)
	verifies(third(), true)
	fetched(2)
}
