package server

import (
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/door"
	"github.com/keywright/keywright/internal/principal"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// front is where a door is reached in the matrix, and what its tokens are for.
type front struct {
	base, resource string
	query          string
}

func (x *target) fronts() map[string]front {
	return map[string]front{
		"azure":  {x.namedVault(devVault), x.vaultResource(), "api-version=7.6"},
		"native": {"https://" + x.names.api + x.names.port, "https://" + x.names.api + x.names.port, ""},
		"arm":    {"https://" + x.names.arm + x.names.port, "https://" + x.names.arm + x.names.port, "api-version=2022-07-01"},
		"graph":  {"https://" + x.names.graph + x.names.port, "https://" + x.names.graph + x.names.port, ""},
		"oauth":  {"https://" + x.names.login + x.names.port, "", ""},
		"acme":   {"https://" + x.names.api + x.names.port, "", ""},
	}
}

// bodies are well-formed bodies, by door and operation; every other route gets an empty object.
func (x *target) bodies() map[string]string {
	return map[string]string{
		"native KeyringRotate": `{"layer":"tenant"}`, "native VaultCopy": `{"address":"https://127.0.0.1:1/c"}`, "native VaultCopyRestore": `{"address":"https://127.0.0.1:1/c","folder":"f"}`,
		"native CertificateRestore": `{"blob":"QUJD"}`,
		"azure KeyCreate":           `{"kty":"EC"}`, "azure KeyImport": `{"key":{"kty":"oct","k":"AAECAwQFBgcICQoLDA0ODw"}}`, "azure KeyRestore": `{"value":"QUJD"}`,
		"azure KeyEncrypt": `{"alg":"RSA-OAEP","value":"QUJD"}`, "azure KeyWrap": `{"alg":"RSA-OAEP","value":"QUJD"}`,
		"azure KeyDecrypt": `{"alg":"RSA-OAEP","value":"QUJD"}`, "azure KeyUnwrap": `{"alg":"RSA-OAEP","value":"QUJD"}`,
		"azure KeySign": `{"alg":"RS256","value":"QUJD"}`, "azure KeyVerify": `{"alg":"RS256","digest":"QUJD","value":"QUJD"}`,
		"azure KeyRelease": `{"target":"a.b.c"}`, "azure KeyGetRandomBytes": `{"count":1}`,
		"azure CertificateCreate": `{"policy":{"issuer":{"name":"Self"},"x509_props":{"subject":"CN=x"}}}`, "azure CertificateImport": `{"value":"QUJD"}`,
		"azure CertificateRestore": `{"value":"QUJD"}`, "azure CertificatePendingUpdate": `{"cancellation_requested":true}`, "azure CertificatePendingMerge": `{"x5c":["` + x.certificate() + `"]}`,
		"native CertificateImport": `{"file":"QUJD"}`, "native CertificateIssuerSet": `{"provider":"LetsEncrypt"}`,
		"native CertificateEndpointSet": `{"address":"127.0.0.1:1"}`,
		"native AccessRuleSet":          `{"domains":["shop.example"]}`, "native EnrolmentRevoke": `{"serial":"1"}`,
		"native CertificatePendingMerge": `{"pem":"-----BEGIN CERTIFICATE-----\n` + x.certificate() + `\n-----END CERTIFICATE-----\n"}`,
		"azure CertificateIssuerSet":     `{"provider":"LetsEncrypt"}`, "azure CertificateContactsSet": `{"contacts":[{"email":"a@b"}]}`,
		"native KeyCreate": `{"type":"EC"}`, "native KeyImport": `{"jwk":{"kty":"oct","k":"AAECAwQFBgcICQoLDA0ODw"}}`, "native KeyRestore": `{"blob":"QUJD"}`,
		"native KeyEncrypt": `{"algorithm":"RSA-OAEP","value":"QUJD"}`, "native KeyWrap": `{"algorithm":"RSA-OAEP","value":"QUJD"}`,
		"native KeyDecrypt": `{"algorithm":"RSA-OAEP","value":"QUJD"}`, "native KeyUnwrap": `{"algorithm":"RSA-OAEP","value":"QUJD"}`,
		"native KeySign": `{"algorithm":"RS256","value":"QUJD"}`, "native KeyVerify": `{"algorithm":"RS256","digest":"QUJD","signature":"QUJD"}`,
		"azure SecretSet": `{"value":"x"}`, "azure SecretRestore": `{"value":"QUJD"}`, "native SecretSet": `{"value":"x"}`, "native SecretRestore": `{"blob":"QUJD"}`,
		"arm VaultPut":        `{"location":"local","properties":{"tenantId":"` + string(x.estate.Tenant) + `","sku":{"family":"A","name":"standard"},"accessPolicies":[]}}`,
		"arm KeyManageCreate": `{"properties":{"kty":"EC"}}`, "arm SecretManageUpdate": `{"tags":{}}`,
		"azure RoleAssignmentPut": `{"properties":{"roleDefinitionId":"` + authz.SecretsUser + `","principalId":"` + string(x.estate.Identity) + `"}}`,
		"azure RoleDefinitionPut": `{"properties":{"roleName":"made","assignableScopes":["/"],"permissions":[{"dataActions":["Microsoft.KeyVault/managedHsm/keys/sign/action"]}]}}`,
		"azure SettingUpdate":     `{"value":"true"}`, "azure FullBackup": `{"storageResourceUri":"https://127.0.0.1:1/c"}`, "azure FullBackupCheck": `{"storageResourceUri":"https://127.0.0.1:1/c"}`,
		"azure FullRestore": `{"sasTokenParameters":{"storageResourceUri":"https://127.0.0.1:1/c"},"folderToRestore":"f"}`, "azure FullRestoreCheck": `{"sasTokenParameters":{"storageResourceUri":"https://127.0.0.1:1/c"},"folderToRestore":"f"}`,
		"azure SelectiveKeyRestore": `{"sasTokenParameters":{"storageResourceUri":"https://127.0.0.1:1/c"},"folder":"f"}`,
		"arm SecretManageSet":       `{"properties":{"value":"x"}}`, "arm ResourceGroupPut": `{"location":"local"}`, "arm VaultAccessPolicyChange": `{"properties":{"accessPolicies":[]}}`,
		"native VaultCreate":     `{"subscription":"` + string(x.estate.Subscription) + `","resourceGroup":"` + devGroup + `"}`,
		"native PrincipalCreate": `{"kind":"ServicePrincipal","name":"made"}`, "native CredentialAdd": `{"kind":"secret","name":"made"}`,
		"native VaultEncryptionSet": `{"keyVault":"nowhere","key":"root"}`,
		"native RolePut":            `{"name":"made","assignableScopes":["/"],"permissions":[{"dataActions":["Microsoft.KeyVault/vaults/secrets/getSecret/action"]}]}`,
		"native RotationTaskSubmit": `{"value":"x"}`, "native RotationStart": `{"cause":"on-demand"}`, "native RotationOrder": `{"order":"abort"}`,
		"native AuthorityChange": `{"cause":"on-demand"}`,
		"native VersionAck":      `{"level":"used"}`, "native VersionClear": `{"instance":"x","reason":"x"}`,
		"native EventSubscriptionCreate": `{"endpoint":"https://127.0.0.1:1/"}`,
		"native GrantCreate":             `{"role":"` + authz.SecretsUser + `","principal":"` + string(x.estate.Identity) + `","scope":"/"}`,
	}
}

// certificate is some certificate, in DER and base64.
func (x *target) certificate() string {
	text, err := os.ReadFile(filepath.Join(x.dir, caFile))
	if err != nil {
		x.t.Fatal(err)
	}
	block, _ := pem.Decode(text)
	return base64.StdEncoding.EncodeToString(block.Bytes)
}

// queries are the parameters without which a route judges nothing.
var queries = map[string]string{"native AccessExplain": "action=" + url.QueryEscape(authz.SecretGet.String()) + "&scope=/",
	"native SecretChanges": "wait=0",
	"native AccessWhoCan":  "action=" + url.QueryEscape(authz.SecretGet.String()) + "&scope=/"}

// alsoNeeds are the actions that an operation needs besides its own: it shows what is there before it changes it.
var alsoNeeds = map[string][]authz.Action{"native VaultCopy": {authz.SecretBackup, authz.CertificateBackup}, "native VaultCopyRestore": {authz.SecretRestore, authz.CertificateRestore},
	"arm SecretManageGet": {authz.VaultRead}, "arm SecretManageList": {authz.VaultRead}, "arm SecretManageSet": {authz.VaultRead},
	"arm SecretManageUpdate": {authz.VaultRead}, "arm KeyManageCreate": {authz.VaultRead}, "arm KeyManageGet": {authz.VaultRead}, "arm KeyManageList": {authz.VaultRead},
	"arm KeyManageListVersions": {authz.VaultRead}, "azure SettingUpdate": {authz.VaultRead}, "azure FullBackup": {authz.SecretBackup, authz.CertificateBackup},
	"azure FullBackupCheck": {authz.SecretBackup, authz.CertificateBackup}, "azure FullRestore": {authz.SecretRestore, authz.CertificateRestore},
	"azure FullRestoreCheck": {authz.SecretRestore, authz.CertificateRestore},
	"arm SitePut":            {authz.SiteRead}, "arm SitePatch": {authz.SiteRead}, "arm IdentityPut": {authz.IdentityRead}, "arm IdentityPatch": {authz.IdentityRead},
	"native RoleDelete": {authz.RoleDefinitionRead}, "native GrantCreate": {authz.RoleDefinitionRead}, "native AccessExplain": {authz.PrincipalRead},
	"native VaultNetworkUpdate": {authz.VaultRead}, "native VaultPolicySet": {authz.VaultRead}, "native VaultPolicyRemove": {authz.VaultRead},
	"arm VaultPut": {authz.VaultAccessPoliciesWrite}, "native RotationPolicySet": {authz.SecretGet},
	"native SecretTemplateSet":  {authz.SecretGet},
	"native TrustBundlePublish": {authz.CertificateGet, authz.RotationPolicyWrite, authz.SecretSet}, "native AuthorityChange": {authz.CertificateGet, authz.RotationRun},
	"native AuthorityPlan": {authz.CertificateGet}}

var parameters = regexp.MustCompile(`\{([^}]*)\}`)

// fill writes a route's path with values for its parameters. Values that the table does not have get one that is nobody's.
func fill(pattern string, values map[string]string) string {
	return parameters.ReplaceAllStringFunc(pattern, func(p string) string {
		name := strings.TrimRight(p[1:len(p)-1], "?*")
		if v, ok := values[name]; ok {
			return v
		}
		return "nobody"
	})
}

// scrub takes out of an answer what differs from request to request, and the name that was asked for.
func scrub(r reply, values map[string]string) string {
	s := guids.ReplaceAllString(r.body, "GUID")
	for _, v := range values {
		if v != "" {
			s = strings.ReplaceAll(s, v, "NAME")
			s = strings.ReplaceAll(s, strings.ToLower(v), "NAME")
		}
	}
	return fmt.Sprint(r.status, " ", timestamps.ReplaceAllString(s, "TIME"))
}

var (
	guids      = regexp.MustCompile(`[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}`)
	timestamps = regexp.MustCompile(`\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d[0-9.]*Z?`)
)

// seesOwn are the operations that answer everybody with what the caller may see, which for a stranger is nothing, and those
// that tell a caller about itself.
var seesOwn = []string{"native Status", "native RotatorList", "arm TenantList", "arm SubscriptionList", "arm OperationList", "arm ProviderList", "arm ProviderGet",
	"arm ProviderRegister", "native VaultList", "native VaultListDeleted", "arm VaultList", "arm VaultListDeleted", "arm ResourceList",
	"arm ResourceGroupList", "arm SiteList", "arm IdentityList", "native GrantList", "arm RoleAssignmentList", "arm PermissionList",
	"arm VaultCheckName"}

// hides are the operations for which, to a stranger, nothing exists: their answer is that of a name that nobody has.
var hides = []string{"arm SubscriptionGet", "arm LocationList", "arm ManagedHsmList", "arm ManagedHsmListDeleted", "native VaultRecover", "native VaultPurge"}

// each calls f with every route of every door that is no public one.
func (x *target) each(f func(name string, at front, r door.Route)) {
	x.t.Helper()
	fronts, n := x.fronts(), 0
	mounted := x.mounted()
	for _, name := range slices.Sorted(maps.Keys(mounted)) {
		routes := mounted[name]
		at, ok := fronts[name]
		if !ok {
			x.t.Errorf("the door %q is not in the matrix: say how it is reached", name)
			continue
		}
		for _, r := range routes {
			if r.Public {
				continue
			}
			n++
			here := at
			if q := queries[name+" "+r.Operation]; q != "" {
				here.query += "&" + q
			}
			f(name, here, r)
		}
	}
	if n < 30 {
		x.t.Errorf("the matrix has only %d routes: it does not see all doors", n)
	}
}

func (x *target) url(at front, pattern string, values map[string]string) string {
	if strings.Contains(pattern, "{version}") && values["version"] == "" { // it must not be left out here
		values = maps.Clone(values)
		values["version"] = strings.Repeat("0", 32)
	}
	return at.base + fill(pattern, values) + "?" + at.query
}

func (x *target) body(name string, r door.Route) string {
	if r.MaxBody == 0 {
		return ""
	}
	if b, ok := x.bodies()[name+" "+r.Operation]; ok {
		return b
	}
	return "{}"
}

// existing are parameters of things that are there; missing has the same with names of nothing.
func (x *target) existing() map[string]string {
	return map[string]string{"vault": devVault, "name": "exists", "object": "exists", "version": "", "subscription": string(x.estate.Subscription),
		"group": devGroup, "tenant": string(x.estate.Tenant), "location": "local", "operation": "add", "principal": string(x.estate.Identity)}
}

// make makes what existing names.
func (x *target) make() {
	x.t.Helper()
	for _, made := range [][3]string{{"PUT", "secrets/exists", `{"value":"v"}`}, {"POST", "keys/exists/create", `{"kty":"RSA"}`}} {
		if r := x.send(made[0], x.namedVault(devVault)+"/"+made[1]+"?api-version=7.6", x.token(x.t, x.vaultResource()), made[2]); r.status != 200 {
			x.t.Fatal(r)
		}
	}
}

func missing(from map[string]string, names ...string) map[string]string {
	m := make(map[string]string)
	for k, v := range from {
		m[k] = v
		if slices.Contains(names, k) {
			m[k] = "absent"
		}
	}
	return m
}

// TestAuthorisationMatrix is made from the tables of the doors that are mounted.
func TestAuthorisationMatrix(t *testing.T) {
	x := startTarget(t)
	own := x.estate.Tenant
	x.make()
	stranger := x.newPerson(own, "stranger")
	there := x.existing()
	absent := missing(there, "name", "object")

	t.Run("without a token", func(t *testing.T) {
		x.each(func(name string, at front, r door.Route) {
			what := name + " " + r.Method + " " + r.Pattern
			answers := map[string]reply{
				"a good request":        x.send(r.Method, x.url(at, r.Pattern, there), "", x.body(name, r)),
				"no such object":        x.send(r.Method, x.url(at, r.Pattern, absent), "", ""),
				"a body of nonsense":    x.send(r.Method, x.url(at, r.Pattern, there), "", "{nonsense"),
				"no api-version":        x.send(r.Method, at.base+fill(r.Pattern, there), "", ""),
				"a name that is no one": x.send(r.Method, x.url(at, r.Pattern, map[string]string{"name": "%20", "vault": "%20", "version": "x"}), "", ""),
				"no such path":          x.send(r.Method, at.base+"/no/such/path/at/all", "", ""),
				"a method that is none": x.send("BREW", x.url(at, r.Pattern, there), "", ""),
				"a token of nonsense":   x.send(r.Method, x.url(at, r.Pattern, there), "nonsense", ""),
			}
			for label, a := range answers {
				if a.status != 401 || !strings.HasPrefix(a.header.Get("Www-Authenticate"), "Bearer ") {
					t.Errorf("%s: %s: %d, challenge %q", what, label, a.status, a.header.Get("Www-Authenticate"))
				}
			}
		})
	})

	t.Run("without a grant", func(t *testing.T) {
		tokens := map[string]string{}
		x.each(func(name string, at front, r door.Route) {
			if tokens[at.resource] == "" {
				tokens[at.resource] = x.tokenOf(stranger, at.resource)
			}
			what := name + " " + r.Method + " " + r.Pattern
			a := x.send(r.Method, x.url(at, r.Pattern, there), tokens[at.resource], x.body(name, r))
			b := x.send(r.Method, x.url(at, r.Pattern, absent), tokens[at.resource], x.body(name, r))
			named, unnamed := there, absent
			if !strings.Contains(r.Pattern, "{") {
				named, unnamed = nil, nil // nothing was named, and the names are words that an answer may hold
			}
			if got, want := scrub(a, named), scrub(b, unnamed); got != want {
				t.Errorf("%s: what is there is told apart from what is not:\n%s\n%s", what, got, want)
			}
			if slices.Contains(seesOwn, name+" "+r.Operation) {
				if strings.Contains(a.body, `"exists"`) || strings.Contains(a.body, `"`+devVault+`"`) {
					t.Errorf("%s: a stranger sees %s", what, a.body)
				}
				return
			}
			want := 403
			switch {
			case name == "graph":
				// Every member of a tenant may look up its directory, as in the public cloud; nothing of vaults is there.
				return
			case slices.Contains(hides, name+" "+r.Operation) && !strings.Contains(r.Pattern, "{group}"):
				want = 404
			}
			if a.status != want {
				t.Errorf("%s: %d %s", what, a.status, a.body)
			}
		})
	})

	t.Run("with exactly the action", func(t *testing.T) {
		holder := x.newPerson(own, "holder")
		victim := x.newPerson(own, "victim")
		now := time.Now().UTC().Truncate(time.Microsecond)
		role := principal.Role{ID: vault.NewGUID(), Tenant: own, Name: "Exact", AssignableScopes: []string{"/"}, Created: now, Updated: now}
		x.change(func(tx store.Tx) error { return tx.PutRole(t.Context(), &role) })
		x.grant(holder, role.ID)
		x.newVault(own, x.estate.Subscription, "spare", "spare")
		spare := missing(there)
		spare["vault"], spare["group"], spare["principal"], spare["operation"] = "spare", "spare", string(victim.id), "add"
		tokens := map[string]string{}
		x.each(func(name string, at front, r door.Route) {
			if r.Action == "" {
				return
			}
			what := name + " " + r.Method + " " + r.Pattern
			action, err := authz.ParseAction(r.Action)
			if err != nil {
				t.Errorf("%s needs the action %q, which is none: %v", what, r.Action, err)
				return
			}
			values, allow := spare, principal.Permission{Actions: []string{r.Action}}
			for _, also := range alsoNeeds[name+" "+r.Operation] {
				allow.Actions = append(allow.Actions, also.String())
			}
			if action.Plane() == authz.Data && name != "arm" { // one name is an action on both planes
				values, allow = there, principal.Permission{DataActions: allow.Actions}
			}
			exact := role
			exact.Permissions = []principal.Permission{allow}
			x.change(func(tx store.Tx) error { return tx.PutRole(t.Context(), &exact) })
			if tokens[at.resource] == "" {
				tokens[at.resource] = x.tokenOf(holder, at.resource)
			}
			a := x.send(r.Method, x.url(at, r.Pattern, values), tokens[at.resource], x.body(name, r))
			// A key that is not exportable is released to nobody, whatever they may do.
			if a.status == 403 && !strings.Contains(a.body, "KeyOperationForbidden") || a.status == 401 || a.status >= 500 {
				t.Errorf("%s with %s: %d %s", what, r.Action, a.status, a.body)
			}
		})
	})
}

// TestCrossTenantMatrix asks, with tokens of one tenant, for what another has. Nothing may differ from what nobody has.
func TestCrossTenantMatrix(t *testing.T) {
	x := startTarget(t)
	x.make()
	other, _ := x.newTenant("foreign")
	intruder := x.newPerson(other, "intruder")
	for _, role := range []string{authz.Owner, authz.VaultAdministrator, authz.KeywrightAuditor, authz.KeywrightIdentityOperator} {
		x.grant(intruder, role)
	}
	if r := x.send("PUT", x.namedVault("foreign")+"/secrets/mine?api-version=7.6", x.tokenOf(intruder, x.vaultResource()), `{"value":"v"}`); r.status != 200 {
		t.Fatalf("the intruder's own vault: %+v", r)
	}
	there := x.existing()
	nowhere := missing(there, "vault", "name", "object", "group")
	nowhere["subscription"], nowhere["principal"] = string(vault.NewSubscriptionID()), vault.NewGUID()
	tokens := map[string]string{}
	x.each(func(name string, at front, r door.Route) {
		if tokens[at.resource] == "" {
			tokens[at.resource] = x.tokenOf(intruder, at.resource)
		}
		away := at
		if name == "azure" {
			away.base = x.namedVault("absent")
		}
		what := name + " " + r.Method + " " + r.Pattern
		// Names in a path of the intruder's own tenant may be free to take; only what would be taken from us counts.
		if !strings.Contains(r.Pattern, "{vault}") && !strings.Contains(r.Pattern, "{subscription}") && !strings.Contains(r.Pattern, "{principal}") && name != "azure" {
			return
		}
		a := x.send(r.Method, x.url(at, r.Pattern, there), tokens[at.resource], x.body(name, r))
		b := x.send(r.Method, x.url(away, r.Pattern, nowhere), tokens[at.resource], x.body(name, r))
		got, want := scrub(a, there), scrub(b, nowhere)
		got, want = strings.ReplaceAll(got, at.base, "BASE"), strings.ReplaceAll(want, away.base, "BASE")
		if got != want {
			t.Errorf("%s: another tenant's is told apart from nobody's:\n%s\n%s", what, got, want)
		}
		if a.status < 400 {
			t.Errorf("%s: %d %s", what, a.status, a.body)
		}
		if name == "azure" && a.header.Get("Www-Authenticate") != b.header.Get("Www-Authenticate") {
			t.Errorf("%s: challenges differ: %q and %q", what, a.header.Get("Www-Authenticate"), b.header.Get("Www-Authenticate"))
		}
	})
	if r := x.send("GET", x.namedVault(devVault)+"/secrets/exists?api-version=7.6", x.token(t, x.vaultResource()), ""); r.status != 200 || !strings.Contains(r.body, `"value":"v"`) {
		t.Errorf("after the visit: %+v", r)
	}
}
