package powerloss

import (
	"maps"
	"slices"
)

// Unsynced returns the log that would have been recorded had the workload left out the fsyncs that drop chooses. That is
// the control for a program without a switch to break it: the same campaign must now find losses.
//
// drop sees Sync or SyncDir and the first name of the file or directory, which is "" for the mount's root.
func (l *Log) Unsynced(drop func(kind Kind, name string) bool) *Log {
	names := map[uint64]string{}
	ops := slices.Clone(l.Ops)
	for i := range ops {
		switch op := &ops[i]; op.Kind {
		case Create, Mkdir:
			names[op.Inode] = op.Name
		case Sync, SyncDir:
			if drop(op.Kind, names[op.Inode]) {
				op.Kind = SyncIgnored
			}
		}
	}
	return &Log{Ops: ops, Acks: l.Acks, Modes: maps.Clone(l.Modes)}
}
