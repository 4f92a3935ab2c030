// Package ledger knows who holds which version of what, since when, and on what evidence. It answers who breaks if a version dies now, and
// whether an old version can go.
//
// # A projection
//
// The ledger is made from the node's audit log: a read is recorded before it is answered, so whoever was given a version stands in the log. The
// Ledger follows it behind the requests and takes every delivery, acknowledgement and clearance into the store, together with the position up to
// which it has come: one transaction changes both, so each record counts exactly once whatever crashes. A row is a join of facts (first and last
// delivery, last acknowledgement and so on), so it also does not matter in which order records come, or from which node.
//
// Reads that repeat cost no transaction: the last delivery of a row is exact in memory, and in the store up to Coarse older than the truth, which
// matters only after a crash. The order of what one consumer did with an object is always exact: after it took another version, acknowledged
// something or was cleared, the next delivery of any version is written at once.
//
// With the durability "os" a power loss may take the tail of the log, and with it deliveries that nobody will ever hear of. A Ledger notices on its
// start that the process before did not end in order and that the machine was started since; Whole is that instant, from which every open
// revocation counts its grace anew.
//
// # Evidence
//
// fetched < loaded < used < seen at the target. A consumer is a principal and an instance. An instance is what the caller declares in the header
// X-Keywright-Instance, else the resource of a managed identity that belongs to one, else the caller's address: such a consumer is weak, since
// several processes may stand behind it. What one of them does proves nothing about the others.
//
// Judge is the rule by which an old version may go, as a pure function: every holder has moved or is gone, the target shows nobody, grace is over.
// Unknown is not safe.
//
// The package authorises nobody: package consumer does, for those who acknowledge, clear and ask.
package ledger
