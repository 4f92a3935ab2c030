package server

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/vault"
)

// A role that is granted at /keys counts for all keys of the vault, for the listing of them, and for nothing else; one at /keys/NAME for that one.
func TestRolesAtTheScopeOfKeys(t *testing.T) {
	x := startTarget(t)
	admin, at := x.token(t, x.vaultResource()), x.namedVault(devVault)
	ask := func(token string, status int, method, path, body string) string {
		t.Helper()
		r := x.send(method, at+path+"?api-version=7.6", token, body)
		if r.status != status {
			t.Errorf("%s %s: %d, want %d: %s", method, path, r.status, status, r.body)
		}
		return r.body
	}
	for _, name := range []string{"one", "two"} {
		ask(admin, http.StatusOK, "POST", "/keys/"+name+"/create", `{"kty":"EC"}`)
	}
	ask(admin, http.StatusOK, "PUT", "/secrets/keys", `{"value":"x"}`)
	assign := func(scope, role string, p person) string {
		t.Helper()
		id := vault.NewGUID()
		path := scope + authorizationPath + id
		made := ask(admin, http.StatusCreated, "PUT", path, `{"properties":{"roleDefinitionId":"Microsoft.KeyVault/providers/Microsoft.Authorization/roleDefinitions/`+role+`","principalId":"`+
			string(p.id)+`"}}`)
		var got struct {
			Properties struct{ Scope, PrincipalID string }
		}
		if err := json.Unmarshal([]byte(ask(admin, http.StatusOK, "GET", path, "")), &got); err != nil || got.Properties.Scope != scope || got.Properties.PrincipalID != string(p.id) {
			t.Errorf("at %s: %s was read back as %+v, %v", scope, made, got, err)
		}
		return path
	}
	all, single := x.newPerson(x.estate.Tenant, "all keys"), x.newPerson(x.estate.Tenant, "one key")
	path := assign("/keys", authz.LocalCryptoUser, all)
	assign("/keys/one", authz.LocalCryptoUser, single)

	user := x.tokenOf(all, x.vaultResource())
	for _, name := range []string{"one", "two"} {
		ask(user, http.StatusOK, "GET", "/keys/"+name, "")
	}
	if list := ask(user, http.StatusOK, "GET", "/keys", ""); strings.Count(list, `"kid"`) != 2 {
		t.Errorf("the listing: %s", list)
	}
	ask(user, http.StatusOK, "POST", "/keys/three/create", `{"kty":"EC"}`)
	for _, path := range []string{"/secrets/keys", "/secrets", "/certificates"} {
		ask(user, http.StatusForbidden, "GET", path, "")
	}
	ask(user, http.StatusForbidden, "POST", "/rng", `{"count":8}`)
	ask(user, http.StatusForbidden, "PUT", "/keys"+authorizationPath+vault.NewGUID(), `{"properties":{"roleDefinitionId":"`+authz.LocalCryptoUser+`","principalId":"`+string(single.id)+`"}}`)

	other := x.tokenOf(single, x.vaultResource())
	ask(other, http.StatusOK, "GET", "/keys/one", "")
	ask(other, http.StatusForbidden, "GET", "/keys/two", "")
	ask(other, http.StatusForbidden, "GET", "/keys", "")

	// Who manages roles at /keys does so there and below, and not for the vault.
	officer := x.newPerson(x.estate.Tenant, "officer")
	assign("/keys", authz.LocalPolicyAdministrator, officer)
	token := x.tokenOf(officer, x.vaultResource())
	body := `{"properties":{"roleDefinitionId":"` + authz.LocalCryptoAuditor + `","principalId":"` + string(single.id) + `"}}`
	ask(token, http.StatusCreated, "PUT", "/keys"+authorizationPath+vault.NewGUID(), body)
	ask(token, http.StatusCreated, "PUT", "/keys/two"+authorizationPath+vault.NewGUID(), body)
	ask(token, http.StatusForbidden, "PUT", authorizationPath+vault.NewGUID(), body)
	ask(other, http.StatusOK, "GET", "/keys", "")
	if list := ask(admin, http.StatusOK, "GET", "/keys"+strings.TrimSuffix(authorizationPath, "/"), ""); strings.Count(list, `"scope":"/keys"`) != 3 || strings.Count(list, `"scope":"/keys/`) != 2 {
		t.Errorf("the assignments: %s", list)
	}
	if whole := ask(admin, http.StatusOK, "GET", strings.TrimSuffix(authorizationPath, "/"), ""); strings.Count(whole, `"scope":"/keys"`) != 3 {
		t.Errorf("all assignments of the vault: %s", whole)
	}

	// What is withdrawn does not count any more.
	ask(admin, http.StatusOK, "DELETE", path, "")
	ask(user, http.StatusForbidden, "GET", "/keys/one", "")
	ask(user, http.StatusForbidden, "GET", "/keys", "")
}

const authorizationPath = "/providers/Microsoft.Authorization/roleAssignments/"
