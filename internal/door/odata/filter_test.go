package odata_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/keywright/keywright/internal/door/odata"
)

func TestParse(t *testing.T) {
	for text, want := range map[string]odata.Filter{
		"":                              nil,
		"atScope()":                     {{{Op: "atscope"}}},
		"principalId eq 'a'":            {{{Op: "eq", Field: "principalId", Value: "a"}}},
		"atScope() and assignedTo('b')": {{{Op: "atscope"}, {Op: "assignedto", Value: "b"}}},
		"servicePrincipalNames/any(c:c eq 'https://x/''y')": {{{Op: "any", Field: "servicePrincipalNames", Value: "https://x/'y"}}},
		"startswith(displayName,'an and or ')":              {{{Op: "startswith", Field: "displayName", Value: "an and or "}}},
		"appId eq 1-2 or accountEnabled EQ true":            {{{Op: "eq", Field: "appId", Value: "1-2"}}, {{Op: "eq", Field: "accountEnabled", Value: "true"}}},
	} {
		got, err := odata.Parse(text)
		if err != nil || !cmp.Equal(got, want) {
			t.Errorf("%q: %v, %v; want %v", text, got, err, want)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for _, text := range []string{"a", "a eq", "a ne 'b'", "a eq 'b", "f('x'", "f(a 'x')", "c/all(x:x eq 'y')", "c/any(x:y eq 'z')", "a eq 'b' xor c eq 'd'",
		"a eq 'b' and", "(a eq 'b')", "not a eq 'b'", strings.Repeat("a", 3000)} {
		if f, err := odata.Parse(text); err == nil {
			t.Errorf("%q was read as %v", text, f)
		}
	}
}

// What parses is written so that it parses to the same.
func FuzzParse(f *testing.F) {
	f.Add("atScope() and principalId eq 'x''y'")
	f.Add("c/any(a:a eq 'b') or startswith(d,'e')")
	f.Fuzz(func(t *testing.T, s string) {
		got, err := odata.Parse(s)
		if err != nil {
			return
		}
		text := got.String()
		again, err := odata.Parse(text)
		if len(text) <= 2048 && (err != nil || !cmp.Equal(got, again)) {
			t.Errorf("%q -> %v -> %q -> %v, %v", s, got, text, again, err)
		}
	})
}
