package authz

import (
	"slices"
	"sync"

	"github.com/keywright/keywright/internal/principal"
)

// The ids of the built-in roles, from "Azure built-in roles" and, for the Keywright ones, our own.
const (
	Owner                     = "8e3af657-a8ff-443c-a75c-2fe8c4bcb635"
	Contributor               = "b24988ac-6180-42a0-ab88-20f7382dd24c"
	Reader                    = "acdd72a7-3385-48ef-bd42-f606fba81ae7"
	UserAccessAdministrator   = "18d7d88d-d35e-4fb5-a5c3-7773c20a72d9"
	RBACAdministrator         = "f58310d9-a9f6-439a-9e8d-f62e7b41a168"
	VaultAdministrator        = "00482a5a-887f-4fb3-b363-3b7fe8e74483"
	VaultReader               = "21090545-7ca7-4776-b22c-e363652d74d2"
	SecretsOfficer            = "b86a8fe4-44ce-4948-aee5-eccb2c155cd7"
	SecretsUser               = "4633458b-17de-408a-b874-0445c86b69e6"
	CryptoOfficer             = "14b46e9e-c2b7-41b4-b07b-48a6ebf60603"
	CryptoUser                = "12338af0-0e69-4776-bea7-57ae8d297424"
	CryptoServiceEncryption   = "e147488a-f6f5-4113-8e2d-b22465e65bf6"
	CryptoServiceRelease      = "08bbd89e-9f13-488c-ac41-acfcb10c90ab"
	CertificatesOfficer       = "a4417e6f-fecd-4de8-b567-7b0420556985"
	CertificateUser           = "db79e9a7-68ee-4b58-9aeb-b90e7c24fcba"
	PurgeOperator             = "a68e7c17-0ab2-4c09-9a58-125dae29748c"
	DataAccessAdministrator   = "8b54135c-b56d-4d72-a534-26097cfdc8d8"
	VaultContributor          = "f25e0fa2-a7c8-4377-a976-54943a77a395"
	KeywrightAuditor          = "6b8d3f0e-5c1a-4f27-9d3e-a2f4c1b7e901"
	KeywrightApprover         = "6b8d3f0e-5c1a-4f27-9d3e-a2f4c1b7e902"
	KeywrightSecretsWriter    = "6b8d3f0e-5c1a-4f27-9d3e-a2f4c1b7e903"
	KeywrightIdentityOperator = "6b8d3f0e-5c1a-4f27-9d3e-a2f4c1b7e904"
	KeywrightRotationOperator = "6b8d3f0e-5c1a-4f27-9d3e-a2f4c1b7e905"
	KeywrightScheduleOperator = "6b8d3f0e-5c1a-4f27-9d3e-a2f4c1b7e906"
	KeywrightBackupOperator   = "6b8d3f0e-5c1a-4f27-9d3e-a2f4c1b7e907"

	KeywrightMachineProvisioner  = "6b8d3f0e-5c1a-4f27-9d3e-a2f4c1b7e911"
	KeywrightTemplateProvisioner = "6b8d3f0e-5c1a-4f27-9d3e-a2f4c1b7e912"
	KeywrightDiskProvisioner     = "6b8d3f0e-5c1a-4f27-9d3e-a2f4c1b7e913"
)

// definition is a row of the table of built-in roles. Patterns may begin with "~" for Microsoft.KeyVault/vaults.
type definition struct {
	id, name, description string
	actions, notActions   []string
	dataActions           []string
	assigns               []string
	// local roles are granted in a vault and not above.
	local bool
}

// vaultView is what the Key Vault data roles may see of the control plane. Microsoft.KeyVault/vaults/read is our addition:
// read strictly, the pattern vaults/*/read of Azure's definition would not let the holder see the vault itself.
var vaultView = []string{"Microsoft.Authorization/*/read", "Microsoft.Insights/alertRules/*", "Microsoft.Resources/deployments/*",
	"Microsoft.Resources/subscriptions/resourceGroups/read", "Microsoft.Support/*", "Microsoft.KeyVault/checkNameAvailability/read",
	"Microsoft.KeyVault/deletedVaults/read", "Microsoft.KeyVault/locations/*/read", "~/read", "~/*/read", "Microsoft.KeyVault/operations/read"}

