package shamir

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"sync"
	"time"

	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/seal"
)

const (
	// name is that of the seal in configurations and in the store.
	name     = "shamir"
	magic    = "KWS1"
	headSize = len(magic) + setBytes + 2
)

// Config says how shares are taken. Nothing of it is needed to open a seal: a share says by itself to which set it belongs.
type Config struct {
	// Clock is the machine's when nil.
	Clock clock.Clock
	// Pace is how long the seal takes no more shares after k of them opened nothing; 0 means DefaultPace.
	Pace time.Duration
}

// DefaultPace leaves whoever mistyped a share the time to look, and whoever guesses 17,000 tries a day at 2^256 keys.
const DefaultPace = 5 * time.Second

// Seal wraps with a key that was split.
type Seal struct {
	clock clock.Clock
	pace  time.Duration
	// opened is closed when the key is there; see Wait.
	opened chan struct{}

	// mu guards what follows.
	mu   sync.Mutex
	aead cipher.AEAD
	// head is the beginning of every wrap of this key.
	head [headSize]byte
	// proof is a wrap, with its data, that the key has to open.
	proof, proofAAD []byte
	// given are the shares so far, all of one set and with different places.
	given []*Share
	// until is when shares are taken again.
	until time.Time
}

var _ seal.Seal = (*Seal)(nil)

// New returns a seal without its key: Give brings it.
func New(c Config) (*Seal, error) {
	if c.Pace < 0 {
		return nil, fault.New(fault.Invalid, "the pause after wrong shares cannot be negative: give a duration, or 0 for %s", DefaultPace)
	}
	if c.Clock == nil {
		c.Clock = clock.System{}
	}
	if c.Pace == 0 {
		c.Pace = DefaultPace
	}
	return &Seal{clock: c.Clock, pace: c.Pace, opened: make(chan struct{})}, nil
}

// Create makes a seal with a fresh key, which is open, and the shares of the key: n of them, any k of which open it. The caller gives each to somebody
// and forgets them: nothing else can ever open what this seal wraps.
func Create(c Config, n, k int) (*Seal, []*Share, error) {
	if k < MinThreshold || n < k || n > MaxShares {
		return nil, nil, fault.New(fault.Invalid, "%d shares with a threshold of %d cannot be made: use 2 to %d shares, and a threshold from %d to their number", n, k,
			MaxShares, MinThreshold)
	}
	s, err := New(c)
	if err != nil {
		return nil, nil, err
	}
	var key [keyBytes]byte
	defer clear(key[:])
	rand.Read(key[:])
	var id set
	rand.Read(id[:])
	copy(s.head[:], magic)
	copy(s.head[len(magic):], id[:])
	s.head[headSize-2], s.head[headSize-1] = byte(k), byte(n)
	if s.aead, err = newAEAD(&key); err != nil {
		return nil, nil, err
	}
	close(s.opened)
	values := split(&key, n, k)
	shares := make([]*Share, n)
	for i := range values {
		shares[i] = &Share{set: id, threshold: byte(k), x: byte(i + 1), y: values[i]}
		clear(values[i][:])
	}
	return s, shares, nil
}

func newAEAD(key *[keyBytes]byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key[:])
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

// Name returns "shamir".
func (*Seal) Name() string { return name }

func (s *Seal) key() (cipher.AEAD, [headSize]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.aead == nil {
		return nil, s.head, s.sealedLocked()
	}
	return s.aead, s.head, nil
}

// Wrap encrypts under the key. A seal without its key is a fault.Unavailable.
func (s *Seal) Wrap(ctx context.Context, plaintext, aad []byte) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	aead, head, err := s.key()
	if err != nil {
		return nil, err
	}
	out := append(make([]byte, 0, headSize+len(plaintext)+aead.Overhead()), head[:]...)
	return aead.Seal(out, nil, plaintext, bind(head[:], aad)), nil
}

var errOpen = fault.New(fault.Invalid, "the wrapped root key does not open with the key of these shares: it was changed or belongs to another installation")

// Unwrap decrypts. A wrap that is none of this seal's kind is told from one that is whether the shares were given or not.
func (s *Seal) Unwrap(ctx context.Context, wrapped, aad []byte) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := checkForm(wrapped); err != nil {
		return nil, err
	}
	aead, head, err := s.key()
	if err != nil {
		return nil, err
	}
	if set(wrapped[len(magic):]) != set(head[len(magic):]) {
		return nil, fault.New(fault.Invalid, "the root key was wrapped for the shares of the set %s, and those of the set %s were given: give the former",
			set(wrapped[len(magic):]), set(head[len(magic):]))
	}
	return open(aead, wrapped, aad)
}

func checkForm(wrapped []byte) error {
	if len(wrapped) > seal.MaxWrapBytes || len(wrapped) < headSize || string(wrapped[:len(magic)]) != magic {
		return fault.New(fault.Invalid, "the root key was not wrapped for shares: configure the seal that wrapped it")
	}
	return nil
}

func open(aead cipher.AEAD, wrapped, aad []byte) ([]byte, error) {
	plain, err := aead.Open(nil, nil, wrapped[headSize:], bind(wrapped[:headSize], aad))
	if err != nil {
		return nil, errOpen
	}
	return plain, nil
}

func bind(head, aad []byte) []byte {
	return append(append(make([]byte, 0, headSize+len(aad)), head...), aad...)
}
