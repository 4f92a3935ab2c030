// Package auditnodes proves, on separate processes that share a PostgreSQL server, that the audit logs of all nodes are one log and the ledger one ledger: one
// node is killed, and the other answers for both.
package auditnodes
