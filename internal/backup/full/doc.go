// Package full makes, keeps, proves and restores backups of the whole installation: one state of everything that the store keeps, in one encrypted file
// (package archive).
//
// A backup is a row of the store and a file in the directory of the node that made it. One piece of work on backups runs at a time over all nodes, under a
// lease; a row whose work is under way while nobody holds the lease was left by a node that died, and whoever looks next ends it. The file gets its name
// when it is whole and on disk, so that there are no half ones.
//
//	running ──> done ──> deleted, by somebody or at its end
//	   └──────> failed
//
// A backup holds its own copies of the keyring's keys, still wrapped, so that it opens with the seal of when it was made however often the keys above were
// rotated since. What it needs beyond that is a customer's key that lives in a vault: such a key is held (store.KeyNeed) until the backup ends, because a restore
// obeys tombstones and could not bring it back. The newest whole backup does not end before there is a newer one: its end is moved, a day at a time.
//
// Backups are the operator's. Their rights count in the installation's first tenant alone: nobody of another tenant learns that there are any.
//
// Restore needs no server. It loads the file into a store of either engine, obeys tombstones, ends leases, forgets the nodes and all that made their audit logs
// theirs, proves that the seal opens what was loaded, and only then lets the store be used.
package full
