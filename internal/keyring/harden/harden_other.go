//go:build unix && !linux

package harden

import (
	"golang.org/x/sys/unix"

	"github.com/keywright/keywright/internal/fault"
)

// Process sets the limit of core files to nothing, for good. Other protections differ too much between these systems.
func Process() error {
	return fault.Wrap(unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}), fault.Internal,
		"core files could not be disabled: allow this process to lower its own RLIMIT_CORE")
}
