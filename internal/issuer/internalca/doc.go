// Package internalca is a certificate authority of our own: it issues under profiles, keeps a record of everything it has signed, revokes, and speaks through
// revocation lists (RFC 5280) and OCSP (RFC 6960).
//
// # What it guarantees
//
//   - No certificate leaves before it is on record, so that every one can be revoked. The same Request.ID gives the same certificate.
//   - Nothing is signed that would not verify. Each certificate is rehearsed first: signed by throw-away keys that stand in a chain like the authority's own, then
//     verified by crypto/x509, with name constraints, path lengths and purposes, and linted by zlint's rules from the RFCs.
//   - A certificate does not outlive its authority: its end is clipped.
//   - The authority's key is a crypto.Signer, wherever that keeps it.
//
// The record is the caller's (Records); everything else is a function of values.
//
// # A chain
//
//	root ── SelfSign          kept offline or as a key; signs intermediates only
//	  └ intermediate ── CA with the profile "intermediate" of the root's CA; may carry name constraints
//	      └ leaf      ── CA with the profiles of package: server, client, mutual, code-signing, email, ocsp
package internalca