// definitions holds every built-in role. The roles of Azure have Azure's data actions exactly. Contributor leaves out, in
// addition to what Azure's does, our own actions by which its holder could become somebody else, approve or audit.
var definitions = []definition{
	{id: Owner, name: "Owner", description: "Manages everything, including who has access.", actions: []string{"*"}},
	{id: Contributor, name: "Contributor", description: "Manages every resource, but not who has access.", actions: []string{"*"},
		notActions: []string{"Microsoft.Authorization/*/Delete", "Microsoft.Authorization/*/Write", "Microsoft.Authorization/elevateAccess/Action",
			"Microsoft.Blueprint/blueprintAssignments/write", "Microsoft.Blueprint/blueprintAssignments/delete",
			"Microsoft.Compute/galleries/share/action", "Microsoft.Purview/consents/write", "Microsoft.Purview/consents/delete",
			"Microsoft.Resources/deploymentStacks/manageDenySetting/action",
			"Keywright/*/write", "Keywright/*/delete", "Keywright/audit/*", "Keywright/changes/*", "Keywright/backups/*"}},
	{id: Reader, name: "Reader", description: "Sees every resource, and changes none.", actions: []string{"*/read"}},
	{id: UserAccessAdministrator, name: "User Access Administrator", description: "Manages who has access to resources.",
		actions: []string{"*/read", "Microsoft.Authorization/*", "Microsoft.Support/*"}},
	{id: RBACAdministrator, name: "Role Based Access Control Administrator", description: "Manages access by assigning roles, and in no other way.",
		actions: []string{"Microsoft.Authorization/roleAssignments/write", "Microsoft.Authorization/roleAssignments/delete", "*/read", "Microsoft.Support/*"}},

	{id: VaultAdministrator, name: "Key Vault Administrator", description: "Does everything with the objects of a vault, but does not manage the vault or its access.",
		actions: vaultView, dataActions: []string{"~/*"}},
	{id: VaultReader, name: "Key Vault Reader", description: "Sees vaults and the properties of their objects, but no secret value and no key material.",
		actions: vaultView, dataActions: []string{"~/*/read", "~/secrets/readMetadata/action"}},
	{id: SecretsOfficer, name: "Key Vault Secrets Officer", description: "Does everything with the secrets of a vault, but does not manage access.",
		actions: vaultView, dataActions: []string{"~/secrets/*"}},
	{id: SecretsUser, name: "Key Vault Secrets User", description: "Reads the values of secrets.",
		dataActions: []string{"~/secrets/getSecret/action", "~/secrets/readMetadata/action"}},
	{id: CryptoOfficer, name: "Key Vault Crypto Officer", description: "Does everything with the keys of a vault, but does not manage access.",
		actions: vaultView, dataActions: []string{"~/keys/*", "~/keyrotationpolicies/*"}},
	{id: CryptoUser, name: "Key Vault Crypto User", description: "Performs cryptographic operations with keys.",
		dataActions: []string{"~/keys/read", "~/keys/update/action", "~/keys/backup/action", "~/keys/encrypt/action", "~/keys/decrypt/action",
			"~/keys/wrap/action", "~/keys/unwrap/action", "~/keys/sign/action", "~/keys/verify/action"}},
	{id: CryptoServiceEncryption, name: "Key Vault Crypto Service Encryption User", description: "Sees keys, and wraps and unwraps with them.",
		actions: []string{"Microsoft.EventGrid/eventSubscriptions/write", "Microsoft.EventGrid/eventSubscriptions/read",
			"Microsoft.EventGrid/eventSubscriptions/delete"},
		dataActions: []string{"~/keys/read", "~/keys/wrap/action", "~/keys/unwrap/action"}},
	{id: CryptoServiceRelease, name: "Key Vault Crypto Service Release User", description: "Releases keys.",
		dataActions: []string{"~/keys/release/action"}},
	{id: CertificatesOfficer, name: "Key Vault Certificates Officer", description: "Does everything with the certificates of a vault, but does not manage access.",
		actions: vaultView, dataActions: []string{"~/certificatecas/*", "~/certificates/*", "~/certificatecontacts/write"}},
	{id: CertificateUser, name: "Key Vault Certificate User", description: "Reads certificates whole, with their secrets and keys.",
		dataActions: []string{"~/certificates/read", "~/secrets/getSecret/action", "~/secrets/readMetadata/action", "~/keys/read"}},
	{id: PurgeOperator, name: "Key Vault Purge Operator", description: "Destroys soft-deleted vaults for good.",
		actions: []string{"Microsoft.KeyVault/locations/deletedVaults/read", "Microsoft.KeyVault/locations/deletedVaults/purge/action",
			"Microsoft.KeyVault/locations/operationResults/read", "Microsoft.Resources/subscriptions/resourceGroups/read"}},
	{id: DataAccessAdministrator, name: "Key Vault Data Access Administrator",
		description: "Manages access to vaults by assigning and removing the Key Vault data roles, and no other role.",
		actions: []string{"Microsoft.Authorization/roleAssignments/write", "Microsoft.Authorization/roleAssignments/delete", "Microsoft.Authorization/*/read",
			"Microsoft.Resources/deployments/*", "Microsoft.Resources/subscriptions/resourceGroups/read", "Microsoft.Resources/subscriptions/read",
			"Microsoft.Management/managementGroups/read", "Microsoft.Support/*", "~/read", "~/*/read"},
		// The condition that is part of Azure's definition names these eight.
		assigns: []string{VaultAdministrator, CertificatesOfficer, CryptoOfficer, CryptoServiceEncryption, CryptoUser, VaultReader, SecretsOfficer, SecretsUser}},
	{id: VaultContributor, name: "Key Vault Contributor", description: "Manages vaults, but has no access to what they keep.",
		actions: []string{"Microsoft.Authorization/*/read", "Microsoft.Insights/alertRules/*", "Microsoft.KeyVault/*", "Microsoft.Resources/deployments/*",
			"Microsoft.Resources/subscriptions/resourceGroups/read", "Microsoft.Support/*"},
		notActions: []string{"Microsoft.KeyVault/locations/deletedVaults/purge/action", "Microsoft.KeyVault/hsmPools/*", "Microsoft.KeyVault/managedHsms/*"}},

	{id: KeywrightAuditor, name: "Keywright Auditor", description: "Reads, verifies and exports the audit log and explains access; sees no value and changes nothing.",
		actions: []string{"Keywright/audit/*", "Keywright/access/explain/action", "*/read"}},
	{id: KeywrightApprover, name: "Keywright Approver", description: "Approves the changes of others, and makes none.",
		actions:     []string{"Keywright/changes/approve/action", "~/read", "~/*/read"},
		dataActions: []string{"Keywright/vaults/rotations/approve/action", "Keywright/vaults/rotations/read", "Keywright/vaults/rotations/policies/read"}},
	{id: KeywrightSecretsWriter, name: "Keywright Secrets Writer", description: "Sets and updates secrets without being able to read their values.",
		dataActions: []string{"~/secrets/setSecret/action", "~/secrets/update/action", "~/secrets/readMetadata/action"}},
	{id: KeywrightIdentityOperator, name: "Keywright Identity Administrator", description: "Manages users, service principals, groups and trusted issuers, and so can act as any of them.",
		actions: []string{"Keywright/principals/*", "Keywright/groups/*", "Keywright/trustedIssuers/*", "Keywright/tenant/read"}},
	{id: KeywrightRotationOperator, name: "Keywright Rotation Operator", description: "Runs and repairs rotations, without being able to read or set a value.",
		dataActions: []string{"Keywright/vaults/rotations/read", "Keywright/vaults/rotations/policies/read", "Keywright/vaults/rotations/run/action",
			"Keywright/vaults/rotations/repair/action", "Keywright/vaults/rotations/leases/revoke/action", "~/secrets/readMetadata/action"}},
	{id: KeywrightScheduleOperator, name: "Keywright Schedule Operator", description: "Lets the rotations of the tenant start by schedule again after the clock was moved.",
		actions: []string{"Keywright/rotations/resume/action"}},
	{id: KeywrightBackupOperator, name: "Keywright Backup Operator", description: "Makes, proves, takes away and deletes backups of the whole installation, which it cannot open.",
		actions: []string{"Keywright/backups/*"}},
	{id: KeywrightMachineProvisioner, name: "Keywright Machine Provisioner",
		description: "Reads secrets and certificates for machines that it makes, from vaults that are enabled for deployment, and from no others.",
		dataActions: []string{"~/secrets/getSecret/action"}},
	{id: KeywrightTemplateProvisioner, name: "Keywright Template Provisioner",
		description: "Reads secrets for deployments of templates, from vaults that are enabled for template deployment, and from no others.",
		dataActions: []string{"~/secrets/getSecret/action"}},
	{id: KeywrightDiskProvisioner, name: "Keywright Disk Provisioner",
		description: "Reads secrets and unwraps keys for encrypted disks, in vaults that are enabled for disk encryption, and in no others.",
		dataActions: []string{"~/secrets/getSecret/action", "~/keys/read", "~/keys/unwrap/action"}},
}

