package vault_test

import (
	"encoding/hex"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/keywright/keywright/internal/vault"
)

func TestIDsMadeLaterSortLater(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		// From 1970 to the year 10889, where 48 bits of milliseconds end.
		a := rapid.Int64Range(0, 1<<48*1000-1).Draw(t, "a")
		b := rapid.Int64Range(0, 1<<48*1000-1).Draw(t, "b")
		if rapid.Bool().Draw(t, "near") {
			b = a + rapid.Int64Range(-2000, 2000).Draw(t, "step")
		}
		if b < 0 || b == a || b >= 1<<48*1000 {
			return
		}
		first, second := vault.NewVersionID(time.UnixMicro(a)), vault.NewVersionID(time.UnixMicro(b))
		if (first < second) != (a < b) {
			t.Fatalf("ids at %d and %d µs are %s and %s", a, b, first, second)
		}
	})
}

func TestIDsAreUniqueAndWellFormed(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	seen := make(map[string]bool)
	for range 20_000 {
		for _, id := range []string{string(vault.NewVersionID(now)), string(vault.NewObjectID(now)), string(vault.NewID(now)),
			strings.ReplaceAll(vault.NewGUID(), "-", "")} {
			if seen[id] {
				t.Fatalf("the id %s was made twice", id)
			}
			seen[id] = true
			raw, err := hex.DecodeString(id)
			if err != nil || len(raw) != 16 || id != strings.ToLower(id) {
				t.Fatalf("%q is not 32 lower-case hexadecimal digits", id)
			}
			// RFC 9562, section 4.1: the variant is 10 in binary.
			if raw[8]>>6 != 2 {
				t.Fatalf("%s has the wrong variant", id)
			}
		}
	}
	if v := vault.NewVersionID(now); v[12] != '7' {
		t.Errorf("%s is not of UUID version 7", v)
	}
	if g := vault.NewGUID(); g[14] != '4' {
		t.Errorf("%s is not of UUID version 4", g)
	}
	tenants := map[vault.TenantID]bool{vault.NewTenantID(): true, vault.NewTenantID(): true}
	subscriptions := map[vault.SubscriptionID]bool{vault.NewSubscriptionID(): true, vault.NewSubscriptionID(): true}
	if len(tenants) != 2 || len(subscriptions) != 2 {
		t.Error("two ids are the same")
	}
}

func TestParseVersionID(t *testing.T) {
	const good = "0123456789abcdef0123456789abcdef"
	tests := []struct {
		name, in string
		want     vault.VersionID
	}{
		{"lower case", good, good},
		{"upper case", strings.ToUpper(good), good},
		{"empty", "", ""},
		{"short", good[1:], ""},
		{"long", good + "0", ""},
		{"a letter behind f", "g" + good[1:], ""},
		{"hyphens", "01234567-89ab-cdef-0123-456789abcdef", ""},
		{"control characters that differ from digits in one bit", strings.Repeat("\x10", 32), ""},
		{"at sign and backquote, beside the letters", strings.Repeat("@`", 16), ""},
		{"wide digits", strings.Repeat("０", 10) + "00", ""},
	}
	for _, tt := range tests {
		got, err := vault.ParseVersionID(tt.in)
		if got != tt.want || (err == nil) != (tt.want != "") {
			t.Errorf("%s: %q, %v", tt.name, got, err)
		}
	}
	if _, err := vault.ParseVersionID(strings.Repeat("é", 40)); err == nil || len(err.Error()) > 200 {
		t.Errorf("a long name makes the message %v", err)
	}
}

func FuzzGUID(f *testing.F) {
	f.Add("01234567-89ab-cdef-0123-456789ABCDEF")
	f.Add("{01234567-89ab-cdef-0123-456789abcdef}")
	f.Add("0123456789abcdef0123456789abcdef")
	f.Fuzz(func(t *testing.T, s string) {
		got, err := vault.ParseGUID(s)
		if err != nil {
			if got != "" {
				t.Errorf("%q: an error and %q", s, got)
			}
			return
		}
		if !strings.EqualFold(got, s) || got != strings.ToLower(got) {
			t.Errorf("%q became %q", s, got)
		}
		raw, err := hex.DecodeString(strings.ReplaceAll(got, "-", ""))
		if err != nil || vault.FormatGUID([16]byte(raw)) != got {
			t.Errorf("%q is not what its bytes are written as", got)
		}
	})
}

func FuzzVersionID(f *testing.F) {
	f.Add("0123456789abcdef0123456789abcdef")
	f.Add(strings.Repeat("A", 32))
	f.Fuzz(func(t *testing.T, s string) {
		got, err := vault.ParseVersionID(s)
		raw, hexErr := hex.DecodeString(s)
		if good := hexErr == nil && len(raw) == 16; good != (err == nil) {
			t.Fatalf("%q: %v", s, err)
		}
		if err == nil && string(got) != hex.EncodeToString(raw) {
			t.Errorf("%q became %q", s, got)
		}
	})
}

func FuzzNames(f *testing.F) {
	f.Add("Db-Password")
	f.Add("a--b")
	f.Fuzz(func(t *testing.T, s string) {
		allowed := func(s string) bool {
			return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
				return (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && r != '-'
			})
		}
		if want := allowed(s) && len(s) <= 127; (vault.CheckObjectName(s) == nil) != want {
			t.Errorf("the object name %q is allowed: %v", s, !want)
		}
		letter := func(b byte) bool { return b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' }
		if want := allowed(s) && len(s) >= 3 && len(s) <= 24 && letter(s[0]) && s[len(s)-1] != '-' && !strings.Contains(s, "--"); (vault.CheckName(s) == nil) != want {
			t.Errorf("the vault name %q is allowed: %v", s, !want)
		}
		if key := vault.NameKey(s); vault.NameKey(key) != key && allowed(s) {
			t.Errorf("the key of %q is not its own", s)
		}
	})
}

func TestObjectNames(t *testing.T) {
	good := []string{"a", "A", "0", "-", strings.Repeat("a", 127), "0-a"}
	bad := []string{"", strings.Repeat("a", 128), "a b", "a_b", "a.b", "a/b", "é", "a\x00", "a%2Fb", "\u212a"}
	for _, name := range slices.Concat(good, bad) {
		if err := vault.CheckObjectName(name); (err == nil) != slices.Contains(good, name) {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestIDsTellWhenTheyWereMade(t *testing.T) {
	now := time.Date(2026, 11, 22, 13, 0, 0, 987_654_321, time.UTC)
	if got := vault.Made(string(vault.NewVersionID(now))); !got.Equal(now.Truncate(time.Millisecond)) {
		t.Errorf("made at %s, and tells %s", now, got)
	}
	for _, other := range []string{"", "0123456789abcdef0123456789abcdef", "zz", strings.Repeat("7", 30)} {
		if got := vault.Made(other); !got.IsZero() {
			t.Errorf("%q was made at %s", other, got)
		}
	}
}

func TestIDBytes(t *testing.T) {
	for range 100 {
		id := string(vault.NewVersionID(time.Now()))
		if b, ok := vault.IDBytes(id); !ok || hex.EncodeToString(b[:]) != id {
			t.Fatalf("the bytes of %s are %x, %v", id, b, ok)
		}
	}
	for _, other := range []string{"", "0", strings.Repeat("0", 31), strings.Repeat("0", 33), strings.Repeat("A", 32), strings.Repeat("g", 32), strings.Repeat("0", 31) + "-"} {
		if _, ok := vault.IDBytes(other); ok {
			t.Errorf("%q counts as an id, which is not written as one", other)
		}
	}
}
