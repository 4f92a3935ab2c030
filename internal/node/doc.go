// Package node knows which nodes work on one store, and which of them does what only one at a time may do.
//
// A node is a data directory with the process that has it. Its id is drawn once and stays in the directory, so that the audit log in
// it remains the same node's over restarts. While the process runs, it beats: it renews its row in the store, by the store's clock.
//
//	joined ──beat──▶ live ──no beat for Lapse──▶ cut off: the process itself serves nothing that it only remembers
//	                  │                    └──no beat for Silent──▶ silent: others count it as dead
//	                  └──leave──▶ stopped
//
// A process that cannot renew its row knows so earlier than anybody else does, because Lapse is shorter than Silent and is counted from
// before the last renewal that was acknowledged. So whatever the others do in place of a silent node, it is not served by that node any more.
//
// Two processes cannot be one node: the process that joined last is it, and the one before is told so with its next beat and is cut off.
package node
