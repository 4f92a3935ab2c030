// Command demo tells the story of Keywright, with real programs on this machine:
//
// Part one. Keywright runs in dev mode, on its embedded store. A PostgreSQL server gets a role with a random password, the connection string
// goes into the vault as db-connection-string, and a Node.js application (Express, DefaultAzureCredential,
// SecretClient, pg) starts with nothing but a managed identity, reads it and answers "healthy".
//
// Part two, in the same server and database. An application of two instances (shop.go), with pools of its own that never rest and steady new
// logins, works while its password changes: many times in a row; with a candidate that somebody spoils at the database, and that returns by itself; with
// the server killed between the change and its test; and with a consumer that never moves, which is named and waited for until an operator decides.
// Every move is printed with its time. Nothing that the application does may fail, and an old credential may die only by evidence or by a person's
// word, which the demo proves by a login. Keywright reaches the database by way of a gate (gate.go), so that what is to happen between two steps
// happens there every time.
//
// Part three. An application that was written for Azure and knows only https://demo.vault.azure.net runs byte for byte,
// in a network and mount namespace of its own where that name leads to Keywright. SQL Server is not to be had in
// Debian, so its database is a labelled protocol fake (package tdsfake). Where no namespace can be made, the demo says
// why it leaves this part out.
//
// It exits with 0 when each application that could run was healthy and every expectation was met. Whatever happens, Ctrl-C included, it ends what it
// started and removes its files; only the cache of npm packages stays, in .cache/npm. Waits that take minutes in production are fractions of a second here
// (paceFlags); -rotations makes part two shorter.
package main
