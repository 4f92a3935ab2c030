package authz

import (
	"strings"
	"sync"

	"github.com/keywright/keywright/internal/vault"
)

// The actions. The comment of a row says what the name does not.
const (
	// NoAction is the zero value: a request that forgot its action is for nothing, and is refused.
	NoAction Action = iota
	SecretGet
	SecretList
	// SecretDescribe looks at one secret without its value.
	SecretDescribe
	SecretGetDeleted
	SecretSet
	SecretUpdate
	SecretDelete
	SecretBackup
	SecretRestore
	SecretRecover
	SecretPurge

	KeyGet
	KeyList
	KeyCreate
	KeyImport
	KeyUpdate
	KeyDelete
	KeyBackup
	KeyRestore
	KeyRecover
	KeyPurge
	KeyEncrypt
	KeyDecrypt
	KeyWrap
	KeyUnwrap
	KeySign
	KeyVerify
	// The public operations of asymmetric keys: under roles, keys/read allows them as well, since it gives out the public
	// key. Under access policies they need the same word as for a symmetric key.
	KeyEncryptPublic
	KeyWrapPublic
	KeyVerifyPublic
	KeyRelease
	KeyRotate
	KeyRotationPolicyRead
	KeyRotationPolicyWrite
	// KeyRandom is drawing random bytes, which tell nothing of any key.
	KeyRandom

	CertificateGet
	CertificateList
	CertificateCreate
	CertificateImport
	CertificateUpdate
	CertificateDelete
	CertificateBackup
	CertificateRestore
	CertificateRecover
	CertificatePurge
	IssuerGet
	IssuerList
	IssuerWrite
	IssuerDelete
	// ContactsManage is reading and writing a vault's certificate contacts: Azure has no action of its own for reading.
	ContactsManage

	VaultRead
	VaultWrite
	VaultDelete
	VaultDeploy
	VaultAccessPoliciesWrite
	// NetworkRulesWrite is part of writing a vault, and can also be granted alone.
	NetworkRulesWrite
	DeletedVaultRead
	DeletedVaultReadAt
	DeletedVaultPurge
	VaultCheckName
	VaultOperationsRead
	VaultOperationResultsRead
	// The Manage actions are those of the management API, which writes secrets and keys but never reads a value.
	SecretManageRead
	SecretManageWrite
	KeyManageRead
	KeyManageWrite

	RoleAssignmentRead
	RoleAssignmentWrite
	RoleAssignmentDelete
	RoleDefinitionRead
	RoleDefinitionWrite
	RoleDefinitionDelete
	PermissionsRead

	SubscriptionRead
	SubscriptionWrite
	ResourcesRead
	ResourceGroupRead
	ResourceGroupWrite
	ResourceGroupDelete
	IdentityRead
	IdentityWrite
	IdentityDelete
	SiteRead
	SiteWrite
	SiteDelete
	EventSubscriptionRead
	EventSubscriptionWrite
	EventSubscriptionDelete

	// The audit actions are named .../action, so that */read, which makes a Reader, does not make an auditor.
	AuditRead
	AuditVerify
	AuditExport
	AccessExplain
	ChangeApprove
	TenantRead
	TenantWrite
	PrincipalRead
	PrincipalWrite
	PrincipalDelete
	// PrincipalCredentials is adding and removing the credentials of others: whoever may, can act as them.
	PrincipalCredentials
	GroupRead
	GroupWrite
	GroupDelete
	TrustedIssuerRead
	TrustedIssuerWrite
	TrustedIssuerDelete
	// SchedulesResume lets the rotations of a whole tenant start by schedule again after the clock was moved.
	SchedulesResume
	NodeRead
	// NodeDelete says that a node that is gone answers nobody any more, which lets revocations go on.
	NodeDelete
	// Backups of the whole installation.
	BackupRead
	BackupWrite
	BackupVerify
	BackupDownload
	BackupDelete

	// The rotation actions are those of the native API. A policy says by whose right a target is changed, so writing one also needs the values
	// that it names.
	RotationPolicyRead
	RotationPolicyWrite
	RotationRead
	// RotationRun starts and plans runs, and submits the values of manual steps; RotationRepair aborts, replays and adopts.
	RotationRun
	RotationRepair
	RotationApprove
	// VersionRevoke ends a version under the consumers that still hold it.
	VersionRevoke
	// LeaseIssue leases accounts by a dynamic policy, and renews and returns one's own; LeaseRevoke ends those of others.
	LeaseIssue
	LeaseRevoke
)

