package arm_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/door"
	"github.com/keywright/keywright/internal/door/azure/arm"
	"github.com/keywright/keywright/internal/key"
	"github.com/keywright/keywright/internal/principal"
	"github.com/keywright/keywright/internal/secret"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/tenancy"
	"github.com/keywright/keywright/internal/tenancy/tenancytest"
	"github.com/keywright/keywright/internal/vault"
)

// fixture makes what routes need anew, a live vault and a deleted one, and returns the parameters that name it.
func (w *world) fixture(n int) map[string]string {
	name := fmt.Sprintf("live%d", n)
	gone := fmt.Sprintf("gone%d", n)
	w.Home.MakeVault(name)
	w.Home.MakeVault(gone)
	w.Must(w.Tenancy.DeleteVault(w.Ctx, w.Home.Owner.Call(""), w.Home.Vault(gone)))
	_, _, err := w.Tenancy.AssignIdentity(w.Ctx, w.Home.Owner.Call(""), tenancy.ResourceRef{GroupRef: w.Home.Group, Type: tenancy.UserAssigned, Name: "res"})
	w.Must(err)
	call := w.Home.Owner.Call("")
	call.Vault, err = w.Guard.View(w.Ctx, name)
	w.Must(err)
	_, err = w.Secrets.ManageSet(w.Ctx, call, "one", secret.Input{Value: []byte("v"), Enabled: true})
	w.Must(err)
	made, _, _, err := w.CryptoKeys.ManageCreate(w.Ctx, call, "one", key.Spec{Kty: "EC"}, key.Input{Enabled: true}, nil)
	w.Must(err)
	return map[string]string{"{version}": string(made.Version.ID), "{subscription}": string(w.Home.Subscription), "{group}": "dev", "{vault}": name, "{gone}": gone, "{location}": "local", "{object}": "one",
		"{namespace}": "Microsoft.KeyVault", "{name}": "res", "{operation}": "add"}
}

// request returns the path and body with which a route is called.
func (w *world) request(r door.Route, values map[string]string) (path, body string) {
	path = r.Pattern
	if strings.Contains(path, "/deletedVaults/") {
		path = strings.Replace(path, "{vault}", "{gone}", 1)
	}
	scope := path[:max(0, strings.Index(path, "/providers/Microsoft.Authorization"))]
	replace := func(s string) string {
		for k, v := range values {
			s = strings.ReplaceAll(s, k, v)
		}
		return s
	}
	if scope = replace(scope); scope == "" {
		scope = "/"
	}
	switch {
	case r.Operation == "VaultPut" || r.Operation == "VaultPatch":
		body = w.body("")
	case r.Operation == "VaultAccessPolicyChange":
		body = `{"properties":{"accessPolicies":[]}}`
	case r.Operation == "VaultCheckName":
		body = `{"name":"some-name","type":"Microsoft.KeyVault/vaults"}`
	case r.Operation == "KeyManageCreate":
		body = `{"properties":{"kty":"EC"}}`
	case r.Operation == "SecretManageSet":
		body = `{"properties":{"value":"v"}}`
	case strings.HasPrefix(r.Operation, "RoleAssignment"):
		g := &principal.Grant{ID: vault.NewGUID(), Tenant: w.Home.ID, Scope: scope, Role: authz.CryptoUser, Principal: w.Home.Owner.Principal.ID, PrincipalKind: principal.Service}
		if r.Method != "PUT" {
			w.Must(w.Store.Update(w.Ctx, store.NewOp(w.Clock.Now()), func(tx store.Tx) error { return tx.PutGrant(w.Ctx, g) }))
		}
		values["{id}"] = g.ID
		someone := w.Home.Other(principal.User, "u"+vault.NewGUID())
		body = `{"properties":{"roleDefinitionId":"` + authz.CryptoUser + `","principalId":"` + string(someone.ID) + `"}}`
	case strings.HasPrefix(r.Operation, "RoleDefinition"):
		id := vault.NewGUID()
		if r.Method != "PUT" {
			w.Must(w.Store.Update(w.Ctx, store.NewOp(w.Clock.Now()), func(tx store.Tx) error {
				return tx.PutRole(w.Ctx, &principal.Role{ID: id, Tenant: w.Home.ID, Name: "r" + id, AssignableScopes: []string{scope}})
			}))
		}
		values["{id}"] = id
		body = `{"properties":{"roleName":"n` + id + `","assignableScopes":["` + scope + `"],"permissions":[{"actions":["*/read"]}]}}`
	case r.MaxBody > 0:
		body = `{"location":"local"}`
	}
	return replace(path), body
}

// shown are the routes that every authenticated caller of a tenant may call: they tell nothing but what the caller may see.
var shown = map[string]bool{"TenantList": true, "SubscriptionList": true, "OperationList": true, "VaultList": true, "VaultListDeleted": true, "ResourceList": true,
	"ResourceGroupList": true, "IdentityList": true, "SiteList": true}

