package authz

import (
	"strings"
	"time"

	"github.com/keywright/keywright/internal/principal"
	"github.com/keywright/keywright/internal/vault"
	"pgregory.net/rapid"
)

// The oracle is a second, slow reading of Azure's rules, from strings alone: it shares no table, set, scope or matcher
// with the engine.

// oracleAction is an action as the oracle knows it.
type oracleAction struct {
	action Action
	names  []string // any of which grants it
	data   bool
	kind   vault.Kind
	words  []string
}

const kv = "microsoft.keyvault/vaults/"

var oracleActions = []oracleAction{
	{SecretGet, []string{kv + "secrets/getsecret/action"}, true, vault.Secret, []string{"get"}},
	{SecretList, []string{kv + "secrets/readmetadata/action"}, true, vault.Secret, []string{"list"}},
	{SecretDescribe, []string{kv + "secrets/readmetadata/action"}, true, vault.Secret, []string{"get", "list"}},
	{SecretSet, []string{kv + "secrets/setsecret/action"}, true, vault.Secret, []string{"set"}},
	{SecretPurge, []string{kv + "secrets/purge/action"}, true, vault.Secret, []string{"purge"}},
	{KeyGet, []string{kv + "keys/read"}, true, vault.Key, []string{"get"}},
	{KeyList, []string{kv + "keys/read"}, true, vault.Key, []string{"list"}},
	{KeyRandom, []string{"keywright/vaults/keys/random/action", kv + "keys/read"}, true, vault.Key, []string{"get"}},
	{KeyUnwrap, []string{kv + "keys/unwrap/action"}, true, vault.Key, []string{"unwrapkey"}},
	{KeyWrap, []string{kv + "keys/wrap/action"}, true, vault.Key, []string{"wrapkey"}},
	{KeyWrapPublic, []string{kv + "keys/wrap/action", kv + "keys/read"}, true, vault.Key, []string{"wrapkey"}},
	{CertificateGet, []string{kv + "certificates/read"}, true, vault.Certificate, []string{"get"}},
	{IssuerWrite, []string{kv + "certificatecas/write"}, true, vault.Certificate, []string{"setissuers", "manageissuers"}},
	{VaultRead, []string{kv + "read"}, false, "", nil},
	{VaultWrite, []string{kv + "write"}, false, "", nil},
	{NetworkRulesWrite, []string{"keywright/vaults/networkrules/write", kv + "write"}, false, "", nil},
	{RoleAssignmentWrite, []string{"microsoft.authorization/roleassignments/write"}, false, "", nil},
	{KeyManageRead, []string{kv + "keys/read"}, false, "", nil},
	{AuditRead, []string{"keywright/audit/read/action"}, false, "", nil},
}

// wild matches by trying every way to split.
func wild(pattern, name string) bool {
	if pattern == "" {
		return name == ""
	}
	if pattern[0] == '*' {
		for i := range len(name) + 1 {
			if wild(pattern[1:], name[i:]) {
				return true
			}
		}
		return false
	}
	return name != "" && pattern[0] == name[0] && wild(pattern[1:], name[1:])
}

func anyWild(patterns []string, name string) bool {
	for _, p := range patterns {
		if wild(strings.ToLower(p), name) {
			return true
		}
	}
	return false
}

func (o oracleAction) inRole(r *principal.Role) bool {
	for _, p := range r.Permissions {
		allow, except := p.Actions, p.NotActions
		if o.data {
			allow, except = p.DataActions, p.NotDataActions
		}
		for _, name := range o.names {
			if anyWild(allow, name) && !anyWild(except, name) {
				return true
			}
		}
	}
	return false
}

func (o oracleAction) inPolicy(p *vault.AccessPolicy) bool {
	list := map[vault.Kind][]string{vault.Secret: p.Secrets, vault.Key: p.Keys, vault.Certificate: p.Certificates}[o.kind]
	for _, have := range list {
		for _, word := range o.words {
			if have = strings.ToLower(have); have == word || have == "all" && word != "purge" {
				return true
			}
		}
	}
	return false
}

func liveAt(now, from, to time.Time) bool {
	return (from.IsZero() || !from.After(now)) && (to.IsZero() || to.After(now))
}

