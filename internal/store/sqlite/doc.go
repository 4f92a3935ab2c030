// Package sqlite is the embedded engine of the store: one SQLite database in one directory, for one process.
//
// All updates run on one connection, in turns and in groups. Who calls Update waits for the turn, runs its closure in a
// SAVEPOINT and passes the turn on. The first of a group leads it: it begins the transaction, lets everybody who waits already join
// (never waiting for more), commits once, tells the watchers, and only then are all of them answered. An answer that is an
// error waits as well, because it was computed from what the group wrote before it. There is no goroutine in between: a lone
// update switches to no other, one of many to the next and back, and a panic in a closure is its caller's own.
//
// An error that ends SQLite's transaction by itself (a full disk, a failed write) fails the whole group with
// fault.Unavailable. After a COMMIT that failed, the frames of the group may lie in the log and a crash could still bring
// them to life, so Committed first makes a durable write over them and then looks. Nothing has to be reopened: the next group
// simply tries again.
//
// The write-ahead log is copied into the database in the background; see checkpoint.go.
package sqlite
