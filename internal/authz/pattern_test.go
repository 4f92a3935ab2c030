package authz

import (
	"regexp"
	"strings"
	"testing"
)

func TestMatch(t *testing.T) {
	cases := []struct {
		pattern, name string
		want          bool
	}{
		{"*", "", true},
		{"*", "Microsoft.KeyVault/vaults/read", true},
		{"", "", true},
		{"", "a", false},
		{"*/read", "Microsoft.KeyVault/vaults/read", true},
		{"*/read", "Microsoft.KeyVault/vaults/secrets/readMetadata/action", false},
		{"MICROSOFT.keyvault/VAULTS/*", "Microsoft.KeyVault/vaults/secrets/delete", true},
		{"Microsoft.KeyVault/vaults/*/read", "Microsoft.KeyVault/vaults/secrets/read", true},
		{"Microsoft.KeyVault/vaults/*/read", "Microsoft.KeyVault/vaults/read", false},
		{"Microsoft.KeyVault/vaults/secrets/*", "Microsoft.KeyVault/vaults/secrets", false},
		{"a*b*c", "axxbyybzzc", true},
		{"a*b*c", "axxbyybzz", false},
		{"**", "anything", true},
		{"a.c", "abc", false},
	}
	for _, c := range cases {
		if got := Match(c.pattern, c.name); got != c.want {
			t.Errorf("Match(%q, %q) = %v, want %v", c.pattern, c.name, got, c.want)
		}
	}
}

func FuzzMatch(f *testing.F) {
	f.Add("*/read", "Microsoft.KeyVault/vaults/read")
	f.Add("a*b*c**", "abcabcabc")
	f.Add("Microsoft.KeyVault/vaults/*", "microsoft.keyvault/vaults/x")
	f.Add("\u212a*", "Key")
	f.Fuzz(func(t *testing.T, pattern, name string) {
		if len(pattern) > 200 || len(name) > 200 {
			return
		}
		// Lower case first: the law is about wildcards, and the expression must see the same bytes.
		lowPattern, lowName := strings.ToLower(pattern), strings.ToLower(name)
		parts := strings.Split(lowPattern, "*")
		for i := range parts {
			parts[i] = regexp.QuoteMeta(parts[i])
		}
		re, err := regexp.Compile(`(?s)\A` + strings.Join(parts, ".*") + `\z`)
		if err != nil {
			return // not UTF-8, which an expression cannot hold
		}
		if want, got := re.MatchString(lowName), Match(pattern, name); got != want {
			t.Errorf("Match(%q, %q) = %v, want %v", pattern, name, got, want)
		}
	})
}
