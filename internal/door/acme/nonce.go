package acme

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"sync"
)

// maxNonces is how many nonces are remembered. When there are more, the oldest stops counting; its client gets badNonce with a new one, and tries again by itself.
const maxNonces = 20_000

// Nonces makes nonces, and takes each once.
type Nonces interface {
	Issue(context.Context) (string, error)
	// Use reports whether a nonce counts, and makes it stop.
	Use(ctx context.Context, nonce string) (bool, error)
}

// nonces are the ones that count, once each. They are kept by the process: after a restart clients try again.
type nonces struct {
	mu    sync.Mutex
	known map[string]bool
	order []string
	next  int
}

func newNonces() *nonces {
	return &nonces{known: make(map[string]bool), order: make([]string, maxNonces)}
}

// Issue implements Nonces.
func (n *nonces) Issue(context.Context) (string, error) {
	nonce := randomID()
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.known, n.order[n.next])
	n.order[n.next], n.known[nonce] = nonce, true
	n.next = (n.next + 1) % maxNonces
	return nonce, nil
}

// Use implements Nonces.
func (n *nonces) Use(_ context.Context, nonce string) (bool, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	ok := n.known[nonce]
	delete(n.known, nonce)
	return ok, nil
}

// randomID is 192 random bits in base64url: a nonce, a token, or the name of a resource.
func randomID() string {
	b := make([]byte, 24)
	if _, err := rand.Read(b); err != nil {
		panic(err) // crypto/rand never returns one
	}
	return base64.RawURLEncoding.EncodeToString(b)
}
