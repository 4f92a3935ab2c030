package authz

import (
	"slices"
	"strings"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/principal"
)

// localPrefix is what the names of a Managed HSM's data actions begin with, in lower case. Clients of the administration API write roles in them.
const localPrefix = "microsoft.keyvault/managedhsm/"

// localNames are the data actions of Managed HSM local RBAC (Key Vault REST API, DataAction), less the prefix, with what each allows in a vault. An action that
// allows nothing is about something that vaults here do not have: a security domain, say. A whole backup of a vault holds its secrets and
// certificates too, so whoever may start one may read their backups.
var localNames = map[string]Set{
	"keys/read/action":                SetOf(KeyGet, KeyList, KeyRotationPolicyRead),
	"keys/write/action":               SetOf(KeyUpdate, KeyRotate, KeyRotationPolicyWrite),
	"keys/deletedkeys/read/action":    {}, // part of keys/read here, which shows live keys too
	"keys/deletedkeys/recover/action": SetOf(KeyRecover),
	"keys/deletedkeys/delete":         SetOf(KeyPurge),
	"keys/backup/action":              SetOf(KeyBackup),
	"keys/restore/action":             SetOf(KeyRestore),
	"keys/encrypt/action":             SetOf(KeyEncrypt, KeyEncryptPublic),
	"keys/decrypt/action":             SetOf(KeyDecrypt),
	"keys/wrap/action":                SetOf(KeyWrap, KeyWrapPublic),
	"keys/unwrap/action":              SetOf(KeyUnwrap),
	"keys/sign/action":                SetOf(KeySign),
	"keys/verify/action":              SetOf(KeyVerify, KeyVerifyPublic),
	"keys/create":                     SetOf(KeyCreate),
	"keys/delete":                     SetOf(KeyDelete),
	"keys/import/action":              SetOf(KeyImport),
	"keys/release/action":             SetOf(KeyRelease),
	"keys/export/action":              {},
	"roleassignments/read/action":     SetOf(RoleAssignmentRead),
	"roleassignments/write/action":    SetOf(RoleAssignmentWrite),
	"roleassignments/delete/action":   SetOf(RoleAssignmentDelete),
	"roledefinitions/read/action":     SetOf(RoleDefinitionRead),
	"roledefinitions/write/action":    SetOf(RoleDefinitionWrite),
	"roledefinitions/delete/action":   SetOf(RoleDefinitionDelete),
	"backup/start/action":             SetOf(KeyBackup, SecretBackup, CertificateBackup, KeyList, SecretList, CertificateList),
	"backup/status/action":            {},
	"restore/start/action":            SetOf(KeyRestore, SecretRestore, CertificateRestore),
	"restore/status/action":           {},
	"rng/action":                      SetOf(KeyRandom),
	"securitydomain/download/action":  {},
	"securitydomain/download/read":    {},
	"securitydomain/upload/action":    {},
	"securitydomain/upload/read":      {},
	"securitydomain/transferkey/read": {},
}

// localActions returns what the patterns allow by the names of a Managed HSM. Only patterns that begin as those names do count: a role that was written in the
// names of vaults means no more than it did.
func localActions(patterns []string) (set Set) {
	for _, p := range lowered(patterns) {
		if rest, ok := strings.CutPrefix(p, localPrefix); ok {
			for name, allows := range localNames {
				if matchLower(rest, name) {
					set = set.Union(allows)
				}
			}
		}
	}
	return set
}

// isLocal reports whether a pattern is of a name of a Managed HSM.
func isLocal(pattern string) bool {
	rest, ok := strings.CutPrefix(strings.ToLower(pattern), localPrefix)
	for name := range localNames {
		if ok && matchLower(rest, name) {
			return true
		}
	}
	return false
}

// permitted is what one permission of a role allows: its actions less its exceptions, in the names of vaults and in those of a Managed HSM. An exception in
// either names counts against both.
func permitted(p *principal.Permission) Set {
	own := matching(Control, p.Actions, p.NotActions).Union(matching(Data, p.DataActions, p.NotDataActions))
	local := localActions(p.DataActions)
	if !local.Empty() {
		local = local.Minus(matching(Data, p.NotDataActions, nil))
	}
	return own.Union(local).Minus(localActions(p.NotDataActions))
}