// leaks reports whether an answer names anything of the fixture.
func leaks(a answer, values map[string]string) bool {
	return a.status < 300 && (bytes.Contains(a.body, []byte(values["{vault}"])) || bytes.Contains(a.body, []byte(values["{gone}"])) ||
		bytes.Contains(a.body, []byte("/resourceGroups/dev")) || bytes.Contains(a.body, []byte(values["{subscription}"])))
}

// Every route refuses a caller without grants and a caller from another tenant, and serves one who holds a role with exactly the
// route's action, and what seeing the vault takes.
func TestMatrix(t *testing.T) {
	w := newWorld(t)
	foreign := w.Tenant("foreign").Owner
	nobody := w.Home.Person("nobody")
	routes := arm.Table()
	if len(routes) < 80 {
		t.Fatalf("only %d routes", len(routes))
	}
	var values map[string]string
	for n, r := range routes {
		if r.Public {
			continue
		}
		if n == 0 || routes[n-1].Method != "GET" {
			values = w.fixture(n)
		}
		path, body := w.request(r, values)
		for who, person := range map[string]*tenancytest.Person{"nobody": nobody, "a foreign owner": foreign} {
			a := w.do(person, r.Method, path, body)
			tenantWide := person == foreign && !strings.HasPrefix(r.Pattern, "/subscriptions/{") // its own tenant's answer
			switch {
			case tenantWide || r.Operation == "OperationList":
				if leaks(a, values) {
					t.Errorf("%s %s: %s sees %s", r.Method, r.Pattern, who, a.body)
				}
			case shown[r.Operation]:
				if leaks(a, values) || a.status != 200 && a.status != 404 && a.status != 403 {
					t.Errorf("%s %s: %s gets %d %s", r.Method, r.Pattern, who, a.status, a.body)
				}
			case a.status != refusal(r, person == foreign):
				t.Errorf("%s %s: %s gets %d %s", r.Method, r.Pattern, who, a.status, a.body)
			}
		}
		if a := w.do(nil, r.Method, path, body); a.status != 401 {
			t.Errorf("%s %s without a token: %d", r.Method, r.Pattern, a.status)
		}
		path, body = w.request(r, values)
		if a := w.do(w.holder(r), r.Method, path, body); a.status >= 300 {
			t.Errorf("%s %s with %s: %d %s", r.Method, r.Pattern, r.Action, a.status, a.body)
		}
		if r.Operation == "ResourceGroupDelete" {
			_, err := w.Tenancy.FoundGroup(w.Ctx, w.Home.ID, w.Home.Group, tenancytest.Location)
			w.Must(err)
		}
	}
}

// refusal is the status of a refused request: another tenant's subscription does not exist, and neither does one of the own
// tenant in which the caller holds nothing.
func refusal(r door.Route, foreign bool) int {
	if foreign || r.Action == authz.SubscriptionRead.String() {
		return 404
	}
	return 403
}

// also lists what routes take besides their action.
var also = map[string][]authz.Action{"SecretManageSet": {authz.VaultRead}, "SecretManageGet": {authz.VaultRead}, "SecretManageList": {authz.VaultRead},
	"SecretManageUpdate": {authz.VaultRead}, "KeyManageCreate": {authz.VaultRead}, "KeyManageGet": {authz.VaultRead}, "KeyManageList": {authz.VaultRead},
	"KeyManageListVersions": {authz.VaultRead},
	"SitePut":               {authz.SiteRead}, "SitePatch": {authz.SiteRead}, "IdentityPut": {authz.IdentityRead}, "IdentityPatch": {authz.IdentityRead},
	"IdentityList": {authz.ResourceGroupRead}, "SiteList": {authz.ResourceGroupRead}}

// holder is somebody with a role that allows the route's action and nothing else that matters; routes of one kind share it.
func (w *world) holder(r door.Route) *tenancytest.Person {
	if p := w.holders[r.Operation+r.Action]; p != nil {
		return p
	}
	role := &principal.Role{ID: vault.NewGUID(), Tenant: w.Home.ID, Name: r.Operation + r.Pattern, AssignableScopes: []string{"/"},
		Permissions: []principal.Permission{{Actions: []string{r.Action}}}}
	for _, a := range also[r.Operation] {
		role.Permissions[0].Actions = append(role.Permissions[0].Actions, a.String())
	}
	w.Must(w.Store.Update(w.Ctx, store.NewOp(w.Clock.Now()), func(tx store.Tx) error { return tx.PutRole(w.Ctx, role) }))
	p := w.Home.Person("holder")
	w.Home.Grant(p, role.ID, "/")
	w.holders[r.Operation+r.Action] = p
	return p
}
