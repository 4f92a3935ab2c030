package arm_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	azarm "github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/authorization/armauthorization/v2"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/keyvault/armkeyvault"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/door/azure/arm"
	"github.com/keywright/keywright/internal/tenancy/tenancytest"
	"github.com/keywright/keywright/internal/vault"
)

// audience is the resource of the tests' Resource Manager.
const audience = "https://arm.test"

type world struct {
	*tenancytest.World
	server *httptest.Server
	tokens map[*tenancytest.Person]string
	// holders are kept by operation and action: see holder.
	holders map[string]*tenancytest.Person
}

// token signs a person in once.
func (w *world) token(p *tenancytest.Person) string {
	if w.tokens[p] == "" {
		w.tokens[p] = p.Token(audience)
	}
	return w.tokens[p]
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{World: tenancytest.New(t), tokens: map[*tenancytest.Person]string{}, holders: map[string]*tenancytest.Person{}}
	d, err := arm.New(arm.Config{Guard: w.Guard, Callers: w.Identity, Tenancy: w.Tenancy, Access: w.Access, Secrets: w.Secrets, Keys: w.CryptoKeys, Clock: w.Clock,
		Logger: slog.New(slog.DiscardHandler), Audiences: []string{audience},
		Authority: func(host string) string { return "https://login.test/" + string(w.Home.ID) },
		Endpoints: func(string) arm.Endpoints {
			return arm.Endpoints{Login: "https://login.test/adfs", Audience: audience, Graph: "https://graph.test", VaultSuffix: ".vault.test"}
		},
		VaultURL: func(name, _ string) string { return "https://" + name + ".vault.test/" }})
	w.Must(err)
	w.server = httptest.NewTLSServer(d)
	t.Cleanup(w.server.Close)
	return w
}

type answer struct {
	status int
	header http.Header
	body   []byte
}

