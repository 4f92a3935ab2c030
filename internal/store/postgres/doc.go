// Package postgres is the engine of the store for several nodes: one schema of a PostgreSQL database, or of what speaks its protocol and its SQL, shared by
// equal processes.
//
// # Writes
//
// Each process commits waiting updates as a group, as the embedded engine does: who calls Update waits for the turn, runs its closure under a SAVEPOINT and passes
// the turn on; the first of a group leads it. A group is one transaction, and the first that it does is to lock the row that counts the journal's positions.
// So all writers of all processes take turns, positions are given in the order of commits, and what a transaction reads nobody else changes: READ COMMITTED
// is serialisable here. Before its first closure runs, the process shows its own watchers what others committed up to there.
//
// A statement that is expected to change a row is not waited for: it is sent with the next one whose answer is needed. If it then turns out to have changed
// none, or to have met a taken key, the update is taken back to its savepoint and its closure runs again with true answers.
//
// A serialization failure or a deadlock (40001, 40P01) has the whole group run again. When the connection is lost at COMMIT, or the COMMIT came with a warning,
// nobody is answered before the outcome is known: a new connection takes the same lock, so that the lost transaction has ended, looks for an operation of the group in
// the journal, and makes a commit of its own. That commit is acknowledged only when everything before it is as durable as synchronous_commit promises.
// If that cannot be done, the answer is fault.Unavailable. The connections of writers never send a request to cancel: it would end the wait for a standby and
// make a commit visible that the standby does not have.
//
// # Reads
//
// A View is one REPEATABLE READ, READ ONLY transaction on one of a few connections. It begins with its first query, in the same round trip.
//
// # Other processes
//
// A connection of its own asks for the newest position, several times a second and when another process notifies, and shows the watchers what they have not seen. When
// the journal was pruned beyond that, they are shown a Flush. So they are when the journal is not the one that they saw: a standby that lacks commits took over, or
// somebody set the database back. Positions are given anew then, so that each look compares the operation at the last one as well.
//
// Acknowledged means: durable on the primary, and on its synchronous standbys if it has any. Only with one of these does it outlive a fail-over.
package postgres
