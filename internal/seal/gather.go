package seal

import (
	"context"
	"fmt"
	"time"

	"github.com/keywright/keywright/internal/fault"
)

// Sealed is the reason of the fault.Unavailable of a seal that waits for people.
const Sealed fault.Reason = "Sealed"

// Gatherer is a seal that people open together, share by share, after each start of the process. Its methods may be called at the same time as all others.
type Gatherer interface {
	Seal
	// Expect names a wrap, with its additional data, that the shares have to open. Shares may be given before, and open nothing until then.
	Expect(wrapped, aad []byte) error
	// Give takes one share. It changes nothing on a seal that is open. The text is neither kept nor changed.
	Give(ctx context.Context, share []byte) (Progress, error)
	// Reset forgets what was given so far.
	Reset()
	Progress() Progress
	// Wait returns when the seal is open.
	Wait(ctx context.Context) error
}

// Progress tells how far a seal is from being open.
type Progress struct {
	Open bool
	// Given counts shares, Needed is how many it takes and Total how many there are; both are 0 while nobody knows.
	Given, Needed, Total int
	// Set names the shares that belong together; empty while nobody knows.
	Set string
	// Wait is how long no share is taken.
	Wait time.Duration
}

// String is what a readiness check says.
func (p Progress) String() string {
	switch {
	case p.Open:
		return "open"
	case p.Needed == 0:
		return "sealed, no shares given"
	}
	return fmt.Sprintf("sealed, %d of %d shares given", p.Given, p.Needed)
}
