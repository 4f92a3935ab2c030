// Package feed tells callers what changes in a vault while it changes: which secret, and which version they would read now.
// Never a value.
//
// The source is the store's journal. Its watcher only notes a commit in a ring in memory; one goroutine wakes the streams that it
// concerns, and each of them takes what it has not told yet: from the ring, or from the journal when it is too far behind. So
// a slow reader delays nobody, holds no queue, and many streams cost little.
//
// A stream stands at a Place: a position of the journal together with the operation that is entered there. Where the journal
// still has that entry, everything behind it is there too, and a stream resumes without a gap. Where it has not (the entry was
// pruned, or another state of the store was restored) the stream says so with a Reset, and the caller reads everything
// anew.
//
// Opening a stream is one read with one audit record. Afterwards every batch is authorised again, object by object, on the
// grants, rules and memberships of that moment; a caller whose token ends or is withdrawn, or who lost every right that the
// stream was opened with, is told the end.
package feed
