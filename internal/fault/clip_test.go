package fault_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/keywright/keywright/internal/fault"
)

func TestClip(t *testing.T) {
	for in, want := range map[string]string{
		"":                                 "",
		"short":                            "short",
		strings.Repeat("a", 128):           strings.Repeat("a", 128),
		strings.Repeat("a", 129):           strings.Repeat("a", 128) + "…",
		"a" + strings.Repeat("é", 64):      "a" + strings.Repeat("é", 63) + "…",
		"ab" + strings.Repeat("😀", 32):     "ab" + strings.Repeat("😀", 31) + "…",
		strings.Repeat("\x80", 200):        strings.Repeat("\x80", 124) + "…", // not UTF-8 anyway
		strings.Repeat("é", 64):            strings.Repeat("é", 64),
		strings.Repeat("é", 64) + "and so": strings.Repeat("é", 64) + "…",
	} {
		if got := fault.Clip(in); got != want {
			t.Errorf("%q became %q, want %q", in, got, want)
		}
	}
}

func FuzzClip(f *testing.F) {
	f.Add(strings.Repeat("é", 100))
	f.Fuzz(func(t *testing.T, s string) {
		got := fault.Clip(s)
		cut, short := strings.CutSuffix(got, "…")
		if got == s {
			if len(s) > 128 {
				t.Errorf("%d bytes stay", len(s))
			}
			return
		}
		if !short || !strings.HasPrefix(s, cut) || len(cut) > 128 || len(cut) < 124 || utf8.ValidString(s) != utf8.ValidString(cut) && utf8.ValidString(s) {
			t.Errorf("%q became %q", s, got)
		}
	})
}
