package authz

import "github.com/keywright/keywright/internal/vault"

// provisioner says on which of a vault's switches a role depends. What machines, deployments and disks get while they are set up is fetched for them by
// the platform that makes them: a principal of its own, which holds a provisioner role, and reads from those vaults alone whose owners have switched it on.
// As in Azure the switch admits the platform whatever access model the vault uses, and admits nobody else: whoever holds another role as well reads by that.
type provisioner uint8

const (
	// notProvisioner is every role but those below.
	notProvisioner provisioner = iota
	// deploysMachines is governed by enabledForDeployment, deploysTemplates by enabledForTemplateDeployment, encryptsDisks by enabledForDiskEncryption
	// (Key Vault management API, VaultProperties).
	deploysMachines
	deploysTemplates
	encryptsDisks
)

// provisioners are the provisioner roles. A custom role that has their actions is an ordinary role.
var provisioners = map[string]provisioner{KeywrightMachineProvisioner: deploysMachines, KeywrightTemplateProvisioner: deploysTemplates,
	KeywrightDiskProvisioner: encryptsDisks}

// admitted reports whether the vault is switched on for whoever holds a role by it.
func (p provisioner) admitted(v *vault.Vault) bool {
	if p == notProvisioner {
		return true
	}
	if v == nil {
		return false
	}
	switch p {
	case deploysMachines:
		return v.EnabledForDeployment
	case deploysTemplates:
		return v.EnabledForTemplateDeployment
	case encryptsDisks:
		return v.EnabledForDiskEncryption
	}
	return false
}

// property is the name of the switch in the management API.
func (p provisioner) property() string {
	switch p {
	case deploysMachines:
		return "enabledForDeployment"
	case deploysTemplates:
		return "enabledForTemplateDeployment"
	}
	return "enabledForDiskEncryption"
}

// provisioned leaves of a provisioner role what a switch is for: reading, and opening a disk's key. An account that is lent, say, is not a read.
func provisioned(allows Set) Set { return allows.Intersect(SetOf(SecretGet, KeyGet, KeyUnwrap)) }
