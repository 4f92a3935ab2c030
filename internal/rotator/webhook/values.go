package webhook

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/redact"
)

// maxTokens bounds how many values wait at once: two for each of the engine's concurrent calls are a few hundred.
const maxTokens = 10_000

// Values hands out each value once, to whom shows its token. It is an http.Handler for POST with "Authorization: Bearer TOKEN"; the answer is
// {"value": "…"}. It is meant to be mounted on a TLS server that does not log headers.
type Values struct {
	clock clock.Clock

	mu      sync.Mutex
	waiting map[[sha256.Size]byte]waiting
}

// waiting is a value under the digest of its token: a look-up compares digests, whose timing tells nothing of tokens.
type waiting struct {
	value redact.Bytes
	until time.Time
}

// NewValues returns an empty store.
func NewValues(c clock.Clock) *Values {
	return &Values{clock: c, waiting: map[[sha256.Size]byte]waiting{}}
}

// put keeps a copy of the value for one use until then, and returns its token; "" when too many wait.
func (v *Values) put(value redact.Bytes, until time.Time) string {
	token := rand.Text() + rand.Text() // 260 bits
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.waiting) >= maxTokens {
		v.sweep()
	}
	if len(v.waiting) >= maxTokens {
		return ""
	}
	v.waiting[sha256.Sum256([]byte(token))] = waiting{bytes.Clone(value), until}
	return token
}

// take returns the value of a token and forgets it; nil when there is none, or its time is over.
func (v *Values) take(token string) redact.Bytes {
	v.mu.Lock()
	defer v.mu.Unlock()
	key := sha256.Sum256([]byte(token))
	found, ok := v.waiting[key]
	if !ok {
		return nil
	}
	delete(v.waiting, key)
	if !v.clock.Now().Before(found.until) {
		found.value.Zero()
		return nil
	}
	return found.value
}

// drop forgets a value that nobody fetched.
func (v *Values) drop(token string) { v.take(token).Zero() }

// sweep forgets what is over. The caller holds the lock.
func (v *Values) sweep() {
	now := v.clock.Now()
	for key, one := range v.waiting {
		if !now.Before(one.until) {
			one.value.Zero()
			delete(v.waiting, key)
		}
	}
}

// ServeHTTP answers with a value. A token that is unknown, used or too old is 404: the three are not told apart.
func (v *Values) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	if r.Method != http.MethodPost { // a GET may be cached, prefetched or repeated on the way
		w.Header().Set("Allow", http.MethodPost)
		http.Error(w, "fetch a value with POST", http.StatusMethodNotAllowed)
		return
	}
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	value := redact.Bytes(nil)
	if ok {
		value = v.take(token)
	}
	if value == nil {
		http.Error(w, "there is no value for this token: each is good once and until its order's deadline; ask for the order again", http.StatusNotFound)
		return
	}
	defer value.Zero()
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]string{"value": string(value.Reveal())}) // who does not get it asks for the order again
}
