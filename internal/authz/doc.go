// Package authz decides who may do what. It is pure: it takes values and an instant and returns a decision with its
// reason; it does no I/O, reads no clock and parses no policy while it decides.
//
// The model is that of Azure:
//
//   - A role is a set of action patterns, split in two planes: control (managing vaults, access, people) and data
//     (reading and changing what vaults keep). A grant gives a role to a principal or group at a scope, for a time.
//   - Scopes form a tree, "/" (the tenant) > subscription > resource group > vault > object. A grant counts at its scope
//     and everywhere below.
//   - A vault uses one of two access models for its data: roles, or its own list of access policies. The other is ignored.
//     The control plane always uses roles.
//   - Nothing crosses a tenant. There are no deny rules: what nothing allows is refused. Whatever is not understood (a
//     role that does not exist, a scope that cannot be parsed, an unknown action) allows nothing.
//
// Compile turns the facts about one vault, or about a tenant's resources outside any vault, into a Snapshot, once per
// change. Decide, Explain and WhoCan look at every grant in it through the same function, so that an explanation cannot
// differ from a decision. NewEffective flattens everything that one caller may do into bit sets for the hot path; it
// says until when it holds.
//
// Sources: Azure RBAC ("Understand Azure role definitions", "Azure built-in roles", "Azure permissions for Security")
// and the Key Vault documentation ("Azure role-based access control guide", "Assign an access policy", "Network security").
package authz