func (o oracleAction) allowed(r Request, f Facts, now time.Time) bool {
	if r.Caller.Tenant != f.Tenant || f.Vault.Tenant != f.Tenant {
		return false
	}
	ids := map[string]bool{strings.ToLower(string(r.Caller.Principal)): true}
	for _, g := range r.Caller.Groups {
		ids[strings.ToLower(string(g))] = true
	}
	resource := f.Vault.Scope()
	switch {
	case r.Name != "":
		resource += "/" + string(r.Kind) + "s/" + r.Name
	case o.data && o.kind == vault.Key && o.action != KeyRandom:
		resource += "/keys"
	}
	if o.provisioned(ids, resource, f, now) {
		return true
	}
	if o.data && f.Vault.Access == vault.AccessByPolicy {
		for i := range f.Vault.Policies {
			p := &f.Vault.Policies[i]
			if ids[strings.ToLower(p.Principal)] && p.Tenant == f.Tenant && o.inPolicy(p) && liveAt(now, p.NotBefore, p.Expires) &&
				(p.Application == "" || strings.EqualFold(p.Application, r.Caller.AppID)) {
				return true
			}
		}
		return false
	}
	for _, g := range f.Grants {
		if !ids[strings.ToLower(string(g.Principal))] || g.Tenant != f.Tenant || !liveAt(now, g.NotBefore, g.Expires) || !under(resource, g.Scope) {
			continue
		}
		for _, role := range append(BuiltinRoles(), f.Roles...) {
			if !strings.HasSuffix(strings.ToLower(g.Role), role.ID) || !role.BuiltIn && role.Tenant != f.Tenant {
				continue
			}
			if isProvisioner[role.ID] {
				continue
			}
			if role.ID == DataAccessAdministrator && o.action == RoleAssignmentWrite && r.AssignedRole != SecretsUser {
				continue
			}
			if o.inRole(role) {
				return true
			}
		}
	}
	return false
}

var isProvisioner = map[string]bool{KeywrightMachineProvisioner: true, KeywrightTemplateProvisioner: true, KeywrightDiskProvisioner: true}

// provisioned reports whether one of the platform's roles allows it, which the vault has to admit by its switch.
func (o oracleAction) provisioned(ids map[string]bool, resource string, f Facts, now time.Time) bool {
	for _, g := range f.Grants {
		if !ids[strings.ToLower(string(g.Principal))] || g.Tenant != f.Tenant || !liveAt(now, g.NotBefore, g.Expires) || !under(resource, g.Scope) {
			continue
		}
		secret := o.action == SecretGet
		if g.Role == KeywrightMachineProvisioner && f.Vault.EnabledForDeployment && secret ||
			g.Role == KeywrightTemplateProvisioner && f.Vault.EnabledForTemplateDeployment && secret ||
			g.Role == KeywrightDiskProvisioner && f.Vault.EnabledForDiskEncryption && (secret || o.action == KeyGet || o.action == KeyUnwrap) {
			return true
		}
	}
	return false
}

// under reports whether the resource is at the scope or below it, by comparing text.
func under(resource, scope string) bool {
	if strings.HasSuffix(scope, "/secrets") {
		return false // there is no such scope, but that of all keys
	}
	return scope == "/" || strings.HasPrefix(strings.ToLower(resource)+"/", strings.ToLower(scope)+"/")
}

var (
	epoch      = time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)
	tenants    = []vault.TenantID{"aaaaaaaa-0000-4000-8000-000000000001", "aaaaaaaa-0000-4000-8000-000000000002"}
	people     = []principal.ID{"bbbbbbbb-0000-4000-8000-000000000001", "bbbbbbbb-0000-4000-8000-000000000002", "bbbbbbbb-0000-4000-8000-00000000000A"}
	groups     = []principal.ID{"cccccccc-0000-4000-8000-000000000001", "cccccccc-0000-4000-8000-000000000002"}
	apps       = []string{"", "dddddddd-0000-4000-8000-000000000001", "DDDDDDDD-0000-4000-8000-000000000001", "dddddddd-0000-4000-8000-000000000002"}
	customRole = "eeeeeeee-0000-4000-8000-000000000001"
	roleIDs    = []string{SecretsUser, SecretsOfficer, VaultReader, VaultAdministrator, CryptoUser, Owner, Contributor, Reader, DataAccessAdministrator,
		KeywrightAuditor, KeywrightMachineProvisioner, KeywrightTemplateProvisioner, KeywrightDiskProvisioner, customRole, customRole, "eeeeeeee-0000-4000-8000-00000000dead", "/providers/Microsoft.Authorization/roleDefinitions/" + SecretsUser}
	scopes = []string{"/", "/subscriptions/" + sub1, "/subscriptions/" + sub2, "/subscriptions/" + sub1 + "/resourceGroups/DEV",
		"/subscriptions/" + sub1 + "/resourceGroups/dev2", vaultID, strings.ToUpper(vaultID), vaultID + "2", vaultID + "/secrets/a", vaultID + "/secrets/B",
		vaultID + "/keys/a", vaultID + "/keys", strings.ToUpper(vaultID + "/keys"), vaultID + "2/keys", vaultID + "/secrets", vaultID + "/certificates/a", vaultID + "2/secrets/a"}
	patterns = []string{"*", "*/read", "*/action", "Microsoft.KeyVault/vaults/secrets/*", "microsoft.keyvault/VAULTS/keys/read", "*/keys/*", "*/write",
		"Microsoft.KeyVault/vaults/secrets/getSecret/action", "Microsoft.KeyVault/*", "Keywright/*", "*/wrap/*", "Contoso.Other/things/read"}
	policyWords = []string{"get", "GET", "list", "set", "all", "ALL", "purge", "wrapKey", "manageissuers", "setissuers"}
)

