package passphrase

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"sync"

	"golang.org/x/crypto/argon2"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/seal"
)

const (
	magic    = "KWP1"
	saltSize = 16
	headSize = len(magic) + 4 + 4 + 1 + saltSize
	keySize  = 32
	// tailSize is what GCM adds: a nonce and a tag.
	tailSize = 12 + 16
)

// Cost says how dear one guess is.
type Cost struct {
	Passes    uint32
	MemoryKiB uint32
	Lanes     uint8
}

// DefaultCost is the second recommended option of RFC 9106, section 4: 3 passes over 64 MiB in 4 lanes.
var DefaultCost = Cost{Passes: 3, MemoryKiB: 64 << 10, Lanes: 4}

// The bounds of a cost. The floor is the least that the OWASP password storage cheat sheet accepts for 2 passes (19 MiB);
// the ceiling keeps a forged wrap from taking more than 1 GiB or about half a minute.
const (
	minPasses, maxPasses       = 2, 16
	minMemoryKiB, maxMemoryKiB = 19 << 10, 1 << 20
	minLanes, maxLanes         = 1, 16
)

func (c Cost) check() error {
	if c.Passes < minPasses || c.Passes > maxPasses || c.MemoryKiB < minMemoryKiB || c.MemoryKiB > maxMemoryKiB ||
		c.Lanes < minLanes || c.Lanes > maxLanes {
		return fault.New(fault.Invalid, "the Argon2id parameters (%d passes, %d KiB, %d lanes) are out of bounds: use %d to %d passes, %d to %d KiB and %d to %d lanes",
			c.Passes, c.MemoryKiB, c.Lanes, minPasses, maxPasses, minMemoryKiB, maxMemoryKiB, minLanes, maxLanes)
	}
	return nil
}

// Config says where the passphrase comes from.
type Config struct {
	Source Source
	// Cost of new wraps; zero means DefaultCost.
	Cost Cost
}

// Seal wraps with a key derived from a passphrase.
type Seal struct {
	source Source
	cost   Cost
	// mu lets one derivation run at a time, which bounds the memory that they take.
	mu sync.Mutex
}

var _ seal.Seal = (*Seal)(nil)

// New checks the configuration. The passphrase is asked for when it is needed first.
func New(c Config) (*Seal, error) {
	if c.Source == nil {
		return nil, fault.New(fault.Invalid, "the passphrase seal has no source of the passphrase: name a file or a prompt")
	}
	if c.Cost == (Cost{}) {
		c.Cost = DefaultCost
	}
	if err := c.Cost.check(); err != nil {
		return nil, err
	}
	return &Seal{source: c.Source, cost: c.Cost}, nil
}

// Name returns "passphrase".
func (*Seal) Name() string { return "passphrase" }

// Wrap encrypts under a key derived with a fresh salt. A passphrase shorter than MinBytes is a fault.Invalid.
func (s *Seal) Wrap(ctx context.Context, plaintext, aad []byte) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	out := make([]byte, headSize, headSize+len(plaintext)+tailSize)
	putHead(out, s.cost)
	rand.Read(out[headSize-saltSize:])
	aead, err := s.derive(ctx, out, s.cost, MinBytes)
	if err != nil {
		return nil, err
	}
	return aead.Seal(out, nil, plaintext, bind(out, aad)), nil
}

// Unwrap derives the key that the wrap asks for and decrypts.
func (s *Seal) Unwrap(ctx context.Context, wrapped, aad []byte) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	cost, err := parseHead(wrapped)
	if err != nil {
		return nil, err
	}
	aead, err := s.derive(ctx, wrapped, cost, 0)
	if err != nil {
		return nil, err
	}
	plain, err := aead.Open(nil, nil, wrapped[headSize:], bind(wrapped, aad))
	if err != nil {
		return nil, fault.New(fault.Invalid, "the root key does not open with this passphrase: check the passphrase, and that the store belongs to it")
	}
	return plain, nil
}

func putHead(b []byte, c Cost) {
	copy(b, magic)
	binary.BigEndian.PutUint32(b[4:], c.Passes)
	binary.BigEndian.PutUint32(b[8:], c.MemoryKiB)
	b[12] = c.Lanes
}

func parseHead(wrapped []byte) (Cost, error) {
	if len(wrapped) > seal.MaxWrapBytes || len(wrapped) < headSize+tailSize || string(wrapped[:len(magic)]) != magic {
		return Cost{}, fault.New(fault.Invalid, "the root key was not wrapped by a passphrase: configure the seal that wrapped it")
	}
	c := Cost{Passes: binary.BigEndian.Uint32(wrapped[4:]), MemoryKiB: binary.BigEndian.Uint32(wrapped[8:]), Lanes: wrapped[12]}
	return c, c.check()
}

func bind(wrapped, aad []byte) []byte {
	return append(append(make([]byte, 0, headSize+len(aad)), wrapped[:headSize]...), aad...)
}

func (s *Seal) derive(ctx context.Context, wrapped []byte, c Cost, least int) (cipher.AEAD, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	phrase, err := s.source(ctx)
	if err != nil {
		return nil, fault.Wrap(err, fault.Unavailable, "the passphrase could not be had: check its source")
	}
	defer clear(phrase)
	if len(phrase) < max(least, 1) {
		return nil, fault.New(fault.Invalid, "the passphrase is too short: use at least %d bytes, better five or more random words", MinBytes)
	}
	key := argon2.IDKey(phrase, wrapped[headSize-saltSize:headSize], c.Passes, c.MemoryKiB, c.Lanes, keySize)
	defer clear(key)
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}
