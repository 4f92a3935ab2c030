package harden

import (
	"golang.org/x/sys/unix"

	"github.com/keywright/keywright/internal/fault"
)

// Process sets the limit of core files to nothing, for good, and makes the process undumpable (prctl(2), PR_SET_DUMPABLE):
// no core file is written, processes of the same user cannot attach with ptrace(2), and /proc/self/mem belongs to root.
// A child that is started with exec is dumpable again but keeps the limit. Call it first, before any key is in memory.
func Process() error {
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		return fault.Wrap(err, fault.Internal, "core files could not be disabled: allow this process to lower its own RLIMIT_CORE")
	}
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fault.Wrap(err, fault.Internal, "memory dumps of this process could not be disabled: allow prctl in its sandbox")
	}
	return nil
}
