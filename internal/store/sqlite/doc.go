// Package sqlite is the embedded engine of the store: one SQLite database in one directory, for one process.
//
// All updates run on one connection, in groups: the writer takes whatever waits (never waiting for more), gives each
// update a SAVEPOINT of one transaction, commits once, tells the watchers, and only then answers. An answer that is an
// error waits as well, because it was computed from what the group wrote before it. Closures run in the goroutine that
// called Update, so a panic there is the caller's own; the writer is told and goes on.
//
// An error that ends SQLite's transaction by itself (a full disk, a failed write) fails the whole group with
// fault.Unavailable. After a COMMIT that failed, the frames of the group may lie in the log and a crash could still bring
// them to life, so Committed first makes a durable write over them and then looks. Nothing has to be reopened: the next group
// simply tries again.
//
// The write-ahead log is copied into the database in the background; see checkpoint.go.
package sqlite
