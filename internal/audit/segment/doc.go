// Package segment is an append-only log of opaque records in preallocated files.
//
// A record is acknowledged when Append returns, and what that means is the log's durability:
//
//   - OS: the record is in a shared mapping of the file. It survives the death of the process (kill -9 included), not
//     that of the machine; a background goroutine syncs every second, and the first error closes the log until the
//     records since the last good sync stand in a new file.
//   - Fsync: one goroutine writes and syncs the waiting records as a batch and then answers them all.
//
// Positions count from 0 and have no gaps. A record never changes its position and never disappears below
// State.Synced, whatever fails.
//
// # Files
//
// All files of the directory have the configured size, filled with zeros:
//
//	seg-00000000000000001234   records from position 1234 on
//	free-7                     a reserve file
//	lost-…                     what a power loss left behind a gap; kept for people, never read
//	tmp-7                      a file in the making; removed when the log opens
//
// A segment is a header of 64 bytes and then frames up to the first zero length:
//
//	header  "KWAUDSEG" | version u32 | 0 u32 | base u64 | generation u64 | 0 … | crc32c u32
//	frame   length u32 | crc32c u32 (of length and payload) | payload
//
// all little-endian. Segments may overlap: one is read up to the base of the next. That is how a failed fsync is
// mended: nothing that was written since the last good sync is trusted again (the kernel marks failed pages clean); the
// records are written anew into another file, from the first that shares a page with doubtful ones, with a higher
// generation. A segment of a lower generation behind one of a higher is superseded and removed.
//
// # Full disks
//
// A new segment takes the oldest reserve file, and a background goroutine replaces it. When that fails the log raises
// its alarm and lives on the reserve; when the reserve is used up Append fails with fault.Unavailable, and works again
// as soon as there is space. Reserve files keep their blocks, on file systems that overwrite in place.
package segment
