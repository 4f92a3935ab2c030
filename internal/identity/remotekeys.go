package identity

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	jose "github.com/go-jose/go-jose/v4"

	"github.com/keywright/keywright/internal/clock"
)

const (
	// issuerKeysEvery is the default of Config.IssuerKeysEvery. Issuers publish a key long before they sign with it.
	issuerKeysEvery = 30 * time.Second
	// issuerRetry is how soon a fetch of keys that failed is tried again, if every is not sooner.
	issuerRetry = 2 * time.Second
)

// remoteKeys is the key set that an issuer publishes. It is fetched when a signature fits none of the keys that are known, by
// one caller for all who wait, and at most once in a while: anybody can name a key that nobody has.
type remoteKeys struct {
	url    string
	client *http.Client
	clock  clock.Clock
	every  time.Duration
	flight singleflight.Group

	mu    sync.Mutex // guards what follows
	known fixedKeys
	next  time.Time // before it, nothing is fetched
}

// VerifySignature implements oidc.KeySet.
func (k *remoteKeys) VerifySignature(ctx context.Context, text string) ([]byte, error) {
	known, _ := k.state()
	if payload, err := known.VerifySignature(ctx, text); err == nil {
		return payload, nil
	}
	fresh, err := k.fetch(ctx)
	if err != nil {
		return nil, err
	}
	return fresh.VerifySignature(ctx, text)
}

func (k *remoteKeys) state() (known fixedKeys, due bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.known, !k.clock.Now().Before(k.next)
}

// fetch returns the keys as they are now or, when they were fetched a moment ago, as they were then. The caller's leaving does not
// end a fetch for which others wait.
func (k *remoteKeys) fetch(ctx context.Context) (fixedKeys, error) {
	v, err, _ := k.flight.Do("", func() (any, error) {
		if known, due := k.state(); !due {
			return known, nil
		}
		keys, err := k.download(context.WithoutCancel(ctx))
		k.mu.Lock()
		defer k.mu.Unlock()
		if err != nil {
			k.next = k.clock.Now().Add(min(k.every, issuerRetry))
			return nil, err
		}
		k.known, k.next = keys, k.clock.Now().Add(k.every)
		return keys, nil
	})
	if err != nil {
		return fixedKeys{}, err
	}
	return v.(fixedKeys), nil
}

// download asks the issuer. The client bounds time and length and refuses anything but TLS.
func (k *remoteKeys) download(ctx context.Context) (keys fixedKeys, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, k.url, nil)
	if err != nil {
		return keys, err
	}
	answer, err := k.client.Do(request)
	if err != nil {
		return keys, err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return keys, fmt.Errorf("the issuer answers %s when asked for its keys", answer.Status)
	}
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.NewDecoder(answer.Body).Decode(&set); err != nil {
		return fixedKeys{}, fmt.Errorf("reading the issuer's keys: %w", err)
	}
	for _, text := range set.Keys {
		if k, ok := publishedKey(text); ok {
			keys.Keys = append(keys.Keys, k)
		}
	}
	return keys, nil
}

// publishedKey reads one key of a set. A key that cannot be used is passed over, and the others count (RFC 7517, section 5).
func publishedKey(text json.RawMessage) (k jose.JSONWebKey, ok bool) {
	if err := json.Unmarshal(text, &k); err == nil {
		return k, k.Valid() && k.IsPublic()
	}
	// Attestation services publish their keys as certificates alone: the public key is that of the first (RFC 7517, section 4.7).
	var bare struct {
		KeyID       string   `json:"kid"`
		Modulus     string   `json:"n"`
		X           string   `json:"x"`
		Private     string   `json:"d"`
		Certificate [][]byte `json:"x5c"`
	}
	if err := json.Unmarshal(text, &bare); err != nil || len(bare.Certificate) == 0 || bare.Modulus+bare.X+bare.Private != "" {
		return jose.JSONWebKey{}, false
	}
	c, err := x509.ParseCertificate(bare.Certificate[0])
	if err != nil {
		return jose.JSONWebKey{}, false
	}
	k = jose.JSONWebKey{Key: c.PublicKey, KeyID: bare.KeyID}
	return k, k.Valid() && k.IsPublic()
}
