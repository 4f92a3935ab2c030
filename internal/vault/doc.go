// Package vault is the model of what is kept: tenants, subscriptions, resource groups, vaults, objects and their
// versions, and the legal moves between their states. It does no I/O and knows no protocol.
//
// An object is a name with versions. A version's value never changes; its attributes may. Labels point from the object
// to versions. Deleting is soft:
//
//	          Delete               retention over, or Purge
//	live ───────────────▶ deleted ─────────────────────────▶ gone (its key is destroyed)
//	  ▲                      │
//	  └──────── Recover ─────┘
//
// Names are compared without regard to case and shown as they were given first. Every tenant, vault, object and version
// also has a random id that never changes and is never reused: ciphertexts are bound to these, not to names.
package vault
