package pkcs11_test

import (
	"context"
	"crypto"
	"strings"
	"testing"

	"github.com/keywright/keywright/internal/cryptokey"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/seal"
	"github.com/keywright/keywright/internal/seal/pkcs11"
	"github.com/keywright/keywright/internal/seal/sealtest"
)

// memory is a token in memory, whose keys are software's.
type memory struct {
	keys map[string]*cryptokey.Key
	// without is an algorithm that the token lacks, away whether nobody reaches it.
	without cryptokey.Algorithm
	away    bool
}

func (m *memory) Find(id []byte) (*cryptokey.Key, error) {
	k := m.keys[string(id)]
	if k == nil {
		return nil, fault.New(fault.NotFound, "no key %q", id)
	}
	return cryptokey.FromBackend(&key{k, m})
}

func (m *memory) Generate(spec cryptokey.Spec, id []byte) (*cryptokey.Key, error) {
	k, err := cryptokey.Generate(spec)
	if err != nil {
		return nil, err
	}
	if m.keys == nil {
		m.keys = map[string]*cryptokey.Key{}
	}
	m.keys[string(id)] = k
	return m.Find(id)
}

// key is one in a token.
type key struct {
	*cryptokey.Key
	token *memory
}

func (k *key) Public() crypto.PublicKey { return nil }

func (k *key) can(alg cryptokey.Algorithm) error {
	if k.token.away {
		return fault.New(fault.Unavailable, "the token is away")
	}
	if alg == k.token.without {
		return fault.New(fault.Unsupported, "the token lacks %s", alg)
	}
	return nil
}

func (k *key) Conceal(alg cryptokey.Algorithm, in cryptokey.Input) (cryptokey.Output, error) {
	if err := k.can(alg); err != nil {
		return cryptokey.Output{}, err
	}
	if alg == cryptokey.A256KW {
		return k.WrapKey(alg, in)
	}
	return k.Encrypt(alg, in)
}

func (k *key) Reveal(alg cryptokey.Algorithm, in cryptokey.Input) ([]byte, error) {
	if err := k.can(alg); err != nil {
		return nil, err
	}
	if alg == cryptokey.A256KW {
		return k.UnwrapKey(alg, in)
	}
	return k.Decrypt(alg, in)
}

func open(t *testing.T, m *memory, name string) *pkcs11.Seal {
	t.Helper()
	s, err := pkcs11.New(pkcs11.Config{Open: m, Key: name, Make: true})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestConformance(t *testing.T) {
	for name, lacks := range map[string]cryptokey.Algorithm{"with GCM": "", "without GCM": cryptokey.A256GCM} {
		t.Run(name, func(t *testing.T) {
			m, other := &memory{without: lacks}, &memory{without: lacks}
			sealtest.Run(t, sealtest.Maker{
				Reopen: func(t *testing.T) seal.Seal { return open(t, m, "") },
				Other:  func(t *testing.T) seal.Seal { return open(t, other, "") },
			})
		})
	}
}

func TestTokenThatLearnedGCMOpensWhatItWrappedBefore(t *testing.T) {
	ctx := context.Background()
	m := &memory{without: cryptokey.A256GCM}
	s := open(t, m, "")
	before, err := s.Wrap(ctx, []byte("root"), nil)
	if err != nil {
		t.Fatal(err)
	}
	m.without = ""
	after, err := s.Wrap(ctx, []byte("root"), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, wrapped := range [][]byte{before, after} {
		if plain, err := s.Unwrap(ctx, wrapped, nil); err != nil || string(plain) != "root" {
			t.Errorf("%q, %v", plain, err)
		}
	}
	if len(before) <= len(after) {
		t.Error("both were wrapped in the same way")
	}
}

func TestTokenThatIsAwayIsUnavailable(t *testing.T) {
	ctx := context.Background()
	m := new(memory)
	s := open(t, m, "")
	wrapped, err := s.Wrap(ctx, []byte("root"), nil)
	if err != nil {
		t.Fatal(err)
	}
	m.away = true
	if _, err := s.Wrap(ctx, []byte("root"), nil); !fault.Is(err, fault.Unavailable) {
		t.Errorf("Wrap: %v", err)
	}
	if _, err := s.Unwrap(ctx, wrapped, nil); !fault.Is(err, fault.Unavailable) {
		t.Errorf("Unwrap: %v", err)
	}
	m.away = false
	if _, err := s.Unwrap(ctx, wrapped, nil); err != nil {
		t.Errorf("Unwrap when it is back: %v", err)
	}
}

func TestNewNamesWhatIsMissing(t *testing.T) {
	m := new(memory)
	if _, err := pkcs11.New(pkcs11.Config{Open: m}); !fault.Is(err, fault.NotFound) || !strings.Contains(err.Error(), pkcs11.DefaultKey) {
		t.Errorf("without its key: %v", err)
	}
	if _, err := pkcs11.New(pkcs11.Config{Open: m, Key: strings.Repeat("k", 65)}); !fault.Is(err, fault.Invalid) {
		t.Errorf("with a long name: %v", err)
	}
	if _, err := m.Generate(cryptokey.Spec{Type: cryptokey.Oct, Bits: 128}, []byte("short")); err != nil {
		t.Fatal(err)
	}
	if _, err := pkcs11.New(pkcs11.Config{Open: m, Key: "short"}); !fault.Is(err, fault.Invalid) {
		t.Errorf("with a short key: %v", err)
	}
	first, second := open(t, m, "one"), open(t, m, "two")
	wrapped, err := first.Wrap(context.Background(), []byte("root"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := second.Unwrap(context.Background(), wrapped, nil); !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), `"one"`) {
		t.Errorf("with another key of the token: %v", err)
	}
}

func FuzzUnwrap(f *testing.F) {
	m := new(memory)
	s, err := pkcs11.New(pkcs11.Config{Open: m, Make: true})
	if err != nil {
		f.Fatal(err)
	}
	wrapped, err := s.Wrap(context.Background(), []byte("root"), nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(wrapped)
	f.Add([]byte("KWH1\x02\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		plain, err := s.Unwrap(context.Background(), b, nil)
		if err == nil && string(plain) != "root" || err != nil && (plain != nil || !fault.Is(err, fault.Invalid)) {
			t.Errorf("%q, %v", plain, err)
		}
	})
}
