package powerloss

import (
	"math/rand/v2"
	"syscall"
	"time"
)

// Faults are the knobs of the recording file system. The zero value is a disk without faults. They may be changed while
// a workload runs, best from Config.OnAck, where the workload waits for the change.
type Faults struct {
	// Limit is the space in bytes, of files and of what is preallocated for them; zero is without limit. What does not
	// fit gets ENOSPC; a write of which a part fits is short, as on tmpfs. Writing where space was allocated always works.
	Limit int64
	// SyncDelay is how long every fsync takes.
	SyncDelay time.Duration
	// SyncErrors is the share of fsyncs of files that fail with EIO, 0 to 1.
	SyncErrors float64
	// SyncErrorAt fails the nth fsync of a file after the knobs were set, counted from 1; zero fails none.
	SyncErrorAt int
	// Only restricts the failing fsyncs to files whose first name it accepts; nil accepts all.
	Only func(name string) bool
	// Foreign restricts the failing fsyncs to those that cover a write through another descriptor.
	Foreign bool
	// Seed drives SyncErrors.
	Seed uint64
}

// faults is the knobs with the state that they need. The recorder's lock guards it.
type faults struct {
	Faults
	syncs  int
	random *rand.Rand
}

func newFaults(f Faults) faults {
	return faults{Faults: f, random: rand.New(rand.NewPCG(f.Seed, 0xfa17))}
}

// failsSync decides whether the disk fails at the fsync that is about to be answered.
func (f *faults) failsSync(name string, foreign bool) bool {
	if f.Only != nil && !f.Only(name) || f.Foreign && !foreign {
		return false
	}
	f.syncs++
	if f.syncs == f.SyncErrorAt {
		return true
	}
	return f.SyncErrors > 0 && f.random.Float64() < f.SyncErrors
}

// fit returns how much of [off,off+n) can be written into a file that has alloc bytes of its own while used bytes are
// taken in all. A write of which nothing fits gets ENOSPC.
func (f *faults) fit(off, n, alloc, used int64) (int64, syscall.Errno) {
	if f.Limit == 0 || n == 0 || off+n <= alloc {
		return n, 0
	}
	end := min(off+n, alloc+max(0, f.Limit-used))
	if end <= off {
		return 0, syscall.ENOSPC
	}
	return end - off, 0
}
