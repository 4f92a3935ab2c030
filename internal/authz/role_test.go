package authz

import (
	"strings"
	"testing"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/principal"
	"github.com/keywright/keywright/internal/vault"
)

func TestCheckRole(t *testing.T) {
	cases := []struct {
		name   string
		change func(*principal.Role)
		want   string // in the message; "" for no error
	}{
		{"sound", func(*principal.Role) {}, ""},
		{"of another provider", func(r *principal.Role) {
			r.Permissions[0].Actions = []string{"Microsoft.Insights/alertRules/*", "Microsoft.Resources/deployments/*"}
		}, ""},
		{"of a part that is not served", func(r *principal.Role) { r.Permissions[0].NotActions = []string{"Microsoft.KeyVault/managedHSMs/*"} }, ""},
		{"no name", func(r *principal.Role) { r.Name = " " }, "no name"},
		{"a built-in id", func(r *principal.Role) { r.ID = Owner }, "built-in"},
		{"no scope", func(r *principal.Role) { r.AssignableScopes = nil }, "assignable scope"},
		{"a bad scope", func(r *principal.Role) { r.AssignableScopes = []string{"/subscriptions/prod"} }, `"/subscriptions/prod" is not a scope`},
		{"misspelt", func(r *principal.Role) {
			r.Permissions[0].DataActions = []string{"Microsoft.KeyVault/vaults/secrets/getSecrt/action"}
		},
			`"Microsoft.KeyVault/vaults/secrets/getSecrt/action", which matches no action: did you mean Microsoft.KeyVault/vaults/secrets/getSecret/action`},
		{"a misspelt exception", func(r *principal.Role) {
			r.Permissions[0].NotDataActions = []string{"Microsoft.KeyVault/vaults/secrets/purg/action"}
		}, "notDataActions holds"},
		{"on the wrong plane", func(r *principal.Role) {
			r.Permissions[0].Actions = []string{"Microsoft.KeyVault/vaults/secrets/getSecret/action"}
		}, "list it under dataActions"},
		{"on the other wrong plane", func(r *principal.Role) { r.Permissions[0].NotDataActions = []string{"Microsoft.KeyVault/vaults/write"} }, "list it under notActions"},
		{"empty", func(r *principal.Role) { r.Permissions[0].Actions = []string{""} }, "empty"},
		{"our own, unknown", func(r *principal.Role) { r.Permissions[0].Actions = []string{"Keywright/audit/reed/action"} }, "did you mean Keywright/audit/read/action"},
		{"a wildcard for a provider", func(r *principal.Role) { r.Permissions[0].Actions = []string{"Microsoft.*/nothing"} }, "matches no action"},
		{"too many", func(r *principal.Role) { r.Permissions[0].Actions = make([]string, MaxRolePatterns+1) }, "more than 1024"},
	}
	for _, c := range cases {
		r := &principal.Role{ID: customRole, Name: "reader of values", AssignableScopes: []string{"/subscriptions/" + sub1},
			Permissions: []principal.Permission{{DataActions: []string{"Microsoft.KeyVault/vaults/secrets/get*"}}}}
		c.change(r)
		err := CheckRole(r)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(fault.As(err).Message, c.want)) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
		if err != nil && fault.As(err).Reason != "InvalidRoleDefinition" {
			t.Errorf("%s: reason %q", c.name, fault.As(err).Reason)
		}
	}
	r := &principal.Role{Permissions: []principal.Permission{{Actions: []string{"Keywright/x", "Keywright/y"}}}}
	if msg := fault.As(CheckRole(r)).Message; !strings.Contains(msg, "Keywright/x") || !strings.Contains(msg, "Keywright/y") {
		t.Errorf("not every bad pattern is named: %s", msg)
	}
}

func TestCheckAssignable(t *testing.T) {
	r := &principal.Role{Name: "r", AssignableScopes: []string{"nonsense", "/subscriptions/" + sub1}}
	if err := CheckAssignable(r, mustScope(t, vaultID)); err != nil {
		t.Error(err)
	}
	for _, s := range []string{"/", "/subscriptions/" + sub2} {
		if err := CheckAssignable(r, mustScope(t, s)); !fault.Is(err, fault.Invalid) {
			t.Errorf("at %s: %v", s, err)
		}
	}
	owner, _ := BuiltinRole(Owner)
	if err := CheckAssignable(owner, TenantScope()); err != nil {
		t.Error(err)
	}
}

func TestRoleID(t *testing.T) {
	for s, want := range map[string]string{strings.ToUpper(Owner): Owner, "/providers/Microsoft.Authorization/roleDefinitions/" + Owner: Owner, "": "", "Owner": "", Owner + "/": ""} {
		if got := RoleID(s); got != want {
			t.Errorf("RoleID(%q) = %q, want %q", s, got, want)
		}
	}
}

// A custom role may not take over the id of a built-in one, whatever the store holds.
func TestCustomRoleDoesNotShadowBuiltin(t *testing.T) {
	f, r := story()
	f.Roles = []*principal.Role{{ID: SecretsUser, Tenant: tenants[0], Permissions: []principal.Permission{{DataActions: []string{"*"}}}}}
	r.Action = SecretPurge
	if d := Decide(r, Compile(f), epoch); d.Allowed {
		t.Error(d.Reason())
	}
}

func TestCheckCondition(t *testing.T) {
	if err := CheckCondition("  "); err != nil {
		t.Error(err)
	}
	if err := CheckCondition("@Resource[name] StringEquals 'x'"); !fault.Is(err, fault.Unsupported) {
		t.Errorf("a condition is let through: %v", err)
	}
}

func TestCheckPolicy(t *testing.T) {
	if err := CheckPolicy(&vault.AccessPolicy{Secrets: []string{"GET", "all"}, Keys: []string{"WrapKey"}, Certificates: []string{"manageissuers"}, Storage: []string{"getsas"}}); err != nil {
		t.Error(err)
	}
	err := CheckPolicy(&vault.AccessPolicy{Principal: "p", Secrets: []string{"get", "sign"}, Keys: []string{"set"}})
	if !fault.Is(err, fault.Invalid) || !strings.Contains(err.Error(), "secrets sign, keys set") {
		t.Errorf("error = %v", err)
	}
}

// TestRoleOfTooManyPatternsCostsNothing gives a role that must be refused by its length alone.
func TestRoleOfTooManyPatternsCostsNothing(t *testing.T) {
	r := &principal.Role{Name: "n", AssignableScopes: []string{"/"}, Permissions: []principal.Permission{{Actions: make([]string, 100_000)}}}
	var err error
	if n := testing.AllocsPerRun(1, func() { err = CheckRole(r) }); n > 1000 {
		t.Errorf("refusing 100,000 patterns takes %v allocations", n)
	}
	if !fault.Is(err, fault.TooLarge) {
		t.Error(err)
	}
}