func drawInstant(t *rapid.T, label string) time.Time {
	h := rapid.IntRange(-3, 6).Draw(t, label)
	if h == 6 {
		return time.Time{}
	}
	return epoch.Add(time.Duration(h) * time.Hour)
}

func drawHolder(t *rapid.T) principal.ID {
	return rapid.SampledFrom(append(append([]principal.ID{""}, people...), groups...)).Draw(t, "holder")
}

func drawStrings(t *rapid.T, pool []string, most int, label string) []string {
	return rapid.SliceOfN(rapid.SampledFrom(pool), 0, most).Draw(t, label)
}

func drawFacts(t *rapid.T) Facts {
	tenant := func(label string) vault.TenantID {
		return tenants[max(0, rapid.IntRange(-3, 1).Draw(t, label))]
	}
	v := &vault.Vault{Tenant: tenant("vault tenant"), Subscription: sub1, ResourceGroup: "Dev", Name: "Demo", Location: "here", Network: vault.OpenNetwork(),
		Access: rapid.SampledFrom([]vault.AccessModel{vault.AccessByRole, vault.AccessByRole, vault.AccessByPolicy}).Draw(t, "model")}
	v.EnabledForDeployment, v.EnabledForTemplateDeployment = rapid.Bool().Draw(t, "for deployment"), rapid.Bool().Draw(t, "for templates")
	v.EnabledForDiskEncryption = rapid.Bool().Draw(t, "for disks")
	f := Facts{Tenant: tenants[0], Vault: v}
	for range rapid.IntRange(3, 8).Draw(t, "grants") {
		f.Grants = append(f.Grants, &principal.Grant{ID: vault.NewGUID(), Tenant: tenant("grant tenant"), Scope: rapid.SampledFrom(scopes).Draw(t, "scope"),
			Role: rapid.SampledFrom(roleIDs).Draw(t, "role"), Principal: drawHolder(t), NotBefore: drawInstant(t, "from"), Expires: drawInstant(t, "to")})
	}
	for range rapid.IntRange(1, 5).Draw(t, "policies") {
		v.Policies = append(v.Policies, vault.AccessPolicy{Tenant: tenant("policy tenant"), Principal: string(drawHolder(t)),
			Application: rapid.SampledFrom(apps).Draw(t, "app"), Secrets: drawStrings(t, policyWords, 2, "secrets"), Keys: drawStrings(t, policyWords, 2, "keys"),
			Certificates: drawStrings(t, policyWords, 2, "certificates"), NotBefore: drawInstant(t, "from"), Expires: drawInstant(t, "to")})
	}
	f.Roles = []*principal.Role{{ID: customRole, Tenant: tenant("role tenant"), Name: "custom", Permissions: []principal.Permission{
		{Actions: drawStrings(t, patterns, 2, "actions"), NotActions: drawStrings(t, patterns, 2, "notActions"),
			DataActions: drawStrings(t, patterns, 2, "dataActions"), NotDataActions: drawStrings(t, patterns, 2, "notDataActions")},
		{DataActions: drawStrings(t, patterns, 1, "more")}}}}
	return f
}

func drawCaller(t *rapid.T) Caller {
	return Caller{Tenant: tenants[max(0, rapid.IntRange(-8, 1).Draw(t, "tenant"))], Principal: rapid.SampledFrom(people).Draw(t, "who"),
		Groups: rapid.SliceOfN(rapid.SampledFrom(groups), 1, 3).Draw(t, "groups"), AppID: rapid.SampledFrom(apps).Draw(t, "app")}
}

// everyRequest calls fn with all that the caller could ask of the vault: one drawn case becomes hundreds.
func everyRequest(c Caller, fn func(Request, oracleAction)) {
	for _, o := range oracleActions {
		for _, name := range []string{"", "a", "B"} {
			for _, kind := range []vault.Kind{vault.Secret, vault.Key, vault.Certificate} {
				for _, assigned := range []string{"", SecretsUser, Owner} {
					if name == "" && kind != vault.Secret || assigned != "" && o.action != RoleAssignmentWrite {
						continue
					}
					r := Request{Caller: c, Action: o.action, Kind: kind, Name: name, AssignedRole: assigned}
					if name == "" {
						r.Kind = ""
					}
					fn(r, o)
				}
			}
		}
	}
}

func drawNow(t *rapid.T) time.Time {
	return epoch.Add(time.Duration(rapid.IntRange(-8, 12).Draw(t, "now")) * 30 * time.Minute)
}
