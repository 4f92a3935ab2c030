// Package powerloss proves that what was acknowledged survives a power cut.
//
// A workload runs in a child process on a file system in memory (Recorder) that logs every operation in order, fsyncs
// and the workload's acknowledgements included. From one log thousands of crash states are built: directory trees that a
// disk may hold after the power went at one position of the log. A Check opens each of them as the product would after a
// restart and compares what it finds with what had been acknowledged by then.
//
//	child process --- FUSE ---> Recorder ---> Log ---> Campaign: Crash -> directory -> Check
//
// # What a disk may hold after a cut at position p
//
// The model is stricter than any one file system, so that nothing rests on the habits of ext4:
//
//   - A write, truncation or allocation is certain if an fsync of its file that began after it was answered before p.
//   - A name (create, link, rename, unlink, mkdir, rmdir) is certain if an fsync of its directory did the same; an fsync
//     of the file itself does not keep its name. A rename is one event: all of it happened or none, and it is certain
//     only when both directories were synced.
//   - Everything else is pending, and kept, lost, or, for writes, kept by 512-byte sector, independently of each other
//     and of order. A torn write may have extended the file with zeros.
//   - An fsync that failed settles what it covered at that moment, at random and for good: Linux marks the pages clean,
//     so a later fsync that succeeds proves nothing about them. Every descriptor that was open then is told once, by its
//     next fsync, as Linux does since 4.13 (errseq_t, https://docs.kernel.org/core-api/errseq.html). That fsync is no failure
//     of the disk: what it covered stays pending.
//
// The shares that are kept are drawn per state: nothing, everything, a prefix, 10, 50 or 90 %. Half of the positions lie
// beside fsyncs and acknowledgements, where losses show.
//
// The model does not cover: modes and times (always the last), stores through a shared mapping that the kernel has not
// written back yet (they are lost, never kept), and a page that the kernel writes again whole after a failed fsync.
//
// # Does it bite
//
// A harness that finds nothing proves nothing, so the suite keeps workloads that are broken on purpose (no fsync, no
// fsync of the directory, synchronous=OFF and NORMAL) and fails if one of them is not caught.
package powerloss