// do sends one request as the person, who may be nil.
func (w *world) do(who *tenancytest.Person, method, path, body string) answer {
	w.TB.Helper()
	if !strings.Contains(path, "api-version=") {
		path += map[bool]string{true: "&", false: "?"}[strings.Contains(path, "?")] + "api-version=2022-07-01"
	}
	r, err := http.NewRequestWithContext(w.Ctx, method, w.server.URL+strings.ReplaceAll(path, " ", "%20"), strings.NewReader(body))
	w.Must(err)
	if who != nil {
		r.Header.Set("Authorization", "Bearer "+w.token(who))
	}
	resp, err := w.server.Client().Do(r)
	w.Must(err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	w.Must(err)
	return answer{resp.StatusCode, resp.Header, b}
}

func (a answer) code() string {
	var e struct{ Error struct{ Code string } }
	_ = json.Unmarshal(a.body, &e)
	return e.Error.Code
}

// want fails the test unless the answer has the status and, if given, the error code.
func (w *world) want(a answer, status int, code string) answer {
	w.TB.Helper()
	if a.status != status || a.code() != code {
		w.TB.Fatalf("got %d %q, want %d %q: %s", a.status, a.code(), status, code, a.body)
	}
	return a
}

func (w *world) sub() string   { return "/subscriptions/" + string(w.Home.Subscription) }
func (w *world) group() string { return w.sub() + "/resourceGroups/dev" }
func (w *world) vault(name string) string {
	return w.group() + "/providers/Microsoft.KeyVault/vaults/" + name
}

func (w *world) body(properties string) string {
	return `{"location":"local","properties":{"tenantId":"` + string(w.Home.ID) + `","sku":{"family":"A","name":"standard"}` + properties + `}}`
}

type credential struct {
	person *tenancytest.Person
}

func (c credential) GetToken(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error) {
	return azcore.AccessToken{Token: c.person.Token(audience), ExpiresOn: time.Now().Add(time.Hour)}, nil
}

func (w *world) options() *azarm.ClientOptions {
	return &azarm.ClientOptions{ClientOptions: policy.ClientOptions{Transport: w.server.Client(), Retry: policy.RetryOptions{MaxRetries: -1},
		Cloud: cloud.Configuration{ActiveDirectoryAuthorityHost: "https://login.test", Services: map[cloud.ServiceName]cloud.ServiceConfiguration{
			cloud.ResourceManager: {Audience: audience, Endpoint: w.server.URL}}}}}
}

// The management SDK goes through a vault's whole life.
func TestVaultSDK(t *testing.T) {
	w := newWorld(t)
	f, err := armkeyvault.NewClientFactory(string(w.Home.Subscription), credential{w.Home.Owner}, w.options())
	w.Must(err)
	vaults := f.NewVaultsClient()
	tenant := string(w.Home.ID)
	who := vault.NewGUID()
	poller, err := vaults.BeginCreateOrUpdate(w.Ctx, "dev", "sdk", armkeyvault.VaultCreateOrUpdateParameters{Location: to.Ptr("local"), Properties: &armkeyvault.VaultProperties{
		TenantID: &tenant, SKU: &armkeyvault.SKU{Family: to.Ptr(armkeyvault.SKUFamilyA), Name: to.Ptr(armkeyvault.SKUNamePremium)},
		SoftDeleteRetentionInDays: to.Ptr[int32](7),
		AccessPolicies: []*armkeyvault.AccessPolicyEntry{{TenantID: &tenant, ObjectID: &who, Permissions: &armkeyvault.Permissions{
			Keys: []*armkeyvault.KeyPermissions{to.Ptr(armkeyvault.KeyPermissionsWrapKey)}}}}}}, nil)
	w.Must(err)
	made, err := poller.PollUntilDone(w.Ctx, nil)
	w.Must(err)
	if p := made.Properties; *p.VaultURI != "https://sdk.vault.test/" || *p.EnableRbacAuthorization || *p.SKU.Name != armkeyvault.SKUNamePremium ||
		*p.AccessPolicies[0].Permissions.Keys[0] != armkeyvault.KeyPermissionsWrapKey {
		t.Errorf("made %+v", p)
	}
	changed, err := vaults.UpdateAccessPolicy(w.Ctx, "dev", "sdk", armkeyvault.AccessPolicyUpdateKindAdd, armkeyvault.VaultAccessPolicyParameters{
		Properties: &armkeyvault.VaultAccessPolicyProperties{AccessPolicies: []*armkeyvault.AccessPolicyEntry{{TenantID: &tenant, ObjectID: &who,
			Permissions: &armkeyvault.Permissions{Secrets: []*armkeyvault.SecretPermissions{to.Ptr(armkeyvault.SecretPermissionsGet)}}}}}}, nil)
	w.Must(err)
	if p := changed.Properties.AccessPolicies; len(p) != 1 || len(p[0].Permissions.Keys) != 1 || len(p[0].Permissions.Secrets) != 1 {
		t.Errorf("policies %+v", p)
	}
	_, err = vaults.Update(w.Ctx, "dev", "sdk", armkeyvault.VaultPatchParameters{Properties: &armkeyvault.VaultPatchProperties{NetworkACLs: &armkeyvault.NetworkRuleSet{
		DefaultAction: to.Ptr(armkeyvault.NetworkRuleActionDeny), IPRules: []*armkeyvault.IPRule{{Value: to.Ptr("203.0.113.7")}}}}}, nil)
	w.Must(err)
	got, err := vaults.Get(w.Ctx, "dev", "sdk", nil)
	w.Must(err)
	if *got.Properties.NetworkACLs.IPRules[0].Value != "203.0.113.7/32" || len(got.Properties.AccessPolicies) != 1 {
		t.Errorf("got %+v", got.Properties)
	}
	n := 0
	for pager := vaults.NewListBySubscriptionPager(&armkeyvault.VaultsClientListBySubscriptionOptions{Top: to.Ptr[int32](1)}); pager.More(); n++ {
		page, err := pager.NextPage(w.Ctx)
		w.Must(err)
		if len(page.Value) != 1 {
			t.Errorf("page %d has %d vaults", n, len(page.Value))
		}
	}
	_, err = vaults.Delete(w.Ctx, "dev", "sdk", nil)
	w.Must(err)
	_, err = vaults.Delete(w.Ctx, "dev", "sdk", nil) // 204
	w.Must(err)
	deleted, err := vaults.GetDeleted(w.Ctx, "sdk", "local", nil)
	w.Must(err)
	if deleted.Properties.ScheduledPurgeDate.Sub(*deleted.Properties.DeletionDate) != 7*24*time.Hour {
		t.Errorf("deleted %+v", deleted.Properties)
	}
	poller, err = vaults.BeginCreateOrUpdate(w.Ctx, "dev", "sdk", armkeyvault.VaultCreateOrUpdateParameters{Location: to.Ptr("local"), Properties: &armkeyvault.VaultProperties{
		TenantID: &tenant, SKU: &armkeyvault.SKU{Family: to.Ptr(armkeyvault.SKUFamilyA), Name: to.Ptr(armkeyvault.SKUNamePremium)}, CreateMode: to.Ptr(armkeyvault.CreateModeRecover)}}, nil)
	w.Must(err)
	back, err := poller.PollUntilDone(w.Ctx, nil)
	w.Must(err)
	if len(back.Properties.AccessPolicies) != 1 {
		t.Errorf("recovered %+v", back.Properties)
	}
	_, err = vaults.Delete(w.Ctx, "dev", "sdk", nil)
	w.Must(err)
	purge, err := vaults.BeginPurgeDeleted(w.Ctx, "sdk", "local", nil)
	w.Must(err)
	_, err = purge.PollUntilDone(w.Ctx, nil)
	w.Must(err)
	free, err := vaults.CheckNameAvailability(w.Ctx, armkeyvault.VaultCheckNameAvailabilityParameters{Name: to.Ptr("sdk"), Type: to.Ptr("Microsoft.KeyVault/vaults")}, nil)
	w.Must(err)
	if !*free.NameAvailable {
		t.Errorf("the name is %+v", free)
	}
}

// Secrets can be written through Resource Manager, and their values never read.
func TestSecretSDK(t *testing.T) {
	w := newWorld(t)
	v := w.Home.MakeVault("box")
	deployer := w.Home.Person("deployer")
	w.Home.Grant(deployer, authz.VaultContributor, v.Scope())
	f, err := armkeyvault.NewClientFactory(string(w.Home.Subscription), credential{deployer}, w.options())
	w.Must(err)
	made, err := f.NewSecretsClient().CreateOrUpdate(w.Ctx, "dev", "box", "one", armkeyvault.SecretCreateOrUpdateParameters{
		Properties: &armkeyvault.SecretProperties{Value: to.Ptr("hunter2"), ContentType: to.Ptr("text/plain")}}, nil)
	w.Must(err)
	got, err := f.NewSecretsClient().Get(w.Ctx, "dev", "box", "one", nil)
	w.Must(err)
	if made.Properties.Value != nil || got.Properties.Value != nil || *got.Properties.ContentType != "text/plain" || *got.Properties.SecretURI != "https://box.vault.test/secrets/one" {
		t.Errorf("got %+v", got.Properties)
	}
	a := w.want(w.do(deployer, "GET", w.vault("box")+"/secrets", ""), 200, "")
	if !bytes.Contains(a.body, []byte(`"one"`)) || bytes.Contains(a.body, []byte("hunter2")) {
		t.Errorf("list %s", a.body)
	}
	w.want(w.do(w.Home.Person("nobody"), "PUT", w.vault("box")+"/secrets/one", `{"properties":{"value":"x"}}`), 403, "AuthorizationFailed")
}

// The authorization SDK finds a role by name, assigns it and takes it back, at every kind of scope.
func TestAuthorizationSDK(t *testing.T) {
	w := newWorld(t)
	v := w.Home.MakeVault("box")
	f, err := armauthorization.NewClientFactory(string(w.Home.Subscription), credential{w.Home.Owner}, w.options())
	w.Must(err)
	reader := w.Home.Person("reader")
	for _, scope := range []string{"/", w.sub(), w.group(), v.Scope(), v.Scope() + "/secrets/one"} {
		var role string
		for pager := f.NewRoleDefinitionsClient().NewListPager(scope, &armauthorization.RoleDefinitionsClientListOptions{Filter: to.Ptr("roleName eq 'Key Vault Secrets User'")}); pager.More(); {
			page, err := pager.NextPage(w.Ctx)
			w.Must(err)
			if len(page.Value) != 1 {
				t.Fatalf("%s: %d roles", scope, len(page.Value))
			}
			role = *page.Value[0].ID
		}
		c := f.NewRoleAssignmentsClient()
		id := vault.NewGUID()
		params := armauthorization.RoleAssignmentCreateParameters{Properties: &armauthorization.RoleAssignmentProperties{RoleDefinitionID: &role,
			PrincipalID: to.Ptr(string(reader.Principal.ID)), PrincipalType: to.Ptr(armauthorization.PrincipalTypeServicePrincipal)}}
		_, err = c.Create(w.Ctx, scope, id, params, nil)
		w.Must(err)
		_, err = c.Create(w.Ctx, scope, id, params, nil)
		w.Must(err)
		_, err = c.Create(w.Ctx, scope, vault.NewGUID(), params, nil)
		var failed *azcore.ResponseError
		if !errors.As(err, &failed) || failed.StatusCode != 409 || failed.ErrorCode != "RoleAssignmentExists" {
			t.Errorf("%s: a second assignment: %v", scope, err)
		}
		got, err := c.Get(w.Ctx, scope, id, nil)
		w.Must(err)
		if *got.Properties.RoleDefinitionID != role || *got.Properties.PrincipalType != armauthorization.PrincipalTypeServicePrincipal {
			t.Errorf("%s: got %+v", scope, got.Properties)
		}
		n := 0
		for pager := c.NewListForScopePager(scope, &armauthorization.RoleAssignmentsClientListForScopeOptions{Filter: to.Ptr("atScope()%20and%20assignedTo('" + string(reader.Principal.ID) + "')")}); pager.More(); {
			page, err := pager.NextPage(w.Ctx)
			w.Must(err)
			n += len(page.Value)
		}
		gone, err := c.Delete(w.Ctx, scope, id, nil)
		w.Must(err)
		if n != 1 || gone.ID == nil {
			t.Errorf("%s: listed %d, removed %v", scope, n, gone.ID)
		}
		_, err = c.Delete(w.Ctx, scope, id, nil) // 204
		w.Must(err)
	}
}

func TestErrors(t *testing.T) {
	w := newWorld(t)
	owner := w.Home.Owner
	w.Home.MakeVault("there")
	absent := "/subscriptions/" + vault.NewGUID()
	role := w.vault("there") + "/providers/Microsoft.Authorization/roleAssignments/" + vault.NewGUID()
	for name, tt := range map[string]struct {
		method, path, body string
		status             int
		code               string
	}{
		"no version":        {"GET", w.vault("there") + "?api-version=", "", 400, "MissingApiVersionParameter"},
		"bad version":       {"GET", w.vault("there") + "?api-version=latest", "", 400, "InvalidApiVersionParameter"},
		"no vault":          {"GET", w.vault("absent"), "", 404, "ResourceNotFound"},
		"no subscription":   {"GET", absent, "", 404, "SubscriptionNotFound"},
		"no subscription 2": {"GET", absent + "/resourceGroups/dev/providers/Microsoft.KeyVault/vaults/there", "", 404, "SubscriptionNotFound"},
		"no group":          {"GET", w.sub() + "/resourceGroups/none", "", 404, "ResourceGroupNotFound"},
		"no group 2":        {"PUT", w.sub() + "/resourceGroups/none/providers/Microsoft.KeyVault/vaults/newone", w.body(""), 404, "ResourceGroupNotFound"},
		"bad name":          {"PUT", w.vault("1x"), w.body(""), 400, "VaultNameNotValid"},
		"bad sku":           {"PUT", w.vault("newone"), strings.Replace(w.body(""), "standard", "gold", 1), 400, "SkuNotSupported"},
		"bad body":          {"PUT", w.vault("newone"), "{", 400, "BadRequest"},
		"no type":           {"GET", w.sub() + "/providers/Microsoft.Compute/virtualMachines", "", 404, "InvalidResourceType"},
		"no namespace":      {"GET", w.sub() + "/providers/Microsoft.Compute", "", 404, "InvalidResourceNamespace"},
		"method":            {"DELETE", w.sub(), "", 405, "MethodNotAllowed"},
		"no deleted vault":  {"GET", w.sub() + "/providers/Microsoft.KeyVault/locations/local/deletedVaults/there", "", 404, "DeletedVaultNotFound"},
		"no principal":      {"PUT", role, `{"properties":{"roleDefinitionId":"` + authz.SecretsUser + `","principalId":"` + vault.NewGUID() + `"}}`, 400, "PrincipalNotFound"},
		"no role":           {"PUT", role, `{"properties":{"roleDefinitionId":"` + vault.NewGUID() + `","principalId":"` + vault.NewGUID() + `"}}`, 404, "RoleDefinitionDoesNotExist"},
		"filter":            {"GET", w.sub() + "/resources?$filter=color eq 'red'", "", 400, "InvalidFilter"},
	} {
		t.Run(name, func(t *testing.T) {
			a := w.do(owner, tt.method, tt.path, tt.body)
			if a.status != tt.status || a.code() != tt.code {
				t.Errorf("got %d %s, want %d %s: %s", a.status, a.code(), tt.status, tt.code, a.body)
			}
			if a.header.Get("x-ms-request-id") == "" || a.header.Get("x-ms-correlation-request-id") == "" {
				t.Errorf("headers %v", a.header)
			}
		})
	}
}

func TestUnauthenticated(t *testing.T) {
	w := newWorld(t)
	a := w.want(w.do(nil, "GET", "/nowhere", ""), 401, "AuthenticationFailed")
	if got := a.header.Get("WWW-Authenticate"); !strings.Contains(got, `Bearer authorization_uri="https://login.test/`) {
		t.Errorf("challenge %q", got)
	}
	r, err := http.NewRequestWithContext(w.Ctx, "GET", w.server.URL+"/subscriptions?api-version=2022-07-01", nil)
	w.Must(err)
	r.Header.Set("Authorization", "Bearer "+w.Home.Owner.Token("https://vault.azure.net"))
	resp, err := w.server.Client().Do(r)
	w.Must(err)
	resp.Body.Close()
	if resp.StatusCode != 401 {
		t.Errorf("a token for a vault gets %d", resp.StatusCode)
	}
	w.want(w.do(nil, "GET", "/metadata/endpoints", ""), 200, "")
}

// What az sends, in its order: see the vault is not there, make it, list, find its group by the resources call.
func TestAzJourney(t *testing.T) {
	w := newWorld(t)
	owner := w.Home.Owner
	w.want(w.do(owner, "GET", "/subscriptions?api-version=2019-11-01", ""), 200, "")
	w.want(w.do(owner, "GET", w.vault("journey"), ""), 404, "ResourceNotFound")
	w.want(w.do(owner, "GET", w.group()+"/providers/Microsoft.KeyVault/managedHSMs", ""), 200, "")
	a := w.want(w.do(owner, "PUT", w.vault("journey")+"?api-version=2026-02-01", w.body("")), 201, "")
	if !bytes.Contains(a.body, []byte(`"enableRbacAuthorization":true`)) {
		t.Errorf("made %s", a.body)
	}
	w.want(w.do(owner, "PUT", w.vault("journey")+"?api-version=2016-10-01", w.body("")), 200, "")
	a = w.want(w.do(owner, "GET", w.sub()+"/resources?$filter=resourceType eq 'Microsoft.KeyVault/vaults'&api-version=2015-11-01", ""), 200, "")
	if !bytes.Contains(a.body, []byte(w.vault("journey"))) {
		t.Errorf("resources %s", a.body)
	}
	// A site gets an identity in one call, and a role in the second.
	site := w.group() + "/providers/Microsoft.Web/sites/shop"
	w.want(w.do(owner, "GET", site, ""), 200, "")
	a = w.want(w.do(owner, "PUT", site, `{"location":"local","identity":{"type":"SystemAssigned"}}`), 200, "")
	var made struct {
		Identity struct{ PrincipalID, TenantID string }
	}
	w.Must(json.Unmarshal(a.body, &made))
	w.want(w.do(owner, "PUT", w.vault("journey")+"/providers/Microsoft.Authorization/roleAssignments/"+vault.NewGUID()+"?api-version=2020-04-01-preview",
		`{"properties":{"roleDefinitionId":"`+w.sub()+`/providers/Microsoft.Authorization/roleDefinitions/`+authz.SecretsUser+`","principalId":"`+
			made.Identity.PrincipalID+`","principalType":"ServicePrincipal"}}`), 201, "")
	w.want(w.do(owner, "PATCH", site, `{"identity":{"type":"None"}}`), 200, "")
	a = w.want(w.do(owner, "GET", w.vault("journey")+"/providers/Microsoft.Authorization/roleAssignments?$filter=principalId eq '"+made.Identity.PrincipalID+"'", ""), 200, "")
	if !bytes.Contains(a.body, []byte(`"value":[]`)) {
		t.Errorf("the identity's grants outlive it: %s", a.body)
	}
	user := w.group() + "/providers/Microsoft.ManagedIdentity/userAssignedIdentities/worker"
	w.want(w.do(owner, "GET", user, ""), 404, "ResourceNotFound")
	w.want(w.do(owner, "PUT", user, `{"location":"local"}`), 201, "")
	a = w.want(w.do(owner, "GET", w.group()+"/providers/Microsoft.ManagedIdentity/userAssignedIdentities", ""), 200, "")
	if !bytes.Contains(a.body, []byte(`"clientId"`)) {
		t.Errorf("identities %s", a.body)
	}
}

// Scopes reach a path with their leading slash doubled, and paths are compared without regard to case.
func TestPathForms(t *testing.T) {
	w := newWorld(t)
	w.Home.MakeVault("box")
	for _, path := range []string{"/" + w.vault("box"), strings.ToLower(w.vault("BOX")), "//providers/Microsoft.Authorization/roleDefinitions",
		strings.Replace(w.vault("box"), "resourceGroups", "resourcegroups", 1)} {
		w.want(w.do(w.Home.Owner, "GET", path, ""), 200, "")
	}
}
