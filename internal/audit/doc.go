// Package audit is the append-only record of every decision: who asked for what, and what was answered.
//
// A Log belongs to one node. Append returns once the record is as durable as the configured durability promises
// (package segment), so a caller that appends before it answers cannot answer unrecorded; when the log cannot be
// written Append fails with fault.Unavailable, and the caller must not answer. Bodies are encrypted under the tenant's
// key, so destroying a key shreds what the log tells of the tenant and leaves the log verifiable: leaves hash
// ciphertext.
//
// Behind the request path, the durable frames become leaves of a Merkle tree (package merkle), and signed checkpoints of
// it are kept in the directory and handed to a sink. Verify proves a directory from its checkpoints. Whoever keeps a
// checkpoint elsewhere can prove that nothing before it was changed or cut off since.
//
// A change's record is committed with the change in the database (Seal makes its frame); a Sequencer brings such rows
// into the log, once each. Followers read the durable records in order, and every record appears to them exactly at one
// index, whatever crashes.
//
// The package holds no values, decides nothing, and does not know what a tenant or vault is beyond its id. Package
// export writes records for other systems.
//
// # Files
//
// Beside the segments (package segment) a directory holds
//
//	tiles-00 …           the tree's tiles, one file per level
//	checkpoints          frames, each a signed checkpoint, in ascending order of size
//	idx-…                per segment, times by block; derived, made again when missing
package audit
