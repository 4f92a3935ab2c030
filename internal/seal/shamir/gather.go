package shamir

import (
	"bytes"
	"context"
	"crypto/cipher"
	"time"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/seal"
)

var _ seal.Gatherer = (*Seal)(nil)

// Expect names a wrap that the shares have to open: before, none are believed, however many were given. It tells how many are needed, too.
func (s *Seal) Expect(wrapped, aad []byte) error {
	if err := checkForm(wrapped); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.aead != nil {
		return nil
	}
	s.proof, s.proofAAD = bytes.Clone(wrapped), bytes.Clone(aad)
	if !bytes.Equal(s.head[len(magic):headSize-1], wrapped[len(magic):headSize-1]) {
		s.forgetLocked() // they are of another set
	}
	copy(s.head[:], wrapped)
	return s.tryLocked()
}

// Progress tells how many shares were given, and how many it takes.
func (s *Seal) Progress() seal.Progress {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.progressLocked()
}

func (s *Seal) progressLocked() seal.Progress {
	p := seal.Progress{Open: s.aead != nil, Given: len(s.given), Needed: int(s.head[headSize-2]), Total: int(s.head[headSize-1])}
	if id := set(s.head[len(magic):]); id != (set{}) {
		p.Set = id.String()
	}
	if wait := s.until.Sub(s.clock.Now()); wait > 0 {
		p.Wait = wait
	}
	return p
}

func (s *Seal) sealedLocked() error {
	p := s.progressLocked()
	return fault.New(fault.Unavailable, "the server is %s: give shares with keywright seal unseal", p).Because(seal.Sealed)
}

// Give takes a share and opens the seal with the last one that it needs. A share of another set than those before, or than that of the wrap, is a
// fault.Invalid, and so is what is no share; neither changes anything. A share that was given already counts once. When the shares together do not open
// what they should, all of them are forgotten, whichever it was that was wrong, and none is taken for a while: a fault.Throttled then.
func (s *Seal) Give(ctx context.Context, text []byte) (seal.Progress, error) {
	if err := ctx.Err(); err != nil {
		return s.Progress(), err
	}
	share, err := ParseShare(text)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.aead != nil {
		return s.progressLocked(), nil
	}
	if wait := s.until.Sub(s.clock.Now()); wait > 0 {
		return s.progressLocked(), fault.New(fault.Throttled, "what was given last was wrong, so that no share is taken for %s: check it meanwhile, and then give this one again",
			(wait + time.Second - 1).Truncate(time.Second)).Because("SharesPaused")
	}
	if err == nil {
		err = s.addLocked(share)
	}
	if err != nil {
		s.until = s.clock.Now().Add(s.pace / 5)
		return s.progressLocked(), err
	}
	err = s.tryLocked()
	return s.progressLocked(), err
}

// addLocked keeps a share. The set of the first one is that of all when no wrap says which it is.
func (s *Seal) addLocked(share *Share) error {
	if id := set(s.head[len(magic):]); id != (set{}) && (id != share.set || s.head[headSize-2] != share.threshold) {
		defer share.Zero()
		return fault.New(fault.Invalid, "this share is of the set %s, and shares of the set %s are needed", share.set, id).Because("ShareOfAnotherSet")
	}
	for i, there := range s.given {
		if there.x == share.x {
			// The later one counts: somebody may correct what another typed.
			there.Zero()
			s.given[i] = share
			return nil
		}
	}
	copy(s.head[len(magic):], share.set[:])
	s.head[headSize-2] = share.threshold
	s.given = append(s.given, share)
	return nil
}

// tryLocked opens the seal when there are shares enough, and something that tells whether they are right.
func (s *Seal) tryLocked() error {
	if s.proof == nil || len(s.given) < int(s.head[headSize-2]) {
		return nil
	}
	defer s.forgetLocked()
	aead, err := s.combineLocked()
	if err != nil {
		return err
	}
	plain, err := open(aead, s.proof, s.proofAAD)
	clear(plain)
	if err != nil {
		s.until = s.clock.Now().Add(s.pace)
		return fault.New(fault.Invalid, "the shares together do not open the root key: at least one of them is wrong, and all have to be given again").
			Because("SharesWrong")
	}
	s.aead = aead
	close(s.opened)
	return nil
}

func (s *Seal) combineLocked() (cipher.AEAD, error) {
	places, values := make([]byte, len(s.given)), make([][keyBytes]byte, len(s.given))
	for i, share := range s.given {
		places[i], values[i] = share.x, share.y
	}
	key := combine(places, values)
	for i := range values {
		clear(values[i][:])
	}
	defer clear(key[:])
	return newAEAD(&key)
}

// Reset forgets the shares that were given.
func (s *Seal) Reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forgetLocked()
}

func (s *Seal) forgetLocked() {
	for _, share := range s.given {
		share.Zero()
	}
	s.given = nil
	if s.aead == nil && s.proof == nil {
		s.head = [headSize]byte{}
	}
}

// Wait returns when the seal is open, or with the error of ctx.
func (s *Seal) Wait(ctx context.Context) error {
	select {
	case <-s.opened:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
