package door

import "github.com/keywright/keywright/internal/vault"

// RecoveryLevel says how deleted objects of the vault can be had back (DeletionRecoveryLevel of the wire model).
func RecoveryLevel(v *vault.Vault) string {
	customized := v.RetentionDays < vault.MaxRetentionDays
	switch {
	case customized && v.PurgeProtection:
		return "CustomizedRecoverable"
	case customized:
		return "CustomizedRecoverable+Purgeable"
	case v.PurgeProtection:
		return "Recoverable"
	default:
		return "Recoverable+Purgeable"
	}
}