// The ids of the built-in roles of Managed HSM local RBAC ("Managed HSM built-in roles").
const (
	LocalAdministrator           = "a290e904-7015-4bba-90c8-60543313cdb4"
	LocalCryptoOfficer           = "515eb02d-2335-4d2d-92f2-b1cbdf9c3778"
	LocalCryptoUser              = "21dbd100-6940-42c2-9190-5d6cb909625b"
	LocalPolicyAdministrator     = "4bd23610-cdcf-4971-bdee-bdc562cc28e4"
	LocalCryptoAuditor           = "2c18b078-7c48-4d3a-af88-5a3a1b3f82b3"
	LocalCryptoServiceEncryption = "33413926-3206-4cdd-b39a-83574fe37a17"
	LocalCryptoServiceRelease    = "21dbd100-6940-42c2-9190-5d6cb909625c"
	LocalBackup                  = "7b127d3c-77bd-4e3e-bbe0-dbb8971fa7f8"
	LocalRestore                 = "6efe6056-5259-49d2-8b3d-d3d73544b20b"
)

// localDefinitions are the roles that are granted in a vault and nowhere above: their names say what they manage. "%" stands for the prefix of
// a Managed HSM's actions.
var localDefinitions = []definition{
	{id: LocalAdministrator, name: "Managed HSM Administrator", description: "Backs up and restores the whole vault and manages its roles, but does nothing with its keys.",
		dataActions: []string{"%backup/*", "%restore/*", "%roleAssignments/*", "%roleDefinitions/*", "%securitydomain/*"}},
	{id: LocalCryptoOfficer, name: "Managed HSM Crypto Officer", description: "Manages roles, and purges and recovers deleted keys, but does nothing else with keys.",
		dataActions: []string{"%keys/deletedKeys/*", "%keys/export/action", "%roleAssignments/*", "%roleDefinitions/*"}},
	{id: LocalCryptoUser, name: "Managed HSM Crypto User", description: "Does everything with keys but to purge, recover and export them.",
		dataActions: []string{"%keys/read/action", "%keys/write/action", "%keys/deletedKeys/read/action", "%keys/create", "%keys/delete", "%keys/import/action", "%keys/backup/action",
			"%keys/restore/action", "%keys/encrypt/action", "%keys/decrypt/action", "%keys/wrap/action", "%keys/unwrap/action", "%keys/sign/action", "%keys/verify/action",
			"%keys/release/action", "%rng/action"}},
	{id: LocalPolicyAdministrator, name: "Managed HSM Policy Administrator", description: "Grants and withdraws roles.",
		dataActions: []string{"%roleAssignments/*", "%roleDefinitions/read/action"}},
	{id: LocalCryptoAuditor, name: "Managed HSM Crypto Auditor", description: "Sees the attributes of keys and uses none.",
		dataActions: []string{"%keys/read/action", "%keys/deletedKeys/read/action"}},
	{id: LocalCryptoServiceEncryption, name: "Managed HSM Crypto Service Encryption User", description: "Sees keys, and wraps and unwraps with them.",
		dataActions: []string{"%keys/read/action", "%keys/wrap/action", "%keys/unwrap/action"}},
	{id: LocalCryptoServiceRelease, name: "Managed HSM Crypto Service Release User", description: "Releases keys.",
		dataActions: []string{"%keys/release/action"}},
	{id: LocalBackup, name: "Managed HSM Backup", description: "Backs up single keys and the whole vault.",
		dataActions: []string{"%backup/*", "%keys/backup/action"}},
	{id: LocalRestore, name: "Managed HSM Restore", description: "Restores single keys and the whole vault.",
		dataActions: []string{"%restore/*", "%keys/restore/action"}},
}

func expandLocal(d definition) definition {
	d.dataActions = slices.Clone(d.dataActions)
	for i, p := range d.dataActions {
		d.dataActions[i] = "Microsoft.KeyVault/managedHsm/" + strings.TrimPrefix(p, "%")
	}
	d.local = true
	return d
}

// checkLocal refuses a role of a vault above vaults.
func checkLocal(r *principal.Role, at Scope) error {
	if b, ok := builtinByID()[r.ID]; !ok || !b.local || at.level >= vaultLevel {
		return nil
	}
	return fault.New(fault.Invalid, "the role %q is granted in a vault and not above: grant it at a vault, or use one of the Key Vault roles", r.Name).
		Because("RoleDefinitionNotAssignable")
}
