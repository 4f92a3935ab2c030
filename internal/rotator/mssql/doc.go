// Package mssql changes the passwords of SQL Server logins.
//
// A password leaves this process hashed, as sys.sql_logins keeps it (version 0x0200: salt and SHA-512), so neither a trace nor an extended event nor a
// dump of the server can show it. The price is that the server cannot apply its password policy; the engine's values would pass it by their length and
// classes, and a policy that has to be applied can be, with "send": "text".
//
// A login has one password, so the strategies are single and alternating. Logins are those of an instance: every replica of an availability group has
// its own, with the same SID, and each is an endpoint that is changed. Contained database users are not logins, and not supported.
//
// A change is one batch: a transaction that begins with a look at the server's clock, so that a batch which arrives late does nothing. A session of its own
// holds an application lock by the login's name on the first endpoint until all endpoints are changed.
package mssql
