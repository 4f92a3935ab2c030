// Package secret is the service for secrets: set, read, list, change, delete, recover, purge, back up and restore.
//
// Every method is one decision and one audit record, through the guard. What secrets share with keys and certificates is the promise of package
// object; here is what a secret alone has: a value that its readers get, writes by who may not read, and the moves of a rotation.
//
// What a door stores, every other door can read: the rules here are those that all protocols share, and the stricter
// limits of one protocol are checked in its door.
package secret
