package acme

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/keywright/keywright/internal/clock"
)

// Provider writes TXT records. Names end with a dot. Both methods may be called again with what is done already, and one name may have several values at a time: a
// certificate for a name and its wildcard needs two.
type Provider interface {
	Set(ctx context.Context, name, value string) error
	Remove(ctx context.Context, name, value string) error
}

// Checker is a Provider that can see whether a record has arrived.
type Checker interface {
	Check(ctx context.Context, name, value string) (bool, error)
}

// DNS01 answers dns-01 challenges through a provider.
type DNS01 struct {
	provider Provider
	settle   time.Duration
	clock    clock.Clock

	mu sync.Mutex
	// presented is when this process first saw a challenge, by its token, for providers that cannot be asked.
	presented map[string]time.Time
}

var _ Solver = (*DNS01)(nil)

// NewDNS01 returns a solver. A provider that is no Checker is believed to be done after settle; one that is, that much after its record was seen for the first time,
// which gives secondary servers time to follow.
func NewDNS01(provider Provider, settle time.Duration, c clock.Clock) (*DNS01, error) {
	if provider == nil || c == nil || settle < 0 {
		return nil, errors.New("acme: a provider and a clock are required, and the time to settle is not negative")
	}
	return &DNS01{provider: provider, settle: settle, clock: c, presented: map[string]time.Time{}}, nil
}

// Present sets the record.
func (s *DNS01) Present(ctx context.Context, c Challenge) error {
	return s.provider.Set(ctx, c.RecordName(), c.RecordValue())
}

// Ready asks the provider, if that is possible, and lets the time to settle pass.
func (s *DNS01) Ready(ctx context.Context, c Challenge) (bool, error) {
	if checker, ok := s.provider.(Checker); ok {
		if there, err := checker.Check(ctx, c.RecordName(), c.RecordValue()); err != nil || !there {
			return false, err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	first, ok := s.presented[c.Token]
	if !ok {
		first = s.clock.Now()
		s.presented[c.Token] = first
	}
	return s.clock.Now().Sub(first) >= s.settle, nil
}

// CleanUp removes the record.
func (s *DNS01) CleanUp(ctx context.Context, c Challenge) error {
	s.mu.Lock()
	delete(s.presented, c.Token)
	s.mu.Unlock()
	return s.provider.Remove(ctx, c.RecordName(), c.RecordValue())
}
