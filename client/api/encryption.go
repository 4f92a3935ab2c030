package api

import "time"

// VaultEncryption is the customer's key that protects the keys of a vault, beside the tenant's.
type VaultEncryption struct {
	// KeyVault and Key name the key, in a vault of the same tenant.
	KeyVault string `json:"keyVault"`
	Key      string `json:"key"`
	// Version is the only version that is used; absent when the key is followed through its rotations.
	Version string `json:"version,omitempty"`
	// BackupDays is how long backups of what the vault keeps are kept: so long after the last of them the key cannot be purged.
	BackupDays int       `json:"backupDays"`
	Since      time.Time `json:"since,omitzero"`
	// WrappedWith are the versions that wrap the vault's keys now. More than one, or another than the current one, is rewrapped within the hour.
	WrappedWith []string `json:"wrappedWith,omitempty"`
	// Problem is why the key cannot be used now, so that the vault is closed; absent while it can.
	Problem string `json:"problem,omitempty"`
}

// SetVaultEncryption chooses a customer's key for a vault.
type SetVaultEncryption struct {
	KeyVault string `json:"keyVault"`
	Key      string `json:"key"`
	Version  string `json:"version,omitempty"`
	// BackupDays is 1 to 3653; absent for what it was, or 365.
	BackupDays int `json:"backupDays,omitempty"`
}
