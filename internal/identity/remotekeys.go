package identity

import (
	"context"
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
	if err := json.NewDecoder(answer.Body).Decode((*jose.JSONWebKeySet)(&keys)); err != nil {
		return fixedKeys{}, fmt.Errorf("reading the issuer's keys: %w", err)
	}
	return keys, nil
}
