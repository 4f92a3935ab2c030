package powerloss

import "fmt"

// Kind says what an operation did.
type Kind uint8

// The kinds. The comment names the fields of Op that each one uses besides Inode.
const (
	// Write put Data at Off. A write through a shared mapping is one too, when the kernel hands it over.
	Write Kind = iota
	// Truncate set the size to Size.
	Truncate
	// Allocate preallocated up to Size; it extended the file unless KeepSize.
	Allocate
	// Zero made the bytes from Off to Size zero; it extended the file unless KeepSize.
	Zero
	// Create, Link and Mkdir gave Inode the name Name in Dir.
	Create
	Link
	Mkdir
	// Unlink and Rmdir took the name Name of Inode out of Dir.
	Unlink
	Rmdir
	// Rename moved Inode from Name in Dir to NewName in NewDir, over whatever had that name.
	Rename
	// Sync made what happened to the file Inode before operation Covers durable.
	Sync
	// SyncDir made what happened to the names in the directory Inode before operation Covers durable.
	SyncDir
	// SyncFailed answered EIO: what was pending on Inode before operation Covers was kept or lost then, for good.
	SyncFailed
	// SyncTold answered EIO for a failure that another descriptor met before. The disk did not fail this time, nor was it told to keep anything: what is
	// pending stays so.
	SyncTold
	// SyncIgnored is an fsync that never happened: see Log.Unsynced.
	SyncIgnored
	// Acknowledge is the workload's word that Data is durable. It uses no Inode.
	Acknowledge
)

var kindNames = [...]string{"write", "truncate", "fallocate", "zero", "create", "link", "mkdir", "unlink", "rmdir", "rename",
	"fsync", "fsyncdir", "failed fsync", "fsync told of a failure", "ignored fsync", "ack"}

// String names the kind as the system call does.
func (k Kind) String() string { return kindNames[k] }

// Op is one entry of the log: a call that the file system has answered. Its position in the log is its time.
type Op struct {
	Kind      Kind
	Inode     uint64
	Off, Size int64 // bytes
	KeepSize  bool
	Data      []byte
	Dir       uint64
	Name      string
	NewDir    uint64
	NewName   string
	// Covers is the position at which an fsync began. Writes that arrive while a slow one runs are not covered by it.
	Covers int
}

// String is for logs of a failure; it shows no data.
func (o *Op) String() string {
	switch o.Kind {
	case Write:
		return fmt.Sprintf("write inode %d [%d,%d)", o.Inode, o.Off, o.Off+int64(len(o.Data)))
	case Truncate, Allocate:
		return fmt.Sprintf("%s inode %d to %d", o.Kind, o.Inode, o.Size)
	case Zero:
		return fmt.Sprintf("zero inode %d [%d,%d)", o.Inode, o.Off, o.Size)
	case Create, Link, Mkdir, Unlink, Rmdir:
		return fmt.Sprintf("%s %d/%s (inode %d)", o.Kind, o.Dir, o.Name, o.Inode)
	case Rename:
		return fmt.Sprintf("rename %d/%s to %d/%s (inode %d)", o.Dir, o.Name, o.NewDir, o.NewName, o.Inode)
	case Acknowledge:
		return fmt.Sprintf("ack %q", o.Data)
	default:
		return fmt.Sprintf("%s inode %d, covers %d", o.Kind, o.Inode, o.Covers)
	}
}

// Ack is one acknowledgement and the position in the log at which it was given.
type Ack struct {
	Pos  int
	Text string
}

// Log is what a recording leaves: every operation in the order in which the file system answered it.
type Log struct {
	Ops  []Op
	Acks []Ack
	// Modes holds the mode of every inode that ever was, by id; the file type bits say whether it is a directory.
	// Modes are not part of the crash model: every state has the last one.
	Modes map[uint64]uint32
}

// rootInode is the id of the mount's root directory.
const rootInode = 1
