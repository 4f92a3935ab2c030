// Package tdsfake is a protocol fake. It is not SQL Server, and nothing that passes against it is thereby proved to
// pass against SQL Server.
//
// It speaks enough of the Tabular Data Stream protocol (MS-TDS, versions 7.4 and 8.0) that the drivers which
// applications really use connect to it unchanged: go-mssqldb, and npm's mssql with tedious. What it is strict about
// is what a change of credentials touches:
//
//   - every connection is encrypted, and the certificate comes from a private CA that the client must trust;
//   - the login name and the password are checked, and refused with error 18456;
//   - ALTER LOGIN … WITH PASSWORD changes a login for the connections to come, leaves open sessions alone, and is
//     undone with its transaction;
//   - the open sessions of each login can be counted, in SQL and in Go.
//
// Of SQL it knows the few statements listed at [Server]; anything else is refused with error 102 rather than guessed
// at. There are no tables, no databases (every database name is accepted) and no MARS. Login names are compared
// exactly, where SQL Server would ask its collation.
//
// The life of a connection:
//
//	PRELOGIN ─ reply: encryption required ─ TLS handshake, wrapped in PRELOGIN packets ─ LOGIN7 inside TLS
//	   │                                                                                   │
//	   └ strict (TDS 8): TLS first, PRELOGIN inside ───────────────────────────────────────┤
//	                                                                                       ├ 18456, closed
//	                                          batch, RPC, transaction, attention … closed ─┘ or LOGINACK
//
// Source of the layouts: [MS-TDS], https://learn.microsoft.com/openspecs/windows_protocols/ms-tds, sections 2.2.2 to
// 2.2.7; where drivers read it their own way, a comment says so.
package tdsfake
