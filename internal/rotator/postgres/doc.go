// Package postgres changes the passwords of roles of PostgreSQL.
//
// A value leaves this process as a SCRAM-SHA-256 verifier (RFC 5803) that the package makes itself, never in clear: the server logs the text
// of failing statements, and shows that of running ones. A verifier is checked before it is sent, because the server takes a malformed
// one for a password and hashes it.
//
// A role has one password, so the strategies are single and alternating; a role that changes its own gives its credential as the target's
// administrator. Dynamic accounts are roles with a VALID UNTIL, marked by a comment: only marked ones are ever removed.
//
// Each change is one transaction that holds an advisory lock by the role's name and commits synchronously, so what is acknowledged
// survives a crash of the server. Every statement carries what is left of the caller's time, as statement_timeout and as
// idle_in_transaction_session_timeout: a request that is delivered late finds its transaction gone.
package postgres
