// Command demo tells the story that users of a cloud vault know, with real programs on this machine:
//
// Part one. Keywright runs in dev mode. A PostgreSQL server gets a role with a random password, the connection string
// goes into the vault as db-connection-string, and a Node.js application (Express, DefaultAzureCredential,
// SecretClient, pg) starts with nothing but a managed identity, reads it and answers "healthy".
//
// Part two. An application that was written for Azure and knows only https://demo.vault.azure.net runs byte for byte,
// in a network and mount namespace of its own where that name leads to Keywright. SQL Server is not to be had in
// Debian, so its database is a labelled protocol fake (package tdsfake). Where no namespace can be made, the demo says
// why it leaves this part out.
//
// It exits with 0 when each application that could run was healthy. Whatever happens, Ctrl-C included, it ends what it
// started and removes its files; only the cache of npm packages stays, in .cache/npm.
package main
