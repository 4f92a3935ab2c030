// Package nodes_test proves several equal nodes over one PostgreSQL database: each a process with a directory of its own.
//
//   - What is written on one node is read on the others, within a second; reads of one node never go back; writes are linearizable (TestNodes).
//   - What is withdrawn on one node is refused on all of them within a second (TestNodes).
//   - A node that was stopped and goes on serves nothing that it remembers before it has caught up (TestLostNode).
//   - A node that is cut off from the database fails closed, but for the vaults that say how stale they may be read (TestLostNode).
//   - What one node at a time does is taken over from a node that is killed (TestTakeOver).
//
// Short versions run by default. KEYWRIGHT_NODES_TIME sets how long the loads last, such as 10m.
package nodes_test
