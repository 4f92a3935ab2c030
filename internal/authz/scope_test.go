package authz

import (
	"slices"
	"strings"
	"testing"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/vault"
)

const (
	sub1 = "11111111-1111-1111-1111-111111111111"
	sub2 = "22222222-2222-2222-2222-22222222222a"
)

const vaultID = "/subscriptions/" + sub1 + "/resourceGroups/dev/providers/Microsoft.KeyVault/vaults/demo"

func mustScope(t testing.TB, s string) Scope {
	t.Helper()
	scope, err := ParseScope(s)
	if err != nil {
		t.Fatal(err)
	}
	return scope
}

func TestScopeTree(t *testing.T) {
	above := []string{"/", "/subscriptions/" + sub1, "/subscriptions/" + sub1 + "/resourceGroups/dev", vaultID}
	checkTree(t, append(slices.Clone(above), vaultID+"/secrets/db"))
	checkTree(t, append(slices.Clone(above), vaultID+"/keys", vaultID+"/keys/db"))
}

// checkTree checks that each scope contains those behind it, and that they are the chain of the last.
func checkTree(t *testing.T, chain []string) {
	t.Helper()
	for i, outer := range chain {
		for j, inner := range chain {
			if got := mustScope(t, outer).Contains(mustScope(t, strings.ToUpper(inner))); got != (i <= j) {
				t.Errorf("%s contains %s: %v", outer, inner, got)
			}
		}
	}
	got := mustScope(t, chain[len(chain)-1]).Chain()
	if len(got) != len(chain) {
		t.Fatalf("chain of %d scopes", len(got))
	}
	for i := range got {
		if got[i].String() != chain[i] {
			t.Errorf("chain[%d] = %s, want %s", i, got[i], chain[i])
		}
	}
}

func TestScopesBesideEachOther(t *testing.T) {
	if mustScope(t, vaultID+"/keys").Overlaps(mustScope(t, vaultID+"/secrets/keys")) || mustScope(t, vaultID+"/keys").Overlaps(mustScope(t, vaultID+"2/keys")) {
		t.Error("all keys overlap with what is no key of the vault")
	}
	beside := []string{vaultID + "/secrets/db", vaultID + "/secrets/db2", vaultID + "/keys/db", vaultID + "/certificates/db", vaultID + "2",
		"/subscriptions/" + sub2, "/subscriptions/" + sub1 + "/resourceGroups/dev2",
		"/subscriptions/" + sub2 + "/resourceGroups/dev/providers/Microsoft.KeyVault/vaults/demo"}
	for i, a := range beside {
		for j, b := range beside {
			if i == j || strings.HasPrefix(b, a+"/") || strings.HasPrefix(a, b+"/") {
				continue
			}
			if mustScope(t, a).Overlaps(mustScope(t, b)) {
				t.Errorf("%s and %s overlap", a, b)
			}
		}
	}
	if (Scope{}).Contains(Scope{}) || (Scope{}).Contains(TenantScope()) || TenantScope().Contains(Scope{}) {
		t.Error("no scope contains, or is contained in, something")
	}
}

func TestScopesThatAreRefused(t *testing.T) {
	cases := map[string]fault.Kind{
		"":                                   fault.Invalid,
		"subscriptions/" + sub1:              fault.Invalid,
		"//":                                 fault.Invalid,
		"/subscriptions":                     fault.Invalid,
		"/subscriptions/":                    fault.Invalid,
		"/subscriptions/prod":                fault.Invalid,
		"/subscriptions/" + sub1 + "/vaults": fault.Invalid,
		"/subscriptions/" + sub1 + "/resourceGroups/":                                     fault.Invalid,
		"/subscriptions/" + sub1 + "/resourceGroups/a b":                                  fault.Invalid,
		"/subscriptions/" + sub1 + "/resourceGroups/dev.":                                 fault.Invalid,
		"/subscriptions/" + sub1 + "/resourceGroups/g/x/y":                                fault.Invalid,
		vaultID + "/secrets":                                                              fault.Invalid,
		vaultID + "/certificates":                                                         fault.Invalid,
		vaultID + "/storage/x":                                                            fault.Invalid,
		vaultID + "/secrets/a_b":                                                          fault.Invalid,
		vaultID + "/secrets/a/" + strings.Repeat("0", 32):                                 fault.Invalid,
		strings.Replace(vaultID, "/demo", "/x", 1):                                        fault.Invalid,
		"/providers/Microsoft.Management/managementGroups/corp":                           fault.Unsupported,
		"/subscriptions/" + sub1 + "/resourceGroups/g/providers/Microsoft.Web/sites/shop": fault.Unsupported,
		"/subscriptions/" + sub1 + "/providers/Microsoft.Web/sites":                       fault.Unsupported,
		"/providers": fault.Invalid,
	}
	for s, want := range cases {
		scope, err := ParseScope(s)
		if !fault.Is(err, want) {
			t.Errorf("ParseScope(%q) = %v, %v; want kind %v", s, scope, err, want)
		}
		if scope != (Scope{}) {
			t.Errorf("ParseScope(%q) returns %v besides its error", s, scope)
		}
	}
}

func TestScopeOfVault(t *testing.T) {
	v := &vault.Vault{Subscription: sub1, ResourceGroup: "DEV", Name: "Demo"}
	if got := VaultScope(v); got != mustScope(t, v.Scope()) || got.String() != vaultID {
		t.Errorf("VaultScope = %v", got)
	}
}

func FuzzParseScope(f *testing.F) {
	for _, s := range []string{"/", vaultID, vaultID + "/secrets/DB", "/subscriptions/" + sub1 + "/", "/subscriptions/" + sub1 + "/resourceGroups/Größe",
		"/providers/Microsoft.Management/managementGroups/x", "//", "/subscriptions//resourceGroups//"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		scope, err := ParseScope(s)
		if err != nil {
			if scope != (Scope{}) {
				t.Errorf("%q: %v besides an error", s, scope)
			}
			return
		}
		again, err := ParseScope(scope.String())
		if err != nil || again != scope {
			t.Errorf("%q -> %v -> %v, %v", s, scope, again, err)
		}
		if !TenantScope().Contains(scope) || !scope.Contains(scope) {
			t.Errorf("%q is outside the tree", s)
		}
	})
}
