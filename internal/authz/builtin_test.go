package authz

import (
	"slices"
	"strings"
	"testing"

	"github.com/keywright/keywright/internal/principal"
	"github.com/keywright/keywright/internal/vault"
)

// azureRoles are the built-in roles and their data actions (prefix Microsoft.KeyVault/vaults/), from "Azure built-in
// roles", written out apart from the table.
var azureRoles = []struct{ name, id, dataActions string }{
	{"Key Vault Administrator", "00482a5a-887f-4fb3-b363-3b7fe8e74483", "*"},
	{"Key Vault Reader", "21090545-7ca7-4776-b22c-e363652d74d2", "*/read secrets/readMetadata/action"},
	{"Key Vault Secrets Officer", "b86a8fe4-44ce-4948-aee5-eccb2c155cd7", "secrets/*"},
	{"Key Vault Secrets User", "4633458b-17de-408a-b874-0445c86b69e6", "secrets/getSecret/action secrets/readMetadata/action"},
	{"Key Vault Crypto Officer", "14b46e9e-c2b7-41b4-b07b-48a6ebf60603", "keys/* keyrotationpolicies/*"},
	{"Key Vault Crypto User", "12338af0-0e69-4776-bea7-57ae8d297424", "keys/read keys/update/action keys/backup/action keys/encrypt/action " +
		"keys/decrypt/action keys/wrap/action keys/unwrap/action keys/sign/action keys/verify/action"},
	{"Key Vault Crypto Service Encryption User", "e147488a-f6f5-4113-8e2d-b22465e65bf6", "keys/read keys/wrap/action keys/unwrap/action"},
	{"Key Vault Crypto Service Release User", "08bbd89e-9f13-488c-ac41-acfcb10c90ab", "keys/release/action"},
	{"Key Vault Certificates Officer", "a4417e6f-fecd-4de8-b567-7b0420556985", "certificatecas/* certificates/* certificatecontacts/write"},
	{"Key Vault Certificate User", "db79e9a7-68ee-4b58-9aeb-b90e7c24fcba", "certificates/read secrets/getSecret/action secrets/readMetadata/action keys/read"},
	{"Key Vault Purge Operator", "a68e7c17-0ab2-4c09-9a58-125dae29748c", ""},
	{"Key Vault Data Access Administrator", "8b54135c-b56d-4d72-a534-26097cfdc8d8", ""},
	{"Key Vault Contributor", "f25e0fa2-a7c8-4377-a976-54943a77a395", ""},
	{"Owner", "8e3af657-a8ff-443c-a75c-2fe8c4bcb635", ""},
	{"Contributor", "b24988ac-6180-42a0-ab88-20f7382dd24c", ""},
	{"Reader", "acdd72a7-3385-48ef-bd42-f606fba81ae7", ""},
	{"User Access Administrator", "18d7d88d-d35e-4fb5-a5c3-7773c20a72d9", ""},
	{"Role Based Access Control Administrator", "f58310d9-a9f6-439a-9e8d-f62e7b41a168", ""},
}

func TestEveryAzureRoleIsThere(t *testing.T) {
	for _, want := range azureRoles {
		r, ok := BuiltinRole("/subscriptions/" + sub1 + "/providers/Microsoft.Authorization/roleDefinitions/" + strings.ToUpper(want.id))
		if !ok {
			t.Errorf("%s (%s) is missing", want.name, want.id)
			continue
		}
		wantActions := strings.Fields(want.dataActions)
		for i := range wantActions {
			wantActions[i] = "Microsoft.KeyVault/vaults/" + wantActions[i]
		}
		got := slices.Clone(r.Permissions[0].DataActions)
		slices.Sort(got)
		slices.Sort(wantActions)
		if r.Name != want.name || !slices.Equal(got, wantActions) {
			t.Errorf("%s is %q with data actions %q, want %q", want.id, r.Name, got, wantActions)
		}
	}
}

func TestBuiltinRolesAreSound(t *testing.T) {
	seen := make(map[string]bool)
	for _, r := range BuiltinRoles() {
		if _, err := vault.ParseGUID(r.ID); err != nil || seen[r.ID] || seen[r.Name] || !r.BuiltIn || r.Description == "" || r.Tenant != "" {
			t.Errorf("role %q is not sound: %v", r.Name, err)
		}
		seen[r.ID], seen[r.Name] = true, true
		if Allows(r).Has(NoAction) {
			t.Errorf("role %q allows what is no action", r.Name)
		}
		if Allows(r).Empty() {
			t.Errorf("role %q allows nothing", r.Name)
		}
		// A copy under another id must pass as a custom role: whoever narrows a built-in role starts from it.
		c := *r
		c.ID = "99999999-9999-4999-8999-999999999999"
		c.AssignableScopes = []string{"/subscriptions/" + sub1}
		if err := CheckRole(&c); err != nil {
			t.Errorf("a copy of %q does not pass: %v", r.Name, err)
		}
	}
}

