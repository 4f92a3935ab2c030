package rotationtest

import (
	"context"
	"errors"
	"sync"

	"github.com/keywright/keywright/internal/rotator"
)

// meddler stands between the engine and a rotator. It keeps account of what happens at the target, and lets the scenario interfere.
type meddler struct {
	rotator.Rotator

	mu sync.Mutex
	// before and after hear of a change; an error takes the place of the call, or of its answer.
	before, after func(verb string, c rotator.Change) error
	busy          map[string]int
	overlaps      int
	// told are the values that the target was told to accept, by attempt.
	told map[string][]string
}

func newMeddler(r rotator.Rotator) *meddler {
	return &meddler{Rotator: r, busy: make(map[string]int), told: make(map[string][]string)}
}

// as gives the engine a rotator with the same abilities as the one behind.
func (m *meddler) as() rotator.Rotator {
	observer, observes := m.Rotator.(rotator.Observer)
	terminator, terminates := m.Rotator.(rotator.Terminator)
	_, creates := m.Rotator.(rotator.Creator)
	switch {
	case creates:
		return creating{m}
	case observes && terminates:
		return struct {
			*meddler
			rotator.Observer
			rotator.Terminator
		}{m, observer, terminator}
	case observes:
		return struct {
			*meddler
			rotator.Observer
		}{m, observer}
	case terminates:
		return struct {
			*meddler
			rotator.Terminator
		}{m, terminator}
	}
	return m
}

type creating struct{ *meddler }

// Create implements rotator.Creator.
func (m creating) Create(ctx context.Context, t *rotator.Target, c rotator.Change) (cred rotator.Credential, err error) {
	err = m.change("create", c, func() error {
		cred, err = m.Rotator.(rotator.Creator).Create(ctx, t, c)
		return err
	})
	return cred, err
}

// Slots implements rotator.Creator.
func (m creating) Slots(ctx context.Context, t *rotator.Target, account string) ([]rotator.Slot, error) {
	return m.Rotator.(rotator.Creator).Slots(ctx, t, account)
}

// Set implements rotator.Rotator.
func (m *meddler) Set(ctx context.Context, t *rotator.Target, c rotator.Change) error {
	value := string(c.Value.Reveal())
	m.mu.Lock()
	known := false
	for _, v := range m.told[t.Attempt] {
		known = known || v == value
	}
	if !known {
		m.told[t.Attempt] = append(m.told[t.Attempt], value)
	}
	m.mu.Unlock()
	return m.change("set", c, func() error { return m.Rotator.Set(ctx, t, c) })
}

// Revoke implements rotator.Rotator.
func (m *meddler) Revoke(ctx context.Context, t *rotator.Target, c rotator.Change) error {
	return m.change("revoke", c, func() error { return m.Rotator.Revoke(ctx, t, c) })
}

func (m *meddler) change(verb string, c rotator.Change, do func() error) error {
	m.mu.Lock()
	m.busy[c.Account]++
	if m.busy[c.Account] > 1 {
		m.overlaps++
	}
	before, after := m.before, m.after
	m.mu.Unlock()
	defer func() {
		m.mu.Lock()
		m.busy[c.Account]--
		m.mu.Unlock()
	}()
	if before != nil {
		if err := before(verb, c); err != nil {
			return err
		}
	}
	err := do()
	if after == nil || err != nil && rotator.ClassOf(err) != rotator.Doubt {
		return err
	}
	// What happens after a change happens too when its answer got lost.
	return errors.Join(err, after(verb, c))
}
