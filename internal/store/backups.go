package store

import (
	"context"
	"time"

	"github.com/keywright/keywright/internal/vault"
)

// Backups keeps what is known of backups: those of the whole installation, and the jobs that copy vaults and restore them. What is searched has a field; the
// rest of a record is a document of its service's own, which holds no value. Journal entries of its changes name no change.
type Backups interface {
	Backup(ctx context.Context, id string) (*Backup, error)
	// Backups lists the newest first.
	Backups(ctx context.Context, q BackupQuery) ([]*Backup, error)
	// PutBackup inserts a backup of revision 0 or replaces the revision that was read.
	PutBackup(ctx context.Context, b *Backup) error
	DeleteBackup(ctx context.Context, id string) error
}

// BackupKind says what a backup is.
type BackupKind string

// The kinds of backups.
const (
	// FullBackup is one of the whole installation.
	FullBackup BackupKind = "full"
	// VaultCopy is a job that copies a vault, VaultRestore one that brings back what is in a copy.
	VaultCopy    BackupKind = "vault-copy"
	VaultRestore BackupKind = "vault-restore"
)

// Backup is a backup, or a job about one.
type Backup struct {
	// ID is 32 hexadecimal digits, time-ordered.
	ID   string
	Kind BackupKind
	// Tenant and Vault are empty for the whole installation.
	Tenant vault.TenantID
	Vault  vault.ID
	// Open says that work on it is under way, or was when its worker was last heard of.
	Open bool
	Made time.Time
	// Expires is when it ends; zero for never. Until then it holds the keys that it needs.
	Expires  time.Time
	Revision int64
	Doc      []byte
}

// BackupQuery selects backups. Empty fields select all; Limit 0 means no limit.
type BackupQuery struct {
	Kind  BackupKind
	Vault vault.ID
	Open  bool
	// ExpiredAt selects those that have ended then.
	ExpiredAt time.Time
	// After is the last backup of the page before.
	After string
	Limit int
}
