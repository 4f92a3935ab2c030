package server

import (
	"errors"
	"os"
	"sync"
	"time"
)

// deadline is when one direction of a connection gives up. net/http moves it with each step of a request, nearly always further away, and each time the runtime
// would set a timer anew. The connection is told of an earlier one only; when that has passed, and what is wanted has not, it is told anew and asked again.
type deadline struct {
	// tell sets the deadline of the connection.
	tell func(time.Time) error

	mu           sync.Mutex
	wanted, told time.Time // zero: none
	// interrupted says that what the connection was told had passed already: whoever waited was to stop.
	interrupted bool
}

// shortest is how far away a deadline is set behind an interruption, which net/http makes in each request: no further than the next one that it will want, the
// server's ReadHeaderTimeout.
const shortest = 10 * time.Second

// set moves the deadline; the zero time is none.
func (d *deadline) set(t time.Time) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.wanted = t
	if !d.told.IsZero() && (t.IsZero() || !t.Before(d.told)) {
		return nil
	}
	d.told, d.interrupted = t, !t.IsZero() && time.Until(t) <= 0
	return d.tell(t)
}

// again reports whether what failed with err is to be tried again, because the deadline that the connection was told is not the one that is wanted.
func (d *deadline) again(err error) bool {
	if err == nil || !errors.Is(err, os.ErrDeadlineExceeded) {
		return false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	if !d.wanted.IsZero() && !now.Before(d.wanted) {
		return false
	}
	d.told = d.wanted
	if soon := now.Add(shortest); d.interrupted && (d.wanted.IsZero() || d.wanted.After(soon)) {
		d.told = soon
	}
	d.interrupted = false
	return d.tell(d.told) == nil
}
