// Package backups_test makes backups of servers that are at work, and restores them on the other engine: each server a process with a directory of its own.
//
// Writers set, delete and purge secrets and rotate keys, readers read them, and every layer of the keyring is rotated three times meanwhile; none of them may notice
// that backups are made. A restored store has every version that was acknowledged before its backup was asked for, byte by byte, no half of any other, and
// nothing that had been purged; its audit log verifies. What was backed up before the rotations still opens behind them: full backups, single objects, and a
// copy of the vault.
//
// A short version runs by default. KEYWRIGHT_BACKUPS_TIME sets how long the load lasts between two backups, such as 1m.
package backups_test
