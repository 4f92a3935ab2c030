// Package enrolment lets standard clients have certificates of an issuer that signs with a key of its vault. It keeps who may (access rules) and what they did
// (accounts, orders, authorizations); the protocol that clients speak is a door's.
//
// An access rule is made by an administrator: which names its holders may have certificates for, of which kinds and for how long, and until when. Its holders prove
// themselves with a MAC key when they open an account (external account binding, RFC 8555, section 7.3.4). Accounts without a binding come under the rule named
// Anyone, if somebody made one; without it there are none. An account whose rule was withdrawn, has ended or was made anew can still revoke what it has, and gets
// nothing more.
//
// What clients do goes through the guard as what administrators do: each change is one transaction with its audit record, under the account's name, and a
// certificate is on record at its authority, and its order fulfilled, in the same one. No role decides about accounts; the access rule does, and that is the reason in
// the record.
package enrolment
