package vault

import (
	"time"

	"github.com/keywright/keywright/internal/fault"
)

// CustomerKey names a key in a vault that protects something of another vault. A name can be given to another key after a purge; the id cannot.
type CustomerKey struct {
	Vault ID
	Key   ObjectID
	Name  string
	// Version is the one that is meant; empty for the current one.
	Version VersionID
}

// Encryption says which customer's key protects a vault's own, beside the tenant's.
type Encryption struct {
	CustomerKey
	// VaultName is the name of the key's vault. It stays: a vault whose keys are needed is not purged.
	VaultName string
	// BackupDays is how long backups of what the vault keeps are kept: so long after the last of them the customer's key cannot be purged.
	BackupDays int
	// Since is when this key was chosen.
	Since time.Time
}

// Bounds of BackupDays. The longest is ten years.
const (
	MinBackupDays     = 1
	MaxBackupDays     = 3653
	DefaultBackupDays = 365
)

// Check reports whether the encryption can be stored.
func (e *Encryption) Check() error {
	if e.BackupDays < MinBackupDays || e.BackupDays > MaxBackupDays {
		return fault.New(fault.Invalid, "backups cannot be kept for %d days: choose %d to %d", e.BackupDays, MinBackupDays, MaxBackupDays)
	}
	return nil
}

// KeptUntil is the end of a backup that is made now, at a whole day so that the many of one day have one end.
func (e *Encryption) KeptUntil(now time.Time) time.Time {
	return now.UTC().Truncate(24*time.Hour).AddDate(0, 0, e.BackupDays+1)
}
