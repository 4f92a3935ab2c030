// Package archive is what the nodes of one store share of their audit logs.
//
// Each node writes a log of its own (package audit), so that a read needs nobody else. What makes the logs one is in the store:
//
//   - the list of logs, each with the public key of its checkpoints. A node whose directory is not what it was begins another log, under another
//     origin, which names the one before and says why;
//   - parts: a Shipper copies the durable frames of its node's log to the store, in order, at a bounded pace and behind everything else. What was
//     not shipped yet is the tail, which only its node has;
//   - checkpoints: the newest one of each log, and one of each KeepEvery;
//   - adoptions: the rows of changes that a log took in for a node that was gone.
//
// A Reader puts the logs together again: Query merges them by time and says whose tails are missing, Verify proves each from all checkpoints that are
// known, and Source lets the ledger of one node follow the log of another.
//
// # Each change once
//
// The row of a change is committed with the change and belongs into the log of the node that committed it. Nobody holds a lock for that: each node takes
// its own rows. When a node is gone, an Adopter of another takes those of its rows that were not shipped, under a lease, and notes each with the move of the node's
// cursors, in one transaction: its directory may be lost. A row may so stand in several logs, of a node that came back and of those that had adopted it, and counts in exactly one: in the log that the
// adoption names, or, when there is none, in the log of the node that committed it. Readers leave the copies out.
//
// # What this proves
//
// A part's frames give the leaves of its log's Merkle tree, so whoever reads the parts proves them as the log's own files are proved: the root at each
// checkpoint's size has to be the one that is signed. Old and new checkpoints are consistent when both fit one sequence of frames. The store's newest
// checkpoint also finds out a directory that was set back: its log lacks what the checkpoint covers, or holds something else.
package archive
