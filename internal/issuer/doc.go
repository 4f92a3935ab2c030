// Package issuer is the port to whatever turns a certificate request into a certificate: the key itself, a certificate authority of our own, an
// authority reached by ACME, or a person with a form. An adapter is one package below this one; issuertest holds what all of them promise.
//
//	Begin ──▶ chain                                  issued at once
//	   └────▶ pending ──▶ Poll ──▶ pending … chain   the answer takes time: a token says what to ask after
//	                  └─▶ Merge ─▶ chain             a person brings the chain (Merger)
//
// Issuers keep no state of an order: what they need to go on is in the request, which the caller has kept before it began, and in the token, which it keeps
// as soon as it has one. After a crash in between, Begin with the same request either finds what it began or begins anew, and nothing but an order that
// nobody pays or waits for stays behind. So an issuer may be asked by another process than the one that began.
//
// The private key is never here: a request carries the public key and the proof that its maker has the private one.
package issuer
