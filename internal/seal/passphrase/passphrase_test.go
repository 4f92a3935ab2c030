package passphrase

import (
	"context"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/seal"
	"github.com/keywright/keywright/internal/seal/sealtest"
)

// cheap is the floor.
var cheap = Cost{Passes: minPasses, MemoryKiB: minMemoryKiB, Lanes: minLanes}

const phrase = "five random words of yours"

func open(t testing.TB, text string, c Cost) *Seal {
	t.Helper()
	s, err := New(Config{Source: FromReader(strings.NewReader(text)), Cost: c})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestConformance(t *testing.T) {
	sealtest.Run(t, sealtest.Maker{
		Reopen: func(t *testing.T) seal.Seal { return open(t, phrase+"\n", cheap) },
		Other:  func(t *testing.T) seal.Seal { return open(t, "another phrase altogether", cheap) },
		Costly: true,
	})
}

func TestCostTravelsWithTheWrap(t *testing.T) {
	ctx := context.Background()
	dearer := Cost{Passes: 3, MemoryKiB: 20 << 10, Lanes: 2}
	wrapped, err := open(t, phrase, dearer).Wrap(ctx, []byte("root"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := parseHead(wrapped); err != nil || got != dearer {
		t.Errorf("the wrap says %+v, %v", got, err)
	}
	if got, err := open(t, phrase, cheap).Unwrap(ctx, wrapped, nil); err != nil || string(got) != "root" {
		t.Errorf("Unwrap = %q, %v", got, err)
	}
}

// Whoever can write to the store must not be able to weaken the derivation or to exhaust the machine.
func TestHostileCosts(t *testing.T) {
	good := make([]byte, headSize+tailSize+32)
	putHead(good, cheap)
	if _, err := parseHead(good); err != nil {
		t.Fatalf("the floor is refused: %v", err)
	}
	for _, c := range []Cost{{}, {1, minMemoryKiB, 1}, {2, minMemoryKiB - 1, 1}, {2, minMemoryKiB, 0}, {maxPasses + 1, minMemoryKiB, 1},
		{2, maxMemoryKiB + 1, 1}, {2, minMemoryKiB, maxLanes + 1}, {1<<32 - 1, 1<<32 - 1, 255}} {
		b := make([]byte, len(good))
		putHead(b, c)
		asked := false
		s := &Seal{source: func(context.Context) ([]byte, error) { asked = true; return []byte(phrase), nil }, cost: cheap}
		if _, err := s.Unwrap(context.Background(), b, nil); !fault.Is(err, fault.Invalid) || asked {
			t.Errorf("%+v: %v; asked for the passphrase: %v", c, err, asked)
		}
		if c != (Cost{}) {
			if _, err := New(Config{Source: FromReader(strings.NewReader("")), Cost: c}); !fault.Is(err, fault.Invalid) {
				t.Errorf("New with %+v: %v", c, err)
			}
		}
	}
}

func TestSources(t *testing.T) {
	ctx := context.Background()
	write := func(text string, mode os.FileMode) string {
		path := filepath.Join(t.TempDir(), "phrase")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for text, want := range map[string]string{"abc\n": "abc", "abc\r\n": "abc", "abc": "abc", "abc\n\n": "abc\n", " a b ": " a b "} {
		if got, err := FromFile(write(text, 0o600))(ctx); err != nil || string(got) != want {
			t.Errorf("file %q: %q, %v", text, got, err)
		}
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(write("abc", 0o600), link); err != nil {
		t.Fatal(err)
	}
	for name, path := range map[string]string{"readable by others": write("abc", 0o644), "link": link, "directory": t.TempDir(),
		"too long": write(strings.Repeat("x", MaxBytes+1), 0o600)} {
		if got, err := FromFile(path)(ctx); !fault.Is(err, fault.Invalid) || got != nil {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	once := FromReader(strings.NewReader(phrase))
	for range 2 {
		got, err := once(ctx)
		if err != nil || string(got) != phrase {
			t.Fatalf("reader: %q, %v", got, err)
		}
		clear(got)
	}
}

func TestRefusals(t *testing.T) {
	ctx := context.Background()
	if _, err := New(Config{}); !fault.Is(err, fault.Invalid) {
		t.Errorf("no source: %v", err)
	}
	for _, short := range []string{"", "\n", "elevenbytes"} {
		if _, err := open(t, short, cheap).Wrap(ctx, []byte("root"), nil); !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), "too short") {
			t.Errorf("a passphrase of %d bytes: %v", len(short), err)
		}
	}
	away := errors.New("no terminal")
	s, err := New(Config{Source: func(context.Context) ([]byte, error) { return nil, away }, Cost: cheap})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Wrap(ctx, []byte("root"), nil); !fault.Is(err, fault.Unavailable) || !errors.Is(err, away) {
		t.Errorf("a source that fails: %v", err)
	}
}

func FuzzParseHead(f *testing.F) {
	good := make([]byte, headSize+tailSize+32)
	putHead(good, DefaultCost)
	f.Add(good)
	f.Add([]byte(magic))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := parseHead(b)
		if err != nil {
			return
		}
		again := make([]byte, headSize)
		putHead(again, c)
		if string(again[:headSize-saltSize]) != string(b[:headSize-saltSize]) || c.check() != nil ||
			binary.BigEndian.Uint32(b[8:]) > maxMemoryKiB {
			t.Errorf("%x -> %+v", b[:headSize], c)
		}
	})
}
