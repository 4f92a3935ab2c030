package acme

import (
	"context"
	"net/http"
	"strings"

	"github.com/mholt/acmez/v3/acme"

	"github.com/keywright/keywright/internal/fault"
)

// ChallengePath is the path below which HTTP01 answers (RFC 8555, section 8.3).
const ChallengePath = "/.well-known/acme-challenge/"

// HTTP01 answers http-01 challenges: mount it at ChallengePath of the host's port 80. Its zero value is ready.
type HTTP01 struct {
	// Answers is where the answers are kept; nil keeps them in the process.
	Answers Answers
	own     memory
}

var _ Solver = (*HTTP01)(nil)

func (s *HTTP01) answers() Answers {
	if s.Answers == nil {
		return &s.own
	}
	return s.Answers
}

// maxToken bounds what is looked for: tokens of authorities have 43 characters.
const maxToken = 256

// ServeHTTP answers with the key authorization of a token that is being looked for, and 404 otherwise.
func (s *HTTP01) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	token, ok := strings.CutPrefix(r.URL.Path, ChallengePath)
	if !ok || token == "" || len(token) > maxToken || r.Method != http.MethodGet && r.Method != http.MethodHead {
		http.NotFound(w, r)
		return
	}
	answer, err := s.answers().Answer(r.Context(), acme.ChallengeTypeHTTP01, token)
	switch {
	case fault.Is(err, fault.NotFound):
		http.NotFound(w, r)
	case err != nil:
		http.Error(w, "the answer cannot be looked up now: try again", http.StatusServiceUnavailable)
	default:
		w.Header().Set("Content-Type", "application/octet-stream")
		w.Header().Set("Cache-Control", "no-store")
		_, _ = w.Write(answer) // whoever asked has gone away
	}
}

// Present remembers an answer.
func (s *HTTP01) Present(ctx context.Context, c Challenge) error {
	return s.answers().PutAnswer(ctx, acme.ChallengeTypeHTTP01, c.Token, []byte(c.KeyAuthorization))
}

// Ready is true: the handler answers at once.
func (*HTTP01) Ready(context.Context, Challenge) (bool, error) { return true, nil }

// CleanUp forgets an answer.
func (s *HTTP01) CleanUp(ctx context.Context, c Challenge) error {
	return s.answers().DropAnswer(ctx, acme.ChallengeTypeHTTP01, c.Token)
}