// permission is the access-policy side of a row.
type permission struct {
	kind  vault.Kind
	words []string
}

func secret(words ...string) permission      { return permission{vault.Secret, words} }
func key(words ...string) permission         { return permission{vault.Key, words} }
func certificate(words ...string) permission { return permission{vault.Certificate, words} }

func data(name string, p permission, duty Duty) row {
	return row{name: name, plane: Data, kind: p.kind, words: p.words, duty: duty}
}

// public is a data action that keys/read grants as well. It is no duty: anybody who was ever given the public key can
// perform it without us.
func public(name string, p permission) row {
	r := data(name, p, NoDuty)
	r.also = "~/keys/read"
	return r
}

func control(name string, duty Duty) row { return row{name: name, duty: duty} }

// own is a data action of our own, which the named Azure action grants as well, so that Azure's roles know what to do with it.
func own(name, also string, p permission, duty Duty) row {
	r := data("Keywright/vaults/"+name, p, duty)
	r.also = also
	return r
}

func rotation(name, also string, p permission, duty Duty) row {
	return own("rotations/"+name, also, p, duty)
}

// table holds every action. Names and meanings: "Azure permissions for Security" (Microsoft.KeyVault); which policy word
// goes with which action: the Key Vault guide "Migrate from vault access policy to Azure role-based access control".
var table = [...]row{
	SecretGet:        data("~/secrets/getSecret/action", secret("get"), CanUse),
	SecretList:       data("~/secrets/readMetadata/action", secret("list"), NoDuty),
	SecretDescribe:   data("~/secrets/readMetadata/action", secret("get", "list"), NoDuty),
	SecretGetDeleted: data("~/secrets/readMetadata/action", secret("get"), NoDuty),
	SecretSet:        data("~/secrets/setSecret/action", secret("set"), CanChange),
	SecretUpdate:     data("~/secrets/update/action", secret("set"), CanChange),
	SecretDelete:     data("~/secrets/delete", secret("delete"), CanChange),
	SecretBackup:     data("~/secrets/backup/action", secret("backup"), CanChange),
	SecretRestore:    data("~/secrets/restore/action", secret("restore"), CanChange),
	SecretRecover:    data("~/secrets/recover/action", secret("recover"), CanChange),
	SecretPurge:      data("~/secrets/purge/action", secret("purge"), CanChange),

	KeyGet:                 data("~/keys/read", key("get"), NoDuty),
	KeyList:                data("~/keys/read", key("list"), NoDuty),
	KeyCreate:              data("~/keys/create/action", key("create"), CanChange),
	KeyImport:              data("~/keys/import/action", key("import"), CanChange),
	KeyUpdate:              data("~/keys/update/action", key("update"), CanChange),
	KeyDelete:              data("~/keys/delete", key("delete"), CanChange),
	KeyBackup:              data("~/keys/backup/action", key("backup"), CanChange),
	KeyRestore:             data("~/keys/restore/action", key("restore"), CanChange),
	KeyRecover:             data("~/keys/recover/action", key("recover"), CanChange),
	KeyPurge:               data("~/keys/purge/action", key("purge"), CanChange),
	KeyEncrypt:             data("~/keys/encrypt/action", key("encrypt"), CanUse),
	KeyDecrypt:             data("~/keys/decrypt/action", key("decrypt"), CanUse),
	KeyWrap:                data("~/keys/wrap/action", key("wrapKey"), CanUse),
	KeyUnwrap:              data("~/keys/unwrap/action", key("unwrapKey"), CanUse),
	KeySign:                data("~/keys/sign/action", key("sign"), CanUse),
	KeyVerify:              data("~/keys/verify/action", key("verify"), CanUse),
	KeyEncryptPublic:       public("~/keys/encrypt/action", key("encrypt")),
	KeyWrapPublic:          public("~/keys/wrap/action", key("wrapKey")),
	KeyVerifyPublic:        public("~/keys/verify/action", key("verify")),
	KeyRelease:             data("~/keys/release/action", key("release"), CanUse),
	KeyRotate:              data("~/keys/rotate/action", key("rotate"), CanChange),
	KeyRotationPolicyRead:  data("~/keyrotationpolicies/read", key("getrotationpolicy"), NoDuty),
	KeyRotationPolicyWrite: data("~/keyrotationpolicies/write", key("setrotationpolicy"), CanChange),

	KeyRandom: own("keys/random/action", "~/keys/read", key("get"), NoDuty),

	CertificateGet:     data("~/certificates/read", certificate("get"), NoDuty),
	CertificateList:    data("~/certificates/read", certificate("list"), NoDuty),
	CertificateCreate:  data("~/certificates/create/action", certificate("create"), CanChange),
	CertificateImport:  data("~/certificates/import/action", certificate("import"), CanChange),
	CertificateUpdate:  data("~/certificates/update/action", certificate("update"), CanChange),
	CertificateDelete:  data("~/certificates/delete", certificate("delete"), CanChange),
	CertificateBackup:  data("~/certificates/backup/action", certificate("backup"), CanChange),
	CertificateRestore: data("~/certificates/restore/action", certificate("restore"), CanChange),
	CertificateRecover: data("~/certificates/recover/action", certificate("recover"), CanChange),
	CertificatePurge:   data("~/certificates/purge/action", certificate("purge"), CanChange),
	IssuerGet:          data("~/certificatecas/read", certificate("getissuers"), NoDuty),
	IssuerList:         data("~/certificatecas/read", certificate("listissuers"), NoDuty),
	IssuerWrite:        data("~/certificatecas/write", certificate("setissuers", "manageissuers"), CanChange),
	IssuerDelete:       data("~/certificatecas/delete", certificate("deleteissuers", "manageissuers"), CanChange),
	ContactsManage:     data("~/certificatecontacts/write", certificate("managecontacts"), CanChange),

	VaultRead:                 control("~/read", NoDuty),
	VaultWrite:                control("~/write", CanChange),
	VaultDelete:               control("~/delete", CanChange),
	VaultDeploy:               control("~/deploy/action", CanUse),
	VaultAccessPoliciesWrite:  control("~/accessPolicies/write", CanChange),
	NetworkRulesWrite:         {name: "Keywright/vaults/networkRules/write", also: "~/write", duty: CanChange},
	DeletedVaultRead:          control("Microsoft.KeyVault/deletedVaults/read", NoDuty),
	DeletedVaultReadAt:        control("Microsoft.KeyVault/locations/deletedVaults/read", NoDuty),
	DeletedVaultPurge:         control("Microsoft.KeyVault/locations/deletedVaults/purge/action", CanChange),
	VaultCheckName:            control("Microsoft.KeyVault/checkNameAvailability/read", NoDuty),
	VaultOperationsRead:       control("Microsoft.KeyVault/operations/read", NoDuty),
	VaultOperationResultsRead: control("Microsoft.KeyVault/locations/operationResults/read", NoDuty),
	SecretManageRead:          control("~/secrets/read", NoDuty),
	SecretManageWrite:         control("~/secrets/write", CanChange),
	KeyManageRead:             control("~/keys/read", NoDuty),
	KeyManageWrite:            control("~/keys/write", CanChange),

	RoleAssignmentRead:   control("Microsoft.Authorization/roleAssignments/read", NoDuty),
	RoleAssignmentWrite:  control("Microsoft.Authorization/roleAssignments/write", CanChange),
	RoleAssignmentDelete: control("Microsoft.Authorization/roleAssignments/delete", CanChange),
	RoleDefinitionRead:   control("Microsoft.Authorization/roleDefinitions/read", NoDuty),
	RoleDefinitionWrite:  control("Microsoft.Authorization/roleDefinitions/write", CanChange),
	RoleDefinitionDelete: control("Microsoft.Authorization/roleDefinitions/delete", CanChange),
	PermissionsRead:      control("Microsoft.Authorization/permissions/read", NoDuty),

	SubscriptionRead:        control("Microsoft.Resources/subscriptions/read", NoDuty),
	SubscriptionWrite:       control("Keywright/subscriptions/write", CanChange),
	ResourcesRead:           control("Microsoft.Resources/subscriptions/resources/read", NoDuty),
	ResourceGroupRead:       control("Microsoft.Resources/subscriptions/resourceGroups/read", NoDuty),
	ResourceGroupWrite:      control("Microsoft.Resources/subscriptions/resourceGroups/write", CanChange),
	ResourceGroupDelete:     control("Microsoft.Resources/subscriptions/resourceGroups/delete", CanChange),
	IdentityRead:            control("Microsoft.ManagedIdentity/userAssignedIdentities/read", NoDuty),
	IdentityWrite:           control("Microsoft.ManagedIdentity/userAssignedIdentities/write", CanChange),
	IdentityDelete:          control("Microsoft.ManagedIdentity/userAssignedIdentities/delete", CanChange),
	SiteRead:                control("Microsoft.Web/sites/read", NoDuty),
	SiteWrite:               control("Microsoft.Web/sites/write", CanChange),
	SiteDelete:              control("Microsoft.Web/sites/delete", CanChange),
	EventSubscriptionRead:   control("Microsoft.EventGrid/eventSubscriptions/read", NoDuty),
	EventSubscriptionWrite:  control("Microsoft.EventGrid/eventSubscriptions/write", CanChange),
	EventSubscriptionDelete: control("Microsoft.EventGrid/eventSubscriptions/delete", CanChange),

	AuditRead:            control("Keywright/audit/read/action", CanAudit),
	AuditVerify:          control("Keywright/audit/verify/action", CanAudit),
	AuditExport:          control("Keywright/audit/export/action", CanAudit),
	AccessExplain:        control("Keywright/access/explain/action", NoDuty),
	ChangeApprove:        control("Keywright/changes/approve/action", CanApprove),
	TenantRead:           control("Keywright/tenant/read", NoDuty),
	TenantWrite:          control("Keywright/tenant/write", CanChange),
	PrincipalRead:        control("Keywright/principals/read", NoDuty),
	PrincipalWrite:       control("Keywright/principals/write", CanChange),
	PrincipalDelete:      control("Keywright/principals/delete", CanChange),
	PrincipalCredentials: control("Keywright/principals/credentials/write", CanChange),
	GroupRead:            control("Keywright/groups/read", NoDuty),
	GroupWrite:           control("Keywright/groups/write", CanChange),
	GroupDelete:          control("Keywright/groups/delete", CanChange),
	TrustedIssuerRead:    control("Keywright/trustedIssuers/read", NoDuty),
	TrustedIssuerWrite:   control("Keywright/trustedIssuers/write", CanChange),
	TrustedIssuerDelete:  control("Keywright/trustedIssuers/delete", CanChange),
	SchedulesResume:      control("Keywright/rotations/resume/action", CanChange),
	NodeRead:             control("Keywright/nodes/read", NoDuty),
	NodeDelete:           control("Keywright/nodes/delete", CanChange),
	BackupRead:           control("Keywright/backups/read", NoDuty),
	BackupWrite:          control("Keywright/backups/write", CanChange),
	BackupVerify:         control("Keywright/backups/verify/action", CanUse),
	BackupDownload:       control("Keywright/backups/download/action", CanUse),
	BackupDelete:         control("Keywright/backups/delete", CanChange),

	RotationPolicyRead:  rotation("policies/read", "~/secrets/readMetadata/action", secret("list"), NoDuty),
	RotationPolicyWrite: rotation("policies/write", "~/secrets/setSecret/action", secret("set"), CanChange),
	RotationRead:        rotation("read", "~/secrets/readMetadata/action", secret("list"), NoDuty),
	RotationRun:         rotation("run/action", "~/secrets/setSecret/action", secret("set"), CanChange),
	RotationRepair:      rotation("repair/action", "~/secrets/setSecret/action", secret("set"), CanChange),
	RotationApprove:     rotation("approve/action", "", secret(), CanApprove),
	VersionRevoke:       rotation("revoke/action", "~/secrets/delete", secret("delete"), CanChange),
	LeaseIssue:          rotation("leases/issue/action", "~/secrets/getSecret/action", secret("get"), CanUse),
	LeaseRevoke:         rotation("leases/revoke/action", "~/secrets/delete", secret("delete"), CanChange),
}

// vaults is what a leading "~" in the tables of this package stands for.
const vaults = "Microsoft.KeyVault/vaults"

func expand(name string) string {
	if rest, ok := strings.CutPrefix(name, "~"); ok {
		return vaults + rest
	}
	return name
}

// names returns the full names by action.
var names = sync.OnceValue(func() []string {
	list := make([]string, len(table))
	for i, r := range table {
		list[i] = expand(r.name)
	}
	return list
})
