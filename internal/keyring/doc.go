// Package keyring holds the hierarchy of keys and is the only place where stored values are encrypted and decrypted.
//
//	seal ─▶ root ─┬▶ audit, for records of the installation itself
//	              └▶ tenant ┬▶ vault ─▶ data key of one version ─▶ value
//	                        ├▶ audit    records of the audit log
//	                        ├▶ backup   backups of objects
//	                        ├▶ digest   credentials that are only compared
//	                        └▶ service ─▶ data key ─▶ signing keys, seeds and the like
//
// An arrow means "wraps". Everything is AES-256-GCM (NIST SP 800-38D) with random nonces, and everything is bound, through
// the additional data, to the ids of the place where it belongs: a row that was copied elsewhere does not open. The store
// holds wrapped keys only; unwrapped ones exist as key schedules in this package's memory, and the bytes are zeroed.
//
// A key that a customer keeps in a vault may wrap a vault's key as well, within the tenant's: see Customers.
//
// # Rotation
//
// Each layer changes while everything goes on. The new key is committed first and the old one becomes decrypt-only; what
// it wraps is then moved to the new key in small steps, any of which may be the last before a crash; and only when nothing
// needs the old key, and no write that began under it can still be under way, is it retired. Maintain does the second and
// the third step for the whole installation. Audit, backup, digest and service keys stay decrypt-only after their rotation,
// because what they sealed lies outside the keyring's sight; who destroys that may delete them.
//
// # Shredding
//
// Without its wrapped key nothing opens. Deleting a vault's key rows, or a version's row, destroys the values for good;
// the keyring learns of deleted keys from the store's commits (Changed) and forgets them before the commit is acknowledged.
//
// # Promises
//
//   - Nothing here encrypts inside a store transaction; prepared rows are for the caller's own transaction.
//   - A key that is gone is a fault.Gone. A locked keyring is a fault.Unavailable. What does not open because it was
//     changed or moved is ErrDamaged, a fault.Internal, but for backups, which come from outside: a fault.Invalid.
//   - All methods may be called at the same time.
package keyring
