// Package secret is the service for secrets: set, read, list, change, delete, recover, purge, back up and restore.
//
// Every method is one decision and one audit record, through the guard. Reads of recent secrets are served from a
// bounded cache of sealed records; plaintext is never kept. A write seals its value before its transaction begins, puts
// its record into the cache as it commits, and is acknowledged when it is durable.
//
// What a door stores, every other door can read: the rules here are those that all protocols share, and the stricter
// limits of one protocol are checked in its door.
package secret
