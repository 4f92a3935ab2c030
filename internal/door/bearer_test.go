package door

import (
	"strings"
	"testing"
)

func FuzzBearer(f *testing.F) {
	for _, s := range []string{"Bearer x", "bearer x", "Bearer", "Bearer ", "Basic x", "Bearer  x "} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		token, ok := bearer([]string{s})
		if ok && (!strings.EqualFold(s[:7], "Bearer ") || !strings.Contains(s, token)) || !ok && token != "" {
			t.Errorf("%q: %q, %v", s, token, ok)
		}
		if _, ok := bearer([]string{s, s}); ok {
			t.Error("two headers are one token")
		}
	})
}
