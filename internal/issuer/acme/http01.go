package acme

import (
	"context"
	"io"
	"net/http"
	"strings"
	"sync"
)

// ChallengePath is the path below which HTTP01 answers (RFC 8555, section 8.3).
const ChallengePath = "/.well-known/acme-challenge/"

// HTTP01 answers http-01 challenges: mount it at ChallengePath of the host's port 80. Where several nodes share that port, each must be given what the others present.
// Its zero value is ready.
type HTTP01 struct {
	mu      sync.RWMutex
	answers map[string]string
}

var _ Solver = (*HTTP01)(nil)

// ServeHTTP answers with the key authorization of a token that is being looked for, and 404 otherwise.
func (s *HTTP01) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	token, ok := strings.CutPrefix(r.URL.Path, ChallengePath)
	if ok {
		s.mu.RLock()
		answer, known := s.answers[token]
		s.mu.RUnlock()
		if known && (r.Method == http.MethodGet || r.Method == http.MethodHead) {
			w.Header().Set("Content-Type", "application/octet-stream")
			w.Header().Set("Cache-Control", "no-store")
			_, _ = io.WriteString(w, answer) // whoever asked has gone away
			return
		}
	}
	http.NotFound(w, r)
}

// Present remembers an answer.
func (s *HTTP01) Present(_ context.Context, c Challenge) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.answers == nil {
		s.answers = map[string]string{}
	}
	s.answers[c.Token] = c.KeyAuthorization
	return nil
}

// Ready is true: the handler answers at once.
func (*HTTP01) Ready(context.Context, Challenge) (bool, error) { return true, nil }

// CleanUp forgets an answer.
func (s *HTTP01) CleanUp(_ context.Context, c Challenge) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.answers, c.Token)
	return nil
}
