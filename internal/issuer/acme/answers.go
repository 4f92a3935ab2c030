package acme

import (
	"context"
	"encoding/json"
	"sync"

	"github.com/mholt/acmez/v3/acme"

	"github.com/keywright/keywright/internal/fault"
)

// Answers keeps what challenges are answered with, by the type of challenge and the name under which the authority asks: a token, or a host. Several nodes that
// share the host's ports must share the answers too. What it keeps is no secret. Methods may be called concurrently.
type Answers interface {
	// PutAnswer keeps an answer in the place of what was there.
	PutAnswer(ctx context.Context, kind, name string, answer []byte) error
	// Answer returns it; a fault.NotFound when there is none.
	Answer(ctx context.Context, kind, name string) ([]byte, error)
	// DropAnswer forgets it. That there is none is no error.
	DropAnswer(ctx context.Context, kind, name string) error
}

// memory keeps answers in the process. Its zero value is ready.
type memory struct {
	mu      sync.RWMutex
	answers map[[2]string][]byte
}

func (m *memory) PutAnswer(_ context.Context, kind, name string, answer []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.answers == nil {
		m.answers = map[[2]string][]byte{}
	}
	m.answers[[2]string{kind, name}] = answer
	return nil
}

func (m *memory) Answer(_ context.Context, kind, name string) ([]byte, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	answer, ok := m.answers[[2]string{kind, name}]
	if !ok {
		return nil, fault.New(fault.NotFound, "no challenge is open for this name")
	}
	return answer, nil
}

func (m *memory) DropAnswer(_ context.Context, kind, name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.answers, [2]string{kind, name})
	return nil
}

// question is what has to be known of a challenge to make the certificate that answers it.
type question struct {
	Type             string `json:"type"`
	Value            string `json:"value"`
	KeyAuthorization string `json:"keyAuthorization"`
}

func (c Challenge) question() ([]byte, error) {
	return json.Marshal(question{c.raw.Identifier.Type, c.raw.Identifier.Value, c.raw.KeyAuthorization})
}

func readQuestion(text []byte) (raw acme.Challenge, err error) {
	var q question
	if err := json.Unmarshal(text, &q); err != nil {
		return raw, fault.Wrap(err, fault.Internal, "reading what a challenge asks for")
	}
	raw.Type, raw.KeyAuthorization = acme.ChallengeTypeTLSALPN01, q.KeyAuthorization
	raw.Identifier.Type, raw.Identifier.Value = q.Type, q.Value
	return raw, nil
}
