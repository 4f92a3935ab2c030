package api

import "time"

// Backup is a backup of the whole installation.
type Backup struct {
	ID string `json:"id"`
	// State is running, done or failed.
	State string    `json:"state"`
	Made  time.Time `json:"made"`
	// Ended is when it was whole, or failed; Expires when it is deleted.
	Ended   *time.Time `json:"ended,omitempty"`
	Expires *time.Time `json:"expires,omitempty"`
	// Node made it and has its file, which is called File.
	Node string `json:"node"`
	File string `json:"file,omitempty"`
	// By is the principal who had it made; absent for the schedule.
	By      string `json:"by,omitempty"`
	Release string `json:"release,omitempty"`
	// Seal is the name of the seal that opens it, and what is in it. Recipients are the public keys whose identities open it, too.
	Seal       string   `json:"seal,omitempty"`
	Recipients []string `json:"recipients,omitempty"`
	// Rows and Bytes are how much was written so far.
	Rows  int64  `json:"rows"`
	Bytes int64  `json:"bytes"`
	Error string `json:"error,omitempty"`
	// HeldKeys counts the customers' keys that it needs, and that cannot be purged before it ends.
	HeldKeys int          `json:"heldKeys,omitempty"`
	Proof    *BackupProof `json:"proof,omitempty"`
}

// BackupProof is the last proof of a backup.
type BackupProof struct {
	// State is running, done (nothing is wrong) or failed.
	State   string     `json:"state"`
	Started time.Time  `json:"started"`
	Ended   *time.Time `json:"ended,omitempty"`
	Node    string     `json:"node"`
	// Rows is how many were read so far.
	Rows   int64         `json:"rows"`
	Error  string        `json:"error,omitempty"`
	Report *BackupReport `json:"report,omitempty"`
}

// BackupReport is what a proof found. It holds no value.
type BackupReport struct {
	OK     bool      `json:"ok"`
	Backup string    `json:"backup"`
	Made   time.Time `json:"made"`
	// Release and Engine made it; Seal is the name of the seal that opens its keys.
	Release string `json:"release"`
	Engine  string `json:"engine"`
	Seal    string `json:"seal"`
	Rows    int64  `json:"rows"`
	Vaults  int64  `json:"vaults"`
	Objects int64  `json:"objects"`
	// Opened of the Versions, and Keys of the keyring's keys, were opened.
	Versions int64 `json:"versions"`
	Opened   int64 `json:"opened"`
	Keys     int64 `json:"keys"`
	// Tombstones name what is in it no more; Checkpoints of audit logs are signed as they should be.
	Tombstones  int64 `json:"tombstones"`
	Checkpoints int64 `json:"checkpoints"`
	// Wrong counts what is wrong, Problems tells of the first of it.
	Wrong    int64         `json:"wrong"`
	Problems []string      `json:"problems,omitempty"`
	Millis   int64         `json:"millis"`
	Tables   []BackupTable `json:"tables,omitempty"`
}

// BackupTable is the sum of one table, which copies of one state have in common: a digest of rows whose values are encrypted.
type BackupTable struct {
	Name   string `json:"name"`
	Rows   int64  `json:"rows"`
	Digest string `json:"digest"`
}

// BackupPage is a page of backups.
type BackupPage struct {
	Items []Backup `json:"items"`
	Next  string   `json:"next,omitempty"`
}

// CreateBackup asks for a backup.
type CreateBackup struct {
	// KeepHours is how long it is kept; the server's setting when 0.
	KeepHours int `json:"keepHours,omitempty"`
}

// VerifyBackup asks for a proof of a backup.
type VerifyBackup struct {
	// Sample is about how many values are opened; all of them when 0.
	Sample int `json:"sample,omitempty"`
}

// VaultContainer is where the copy of a vault lies, or shall lie.
type VaultContainer struct {
	// Address is that of a container of Azure Blob Storage, or of what speaks its protocol; Token a shared access signature for it.
	Address string `json:"address"`
	Token   string `json:"token,omitempty"`
	// Folder is the copy's, for a restore.
	Folder string `json:"folder,omitempty"`
}

// VaultJob copies a vault, or brings back what is in a copy.
type VaultJob struct {
	ID string `json:"id"`
	// Kind is backup or restore; Status is InProgress, Succeeded or Failed.
	Kind    string     `json:"kind"`
	Status  string     `json:"status"`
	Vault   string     `json:"vault"`
	By      string     `json:"by,omitempty"`
	Started time.Time  `json:"started"`
	Ended   *time.Time `json:"ended,omitempty"`
	Details string     `json:"details,omitempty"`
	Error   string     `json:"error,omitempty"`
	// Address is where a copy lies; its last part is the folder.
	Address string `json:"address,omitempty"`
}

// VaultJobPage is a page of jobs.
type VaultJobPage struct {
	Items []VaultJob `json:"items"`
	Next  string     `json:"next,omitempty"`
}
