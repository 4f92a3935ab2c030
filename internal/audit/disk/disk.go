// Package disk is the little of a file system that the audit log needs, so that a test can stand between the log and
// the machine: count operations, fail one, fill the disk, cut the power.
//
// A directory is flat: names have no separators. Nothing is durable before the Sync that covers it: File.Sync and
// Mapping.Sync for content, FS.SyncDir for names. Package disktest holds the simulated directory.
package disk

import "io"

// FS is one flat directory. Implementations are safe for concurrent use.
type FS interface {
	// Create makes a new, empty file that only its owner may read. It fails when the name exists.
	Create(name string) (File, error)
	// Open opens an existing file; the error of an absent one wraps fs.ErrNotExist.
	Open(name string) (File, error)
	// Rename gives a file another name and replaces what had it.
	Rename(from, to string) error
	// Remove deletes a name.
	Remove(name string) error
	// List returns every name in ascending order.
	List() ([]string, error)
	// SyncDir makes every Create, Rename and Remove so far durable.
	SyncDir() error
}

// File is an open file. Different ranges may be read and written concurrently.
type File interface {
	io.ReaderAt
	// WriteAt may write less than asked for, with an error, on a full disk.
	io.WriterAt
	// Size returns the length in bytes.
	Size() (int64, error)
	// Allocate extends the file to size bytes that read as zero and whose blocks are reserved: later writes to
	// them do not fail for lack of space (on file systems that overwrite in place).
	Allocate(size int64) error
	// Zero makes the bytes of [from, to) read as zero and keeps their blocks.
	Zero(from, to int64) error
	// Truncate cuts or extends the file to size bytes.
	Truncate(size int64) error
	// Sync makes the content and the length durable. After an error nothing is known about what was written since
	// the Sync before: the kernel marks failed pages clean, so a later success proves nothing about them.
	Sync() error
	// Map maps the first size bytes for shared writing.
	Map(size int64) (Mapping, error)
	// Release says that the file will hardly be read soon, as a hint: what the machine keeps of it in memory may go, but for what is not on the disk yet.
	Release()
	Close() error
}

// Mapping is a shared, writable mapping of a file's first bytes. What Write has copied survives the process, not the
// machine. Readers of the file see it at once.
type Mapping interface {
	// Write copies p to offset off. A page that the machine cannot supply is an error, not a crash.
	Write(p []byte, off int64) error
	// Prepare makes memory ready for writes to [from, to), as a hint: without it each page is made ready by its first write, which may have to wait for the
	// file system.
	Prepare(from, to int64)
	// Sync makes the bytes of [from, to) durable; File.Sync says what an error means.
	Sync(from, to int64) error
	Close() error
}