func TestWhatBuiltinRolesAllow(t *testing.T) {
	cases := []struct {
		role       string
		can, canno []Action
	}{
		{Owner, []Action{VaultWrite, RoleAssignmentWrite, AuditRead, SubscriptionWrite}, []Action{SecretGet, SecretSet, SecretList, KeySign}},
		{Contributor, []Action{VaultWrite, VaultAccessPoliciesWrite, NetworkRulesWrite, ResourceGroupDelete, SecretManageWrite, RoleAssignmentRead},
			[]Action{RoleAssignmentWrite, RoleAssignmentDelete, RoleDefinitionWrite, AuditRead, ChangeApprove, PrincipalCredentials, TrustedIssuerWrite, SecretGet}},
		{Reader, []Action{VaultRead, RoleAssignmentRead, ResourceGroupRead}, []Action{VaultWrite, AuditRead, SecretGet, SecretList, AccessExplain}},
		{UserAccessAdministrator, []Action{RoleAssignmentWrite, RoleDefinitionWrite, VaultRead}, []Action{VaultWrite, SecretGet, AuditRead, PrincipalCredentials}},
		{RBACAdministrator, []Action{RoleAssignmentWrite, RoleAssignmentDelete, VaultRead}, []Action{RoleDefinitionWrite, VaultWrite, SecretGet}},
		{VaultAdministrator, []Action{SecretGet, SecretPurge, KeySign, ContactsManage, VaultRead}, []Action{VaultWrite, RoleAssignmentWrite, AuditRead}},
		{VaultReader, []Action{SecretList, SecretDescribe, KeyGet, CertificateGet, VaultRead, KeyVerifyPublic}, []Action{SecretGet, KeyVerify, SecretSet, VaultWrite}},
		{SecretsUser, []Action{SecretGet, SecretList}, []Action{SecretSet, SecretUpdate, VaultRead, KeyGet}},
		{SecretsOfficer, []Action{SecretGet, SecretSet, SecretPurge, VaultRead}, []Action{KeyGet, VaultWrite}},
		{CryptoServiceEncryption, []Action{KeyWrap, KeyUnwrap, KeyGet, KeyEncryptPublic, EventSubscriptionWrite}, []Action{KeyEncrypt, KeySign, KeyDecrypt}},
		{VaultContributor, []Action{VaultWrite, VaultDelete, VaultAccessPoliciesWrite}, []Action{DeletedVaultPurge, SecretGet, RoleAssignmentWrite}},
		{PurgeOperator, []Action{DeletedVaultPurge, DeletedVaultReadAt}, []Action{VaultDelete, VaultWrite}},
		{KeywrightAuditor, []Action{AuditRead, AuditVerify, AuditExport, AccessExplain, VaultRead}, []Action{SecretGet, VaultWrite, RoleAssignmentWrite, ChangeApprove}},
		{KeywrightApprover, []Action{ChangeApprove}, []Action{AuditRead, VaultWrite, SecretGet, SecretSet}},
		{KeywrightSecretsWriter, []Action{SecretSet, SecretUpdate, SecretList}, []Action{SecretGet, SecretBackup, SecretDelete}},
		{KeywrightIdentityOperator, []Action{PrincipalCredentials, GroupWrite, TrustedIssuerDelete}, []Action{RoleAssignmentWrite, TenantWrite, SecretGet}},
	}
	for _, c := range cases {
		r, ok := BuiltinRole(c.role)
		if !ok {
			t.Fatalf("no role %s", c.role)
		}
		allowed := Allows(r)
		for _, a := range c.can {
			if !allowed.Has(a) {
				t.Errorf("%s does not allow %s", r.Name, a)
			}
		}
		for _, a := range c.canno {
			if allowed.Has(a) {
				t.Errorf("%s allows %s (%d)", r.Name, a, a)
			}
		}
	}
}

func TestNotActionsTakeFromTheirOwnPermissionOnly(t *testing.T) {
	r := &principal.Role{Permissions: []principal.Permission{
		{DataActions: []string{"Microsoft.KeyVault/vaults/secrets/*"}, NotDataActions: []string{"*/PURGE/*"}},
		{DataActions: []string{"Microsoft.KeyVault/vaults/keys/purge/action"}},
	}}
	if a := Allows(r); a.Has(SecretPurge) || !a.Has(SecretGet) || !a.Has(KeyPurge) {
		t.Errorf("allowed: %v", a.Actions())
	}
	// What is taken away by one name may still be had by the other: whoever reads a public key can use it anywhere.
	r = &principal.Role{Permissions: []principal.Permission{{DataActions: []string{"*"}, NotDataActions: []string{"*/encrypt/action"}}}}
	if a := Allows(r); a.Has(KeyEncrypt) || !a.Has(KeyEncryptPublic) {
		t.Errorf("allowed: %v", a.Actions())
	}
}
