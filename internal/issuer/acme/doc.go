// Package acme is the issuer that reaches an authority by ACME (RFC 8555), with external account binding for authorities that have customers, and renewal information (RFC 9773).
//
// An order lives at the authority, and so does everything that has come of it. Each call of Begin or Poll asks for the order's state there, does what that
// state wants, and leaves again:
//
//	pending ── for each name: present a challenge, wait until it can be seen, tell the authority to look ──▶ pending
//	ready ──── send the certificate request ──▶ processing, valid
//	valid ──── fetch the chain, clean up
//	invalid ── say why, clean up
//
// So nothing is lost by a crash, another process may go on, and the token is just the order's address. The account is found by its key in the same way.
//
// # Challenges
//
// A Solver makes what the authority looks for: HTTP01 is a handler for the server's plain port, TLSALPN01 a hook for its TLS listener, DNS01 writes
// records through a provider: RFC2136 (dynamic updates), Webhook or Exec.
package acme
