// Package relational is what the store's engines share: the transaction, its statements and the steps of the schema, in the SQL that SQLite, PostgreSQL,
// CockroachDB and YugabyteDB all run. An engine owns its connections, the begin and end of transactions, who writes when, and who is told.
//
// The SQL keeps to these rules, so that a statement is written once:
//
//   - Parameters are ? or ?1, ?2, …; the order of a parameter's type is found from what it is compared with or stored in. No literal holds a question mark.
//   - Types are TEXT, INTEGER and BLOB: text that is compared byte by byte, 64 bits with a sign, bytes. Truth is 0 or 1, an instant microseconds since 1970,
//     and what is absent NULL.
//   - A row is named by a key, never by an engine's own number of it. NULLs are compared with IS [NOT] DISTINCT FROM.
//   - Where two sides of an upsert have a column, it is qualified. A subquery in FROM has a name.
//   - A join written CROSS JOIN … ON keeps its order in SQLite; it is an ordinary JOIN elsewhere.
package relational
