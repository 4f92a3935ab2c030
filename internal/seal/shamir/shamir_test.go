package shamir

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/seal"
	"github.com/keywright/keywright/internal/seal/sealtest"
)

var bound = []byte("bound")

// made is an installation: a seal, its shares, and something that it wrapped.
type made struct {
	shares [][]byte
	wrap   []byte
	of     *Seal
}

func create(t testing.TB, n, k int) *made {
	t.Helper()
	s, shares, err := Create(Config{}, n, k)
	if err != nil {
		t.Fatal(err)
	}
	m := &made{of: s}
	for _, share := range shares {
		m.shares = append(m.shares, share.Reveal())
	}
	if m.wrap, err = s.Wrap(context.Background(), []byte("root"), bound); err != nil {
		t.Fatal(err)
	}
	return m
}

// restart returns the seal of a process that starts.
func (m *made) restart(t testing.TB, c clock.Clock) *Seal {
	t.Helper()
	s, err := New(Config{Clock: c})
	if err == nil {
		err = s.Expect(m.wrap, bound)
	}
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func give(t testing.TB, s *Seal, shares ...[]byte) seal.Progress {
	t.Helper()
	var p seal.Progress
	for _, share := range shares {
		var err error
		if p, err = s.Give(context.Background(), share); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

func TestConformance(t *testing.T) {
	m, other := create(t, 5, 3), create(t, 5, 3)
	open := func(t *testing.T, m *made, shares ...int) seal.Seal {
		s := m.restart(t, nil)
		for _, i := range shares {
			give(t, s, m.shares[i])
		}
		return s
	}
	sealtest.Run(t, sealtest.Maker{
		Reopen: func(t *testing.T) seal.Seal { return open(t, m, 4, 0, 2) },
		Other:  func(t *testing.T) seal.Seal { return open(t, other, 0, 1, 2) },
	})
}

// FIPS 197, section 4.2 and 4.2.1.
func TestFieldIsThatOfAES(t *testing.T) {
	for _, c := range []struct{ a, b, want byte }{{0x57, 0x83, 0xc1}, {0x57, 0x13, 0xfe}, {0x57, 0x02, 0xae}, {0x57, 0x04, 0x47}, {0x57, 0x08, 0x8e}, {0x57, 0x10, 0x07}} {
		if got := multiply(c.a, c.b); got != c.want {
			t.Errorf("%#x * %#x = %#x, want %#x", c.a, c.b, got, c.want)
		}
	}
	// The first line of the S-box (FIPS 197, figure 7) is the affine transformation of inverses.
	for a, want := range []byte{0x63, 0x7c, 0x77, 0x7b, 0xf2, 0x6b, 0x6f, 0xc5, 0x30, 0x01, 0x67, 0x2b, 0xfe, 0xd7, 0xab, 0x76} {
		b := invert(byte(a))
		got := b ^ (b<<1 | b>>7) ^ (b<<2 | b>>6) ^ (b<<3 | b>>5) ^ (b<<4 | b>>4) ^ 0x63
		if got != want {
			t.Errorf("the S-box of %#x is %#x, want %#x", a, got, want)
		}
	}
	for a := 1; a < 256; a++ {
		if multiply(byte(a), invert(byte(a))) != 1 {
			t.Fatalf("%#x has no inverse", a)
		}
	}
	if invert(0) != 0 {
		t.Error("the inverse of 0 is not 0")
	}
}

// The shares of a polynomial that was worked out by hand: 42 + 166x + 94x^2 over the field.
func TestKnownShares(t *testing.T) {
	polynomial := []byte{42, 166, 94}
	naive := func(x byte) byte { // by squares and sums alone
		return 42 ^ multiply(166, x) ^ multiply(94, multiply(x, x))
	}
	places := []byte{1, 2, 77}
	if got := evaluate(polynomial, 1); got != 42^166^94 {
		t.Errorf("at 1: %d, want the sum of the coefficients", got)
	}
	for _, x := range places {
		if got := evaluate(polynomial, x); got != naive(x) {
			t.Errorf("at %d: %d, want %d", x, got, naive(x))
		}
	}
	var values [][keyBytes]byte
	for _, x := range places {
		values = append(values, [keyBytes]byte{evaluate(polynomial, x)})
	}
	if key := combine(places, values); key[0] != 42 {
		t.Errorf("combined to %d, want 42", key[0])
	}
}

func TestAnyThresholdOfSharesOpensAndFewerDoNot(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		k := rapid.IntRange(MinThreshold, 8).Draw(t, "k")
		n := rapid.IntRange(k, 12).Draw(t, "n")
		var key [keyBytes]byte
		copy(key[:], rapid.SliceOfN(rapid.Byte(), keyBytes, keyBytes).Draw(t, "key"))
		values := split(&key, n, k)
		order := rapid.Permutation(places(n)).Draw(t, "order")
		pick := func(m int) ([]byte, [][keyBytes]byte) {
			var some [][keyBytes]byte
			for _, x := range order[:m] {
				some = append(some, values[x-1])
			}
			return order[:m], some
		}
		if got := combine(pick(k)); got != key {
			t.Errorf("%d of %d shares gave another key", k, n)
		}
		if got := combine(pick(n)); got != key {
			t.Error("all shares gave another key")
		}
		// With 2^256 keys, a hit by chance does not happen.
		if got := combine(pick(k - 1)); got == key {
			t.Errorf("%d shares were enough", k-1)
		}
	})
}

// k-1 shares are as likely under any key: for each key there is exactly one polynomial through them. Here all of them, for one byte.
func TestFewerSharesSayNothing(t *testing.T) {
	for at := 1; at < 256; at += 50 {
		seen := map[byte]int{}
		for slope := range 256 {
			for _, key := range []byte{0, 1, 200} {
				seen[evaluate([]byte{key, byte(slope)}, byte(at))]++
			}
		}
		for y, times := range seen {
			if times != 3 {
				t.Fatalf("at %d the value %d comes %d times, want once for each key", at, y, times)
			}
		}
	}
}

func places(n int) []byte {
	all := make([]byte, n)
	for i := range all {
		all[i] = byte(i + 1)
	}
	return all
}

func TestSealIsClosedUntilEnoughSharesAreGiven(t *testing.T) {
	ctx := context.Background()
	m := create(t, 5, 3)
	s := m.restart(t, nil)
	if p := s.Progress(); p.Open || p.Given != 0 || p.Needed != 3 || p.Total != 5 || p.String() != "sealed, 0 of 3 shares given" {
		t.Errorf("at the start: %+v", p)
	}
	for i, given := range []int{1, 1, 2} { // the second share is the first once more
		share := m.shares[[]int{0, 0, 4}[i]]
		if p := give(t, s, share); p.Open || p.Given != given {
			t.Errorf("after share %d: %+v", i, p)
		}
	}
	if _, err := s.Unwrap(ctx, m.wrap, bound); !fault.Is(err, fault.Unavailable) || fault.As(err).Reason != seal.Sealed || !strings.Contains(err.Error(), "2 of 3") {
		t.Errorf("Unwrap: %v", err)
	}
	if _, err := s.Wrap(ctx, []byte("root"), nil); !fault.Is(err, fault.Unavailable) {
		t.Errorf("Wrap: %v", err)
	}
	if p := give(t, s, m.shares[2]); !p.Open || p.Given != 0 {
		t.Errorf("after three shares: %+v", p)
	}
	if err := s.Wait(ctx); err != nil {
		t.Error(err)
	}
	if plain, err := s.Unwrap(ctx, m.wrap, bound); err != nil || string(plain) != "root" {
		t.Errorf("Unwrap: %q, %v", plain, err)
	}
	if p := give(t, s, []byte("anything")); !p.Open {
		t.Errorf("a share for an open seal: %+v", p)
	}
}

func TestSharesMayComeBeforeTheStore(t *testing.T) {
	m := create(t, 3, 2)
	s, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	if p := give(t, s, m.shares[0], m.shares[2]); p.Open || p.Given != 2 || p.Needed != 2 {
		t.Errorf("before the wrap is known: %+v", p)
	}
	if err := s.Expect(m.wrap, bound); err != nil || !s.Progress().Open {
		t.Errorf("Expect: %v, %+v", err, s.Progress())
	}
	other := create(t, 3, 2)
	if s, err = New(Config{}); err != nil {
		t.Fatal(err)
	}
	give(t, s, other.shares[0], other.shares[1])
	if err := s.Expect(m.wrap, bound); err != nil || s.Progress().Given != 0 || s.Progress().Open {
		t.Errorf("shares of another set: %v, %+v", err, s.Progress())
	}
}

func TestWrongSharesAreNotToldApart(t *testing.T) {
	ctx := context.Background()
	m := create(t, 5, 3)
	c := clock.NewManual(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
	forged := func(i int) []byte {
		share, err := ParseShare(m.shares[i])
		if err != nil {
			t.Fatal(err)
		}
		rand.Read(share.y[:])
		return share.Reveal()
	}
	var messages []string
	for wrong := range 3 {
		s := m.restart(t, c)
		for i := range 3 {
			share := m.shares[i]
			if i == wrong {
				share = forged(i)
			}
			p, err := s.Give(ctx, share)
			if i < 2 && (err != nil || p.Given != i+1) {
				t.Fatalf("share %d: %+v, %v", i, p, err)
			}
			if i == 2 {
				if !fault.Is(err, fault.Invalid) || p.Open || p.Given != 0 {
					t.Errorf("with share %d wrong: %+v, %v", wrong, p, err)
				}
				messages = append(messages, fmt.Sprint(err))
			}
		}
		if _, err := s.Give(ctx, m.shares[0]); !fault.Is(err, fault.Throttled) {
			t.Errorf("at once after wrong shares: %v", err)
		}
		c.Advance(DefaultPace)
		if p := give(t, s, m.shares[0], m.shares[1], m.shares[4]); !p.Open {
			t.Errorf("the right ones afterwards: %+v", p)
		}
	}
	if messages[0] != messages[1] || messages[1] != messages[2] {
		t.Errorf("the answers differ: %q", messages)
	}
}

func TestReset(t *testing.T) {
	m := create(t, 3, 2)
	s := m.restart(t, nil)
	give(t, s, m.shares[0])
	s.Reset()
	if p := s.Progress(); p.Given != 0 || p.Needed != 2 {
		t.Errorf("after Reset: %+v", p)
	}
	give(t, s, m.shares[1], m.shares[2])
	s.Reset()
	if !s.Progress().Open {
		t.Error("Reset closed an open seal")
	}
}

func TestShareOfAnotherSetIsRefused(t *testing.T) {
	ctx := context.Background()
	m, other := create(t, 3, 2), create(t, 3, 2)
	s := m.restart(t, nil)
	if _, err := s.Give(ctx, other.shares[0]); !fault.Is(err, fault.Invalid) || fault.As(err).Reason != "ShareOfAnotherSet" {
		t.Errorf("Give: %v", err)
	}
	if _, err := s.Give(ctx, m.shares[0]); !fault.Is(err, fault.Throttled) {
		t.Errorf("at once after a refusal: %v", err)
	}
	if _, err := s.Unwrap(ctx, other.wrap, bound); !fault.Is(err, fault.Unavailable) {
		t.Errorf("Unwrap of another set while closed: %v", err)
	}
	opened := m.restart(t, nil)
	give(t, opened, m.shares[0], m.shares[1])
	if _, err := opened.Unwrap(ctx, other.wrap, bound); !fault.Is(err, fault.Invalid) {
		t.Errorf("Unwrap of another set: %v", err)
	}
}

func TestCreateChecksItsNumbers(t *testing.T) {
	for _, c := range [][2]int{{1, 1}, {2, 1}, {2, 3}, {256, 3}, {0, 0}, {-1, -1}} {
		if _, _, err := Create(Config{}, c[0], c[1]); !fault.Is(err, fault.Invalid) {
			t.Errorf("%v: %v", c, err)
		}
	}
	if _, shares, err := Create(Config{}, 255, 255); err != nil || len(shares) != 255 {
		t.Errorf("the most: %v", err)
	}
}

func TestWaitHeedsItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := create(t, 2, 2).restart(t, nil).Wait(ctx); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestShareIsReadAsPeopleWriteIt(t *testing.T) {
	share := create(t, 2, 2).shares[0]
	plain := strings.ReplaceAll(string(share), "-", "")
	for what, text := range map[string]string{
		"groups": string(share), "none": plain, "lower": strings.ToLower(plain), "lines": strings.ReplaceAll(string(share), "-", "\n") + "\r\n",
		"letters": strings.NewReplacer("0", "o", "1", "l").Replace(plain), "blanks": " " + strings.ReplaceAll(string(share), "-", " "),
	} {
		got, err := ParseShare([]byte(text))
		if err != nil || !bytes.Equal(got.Reveal(), share) {
			t.Errorf("%s: %v", what, err)
		}
	}
	for i := range plain {
		for _, c := range "0Z" {
			bad := []byte(plain)
			if bad[i] == byte(c) {
				continue
			}
			bad[i] = byte(c)
			if _, err := ParseShare(bad); !fault.Is(err, fault.Invalid) {
				t.Fatalf("with %c at %d: %v", c, i, err)
			}
		}
	}
}

func TestSharePrintsWithoutItsValue(t *testing.T) {
	s, err := ParseShare(create(t, 2, 2).shares[0])
	if err != nil {
		t.Fatal(err)
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		if got := fmt.Sprintf(verb, s); !strings.HasPrefix(got, "share of set ") || len(got) > 40 {
			t.Errorf("%s prints %q", verb, got)
		}
	}
}

// What parses is written again as the same share, and on an error there is none.
func FuzzParseShare(f *testing.F) {
	f.Add(create(f, 2, 2).shares[1])
	f.Add([]byte("0-0"))
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := ParseShare(text)
		if err != nil {
			if s != nil || !fault.Is(err, fault.Invalid) {
				t.Errorf("%v with %v", s, err)
			}
			return
		}
		again, err := ParseShare(s.Reveal())
		if err != nil || *again != *s {
			t.Errorf("%v, %v", again, err)
		}
	})
}
