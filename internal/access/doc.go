// Package access is the service of who may do what: role definitions, role assignments, duties that must stay apart, and
// the answers to "why may this one" and "who can".
//
// Promises:
//
//   - Nobody grants or withdraws a role without the right to, at that very scope; roles whose holders may assign certain
//     roles only are held to it. A custom role is written only by who may write roles at each scope where it can be
//     assigned.
//   - One principal holds a role at a scope through at most one assignment at a time.
//   - Grants that put duties into one hand that a rule keeps apart are refused or flagged, as the tenant's rules say, for
//     the principal itself and for everybody in a group. Flags are events, and Conflicts lists them at any time.
//   - Explain and WhoCan answer from the same engine that decides, on the state of one instant.
package access
