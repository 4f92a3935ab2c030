// Package sealtest is the conformance suite of seal.Seal: every sentence of the port has a test here, and the test of a
// seal calls Run.
package sealtest

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/seal"
)

// Maker makes the seals of one configuration.
type Maker struct {
	// Reopen returns a seal with the same configuration each time it is called, as a restarted process would.
	Reopen func(t *testing.T) seal.Seal
	// Other returns a seal of the same type that holds another key.
	Other func(t *testing.T) seal.Seal
	// Costly makes the suite sample where it would otherwise try every byte, for seals that take long on purpose.
	Costly bool
}

// Run proves the promises of the port.
func Run(t *testing.T, m Maker) {
	ctx := context.Background()
	plain, aad := bytes.Repeat([]byte{0x5a, 0xa5}, 16), []byte("bound to this")
	s := m.Reopen(t)
	wrapped, err := s.Wrap(ctx, plain, aad)
	if err != nil {
		t.Fatalf("Wrap: %v", err)
	}

	t.Run("opens again", func(t *testing.T) {
		for _, s := range []seal.Seal{s, m.Reopen(t)} {
			got, err := s.Unwrap(ctx, wrapped, aad)
			if err != nil || !bytes.Equal(got, plain) {
				t.Errorf("Unwrap = %x, %v; want the plaintext", got, err)
			}
		}
	})
	t.Run("has a name", func(t *testing.T) {
		if s.Name() == "" || s.Name() != m.Reopen(t).Name() {
			t.Errorf("Name = %q, then %q", s.Name(), m.Reopen(t).Name())
		}
	})
	t.Run("is randomised and hides", func(t *testing.T) {
		again, err := s.Wrap(ctx, plain, aad)
		if err != nil || bytes.Equal(again, wrapped) {
			t.Errorf("a second Wrap: %v; equal: %v", err, bytes.Equal(again, wrapped))
		}
		if bytes.Contains(wrapped, plain[:8]) {
			t.Error("the wrap shows the plaintext")
		}
	})
	t.Run("keeps its arguments", func(t *testing.T) {
		p, a, w := bytes.Clone(plain), bytes.Clone(aad), bytes.Clone(wrapped)
		if _, err := s.Wrap(ctx, p, a); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Unwrap(ctx, w, a); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(p, plain) || !bytes.Equal(a, aad) || !bytes.Equal(w, wrapped) {
			t.Error("an argument was changed")
		}
	})
	refuse := func(t *testing.T, what string, s seal.Seal, wrapped, aad []byte) {
		t.Helper()
		got, err := s.Unwrap(ctx, wrapped, aad)
		if !fault.Is(err, fault.Invalid) || got != nil {
			t.Errorf("%s: Unwrap = %x, %v; want nothing and a fault.Invalid", what, got, err)
		}
		if err != nil && bytes.Contains([]byte(err.Error()), plain[:8]) {
			t.Errorf("%s: the error shows the plaintext", what)
		}
	}
	t.Run("refuses other data", func(t *testing.T) {
		refuse(t, "none", s, wrapped, nil)
		refuse(t, "other", s, wrapped, []byte("bound to thiS"))
		refuse(t, "longer", s, wrapped, append(bytes.Clone(aad), 0))
	})
	t.Run("refuses another key", func(t *testing.T) {
		other := m.Other(t)
		refuse(t, "other", other, wrapped, aad)
		theirs, err := other.Wrap(ctx, plain, aad)
		if err != nil {
			t.Fatal(err)
		}
		refuse(t, "another installation's", s, theirs, aad)
		refuse(t, "another installation's, after a restart", m.Reopen(t), theirs, aad)
		// The head of one wrap with the rest of another, at every place where they could be joined.
		step := 1
		if m.Costly {
			step = len(wrapped)/4 + 1
		}
		for i := 1; i < min(len(wrapped), len(theirs)); i += step {
			if !bytes.Equal(wrapped[:i], theirs[:i]) && !bytes.Equal(wrapped[i:], theirs[i:]) {
				refuse(t, "joined", s, append(bytes.Clone(wrapped[:i]), theirs[i:]...), aad)
			}
		}
	})
	t.Run("refuses what another seal wrapped", func(t *testing.T) {
		for _, magic := range []string{"KWF1", "KWP1", "KWS1", "KWH1", "none"} {
			foreign := append([]byte(magic), bytes.Repeat([]byte{7}, 120)...)
			refuse(t, magic, s, foreign, aad)
		}
	})
	t.Run("opens what a restarted process wrapped", func(t *testing.T) {
		again, err := m.Reopen(t).Wrap(ctx, plain, aad)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := s.Unwrap(ctx, again, aad); err != nil || !bytes.Equal(got, plain) {
			t.Errorf("Unwrap = %x, %v; want the plaintext", got, err)
		}
	})
	t.Run("refuses what is damaged", func(t *testing.T) {
		step := 1
		if m.Costly {
			step = len(wrapped)/8 + 1
		}
		for i := 0; i < len(wrapped); i += step {
			bad := bytes.Clone(wrapped)
			bad[i] ^= 0x10
			refuse(t, "changed", s, bad, aad)
			refuse(t, "cut", s, wrapped[:i], aad)
		}
		refuse(t, "longer", s, append(bytes.Clone(wrapped), 0), aad)
		refuse(t, "nothing", s, nil, aad)
		refuse(t, "huge", s, make([]byte, seal.MaxWrapBytes+1), aad)
	})
	t.Run("heeds a ctx that is over", func(t *testing.T) {
		over, cancel := context.WithCancel(ctx)
		cancel()
		if _, err := s.Wrap(over, plain, aad); !errors.Is(err, context.Canceled) {
			t.Errorf("Wrap: %v", err)
		}
		if _, err := s.Unwrap(over, wrapped, aad); !errors.Is(err, context.Canceled) {
			t.Errorf("Unwrap: %v", err)
		}
	})
	t.Run("serves many", func(t *testing.T) {
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				w, err := s.Wrap(ctx, plain, aad)
				if err != nil {
					t.Errorf("Wrap: %v", err)
					return
				}
				if got, err := s.Unwrap(ctx, w, aad); err != nil || !bytes.Equal(got, plain) {
					t.Errorf("Unwrap: %v", err)
				}
			})
		}
		wg.Wait()
	})
}