// builtin is a built-in role in both forms.
type builtin struct {
	role     *principal.Role
	compiled *compiledRole
	local    bool
}

var builtins = sync.OnceValue(func() []builtin {
	all := slices.Clone(definitions)
	for _, d := range localDefinitions {
		all = append(all, expandLocal(d))
	}
	list := make([]builtin, len(all))
	for i, d := range all {
		r := &principal.Role{ID: d.id, Name: d.name, Description: d.description, BuiltIn: true, AssignableScopes: []string{"/"},
			Permissions: []principal.Permission{{Actions: expandAll(d.actions), NotActions: expandAll(d.notActions), DataActions: expandAll(d.dataActions)}}}
		c := compileRole(r)
		c.assigns = d.assigns
		if c.provisions = provisioners[d.id]; c.provisions != notProvisioner {
			c.allows = provisioned(c.allows)
		}
		list[i] = builtin{r, c, d.local}
	}
	return list
})

var builtinByID = sync.OnceValue(func() map[string]builtin {
	byID := make(map[string]builtin, len(definitions)+len(localDefinitions))
	for _, b := range builtins() {
		byID[b.role.ID] = b
	}
	return byID
})

func expandAll(patterns []string) []string {
	list := make([]string, len(patterns))
	for i, p := range patterns {
		list[i] = expand(p)
	}
	return list
}

// BuiltinRoles lists the built-in roles. They are shared and must not be changed.
func BuiltinRoles() []*principal.Role {
	list := make([]*principal.Role, len(builtins()))
	for i, b := range builtins() {
		list[i] = b.role
	}
	return list
}

// BuiltinRole finds a built-in role by its GUID or resource id.
func BuiltinRole(id string) (*principal.Role, bool) {
	b, ok := builtinByID()[RoleID(id)]
	return b.role, ok
}
