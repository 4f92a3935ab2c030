// Package tenancy is the service of what holds vaults: tenants, subscriptions, resource groups and the vaults themselves,
// from their making to the destruction of their keys. What vaults keep belongs to the services of secrets, keys and
// certificates; who may do what belongs to the access service.
//
// The life of a vault:
//
//	          DeleteVault              PurgeVault, or retention over
//	live ────────────────────▶ deleted ─────────────────────────────▶ purging ─────▶ gone
//	  ▲   its grants go with it   │                                  its key is destroyed,
//	  └───────────────────────────┘                                  its objects go in batches
//	     RecoverVault, without the grants
//
// Promises:
//
//   - A vault's name is unique in the whole installation while the vault exists, deleted ones included.
//   - A vault's retention never changes, and purge protection is never taken back.
//   - A purge destroys the vault's key in its first transaction, so that nothing in the vault can be read from then on,
//     and ends the retention in the same one. If the process dies before the last object is removed, the sweep goes on;
//     nobody can recover the rest meanwhile.
//   - What is over its retention is purged by the sweep, in the name of the system, with an audit record each.
//   - Another tenant's subscription, group or vault is answered exactly like one that does not exist; only the name of a
//     vault to be made tells that it is taken.
package tenancy
