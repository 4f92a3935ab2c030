// Package acme is the door through which standard clients and proxies get certificates of the internal authority: an ACME server (RFC 8555) with external account
// binding, renewal information (RFC 9773), addresses (RFC 8738), and the challenges http-01, dns-01 and tls-alpn-01 (RFC 8737).
//
// The door speaks the protocol and proves control of names. What it needs is behind three small interfaces: Store keeps accounts and orders, Authority signs and
// revokes, Rules say who may open an account and which names it may have. Package enrolment has them all.
//
//	newAccount ── binding (Rules) ──▶ account
//	newOrder ──── Rules ──▶ order: pending ── challenges ──▶ ready ── finalize ──▶ valid ──▶ certificate
//	                               └─ ready at once where the rules take the account's word
//
// A challenge is validated while the client's request waits, and a certificate is signed in the same way: nothing goes on behind a client's back, so a crash leaves
// an order in the state that it had, and the client's next request goes on from there. Authority.Issue returns the same certificate for the same order.
//
// An account, an order, a certificate: each is behind the address of one issuer of one vault, Root/VAULT/ISSUER, and no other issuer knows of it.
//
// Every request but for the directory, nonces and renewal information is a JWS over its own address, with a nonce that counts once.
package acme
