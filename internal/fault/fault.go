// Package fault gives every error of the product one of a small, closed set of kinds.
//
// Inner code says what went wrong with a kind, a reason and a sentence; it adds what it was doing with %w on the
// way up. Only a door turns a kind into a status and a wire code, from one table, and it shows nothing of an error
// that carries no kind: such an error is Internal, and its text goes to the log alone.
package fault

import (
	"errors"
	"fmt"
	"time"
)

// Kind says what a caller can do about an error. Doors map kinds to statuses; retry loops look at them.
type Kind uint8

// The kinds. A new one needs a row in the error table of every door; a test in each door proves that it has one.
const (
	// Internal is a fault of this program or its machine. Its text is for the log, never for the caller.
	Internal Kind = iota
	// Invalid input: repeating the call unchanged cannot succeed.
	Invalid
	// Unauthenticated: no credential, or one that proves nothing.
	Unauthenticated
	// Forbidden: the caller is known and may not.
	Forbidden
	// NotFound: no such object, for this caller.
	NotFound
	// Conflict: the object's state does not allow the call; the state may change.
	Conflict
	// Gone: the object existed and its content was destroyed for good.
	Gone
	// TooLarge: the input exceeds a stated limit.
	TooLarge
	// Throttled: the caller is over a rate limit; see Error.RetryAfter.
	Throttled
	// Unavailable: something that this call needs is down; the same call may succeed later.
	Unavailable
	// Unsupported: a valid request for something that this build does not do.
	Unsupported
)

var kindNames = [...]string{"internal", "invalid", "unauthenticated", "forbidden", "not found", "conflict", "gone",
	"too large", "throttled", "unavailable", "unsupported"}

// String names the kind in lower case.
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return fmt.Sprintf("kind(%d)", uint8(k))
}

// Kinds lists every kind, for tests that prove a table complete.
func Kinds() []Kind {
	kinds := make([]Kind, len(kindNames))
	for i := range kinds {
		kinds[i] = Kind(i)
	}
	return kinds
}

// Reason refines a kind for machines: a door may show it as an inner error code. The words are those that clients
// already branch on, where such a word exists.
type Reason string

// Error is an error with a kind. Message is one sentence for the caller, without values, that says what happened, to
// which object, and what to do next.
type Error struct {
	Kind    Kind
	Reason  Reason
	Message string
	// RetryAfter is how long a throttled or unavailable caller should wait; zero when there is no advice.
	RetryAfter time.Duration
	// Err is the cause, for the log only. It may be nil.
	Err error
}

// Error joins the message and its cause. It is for logs; doors show Message alone.
func (e *Error) Error() string {
	if e.Err == nil {
		return e.Message
	}
	return e.Message + ": " + e.Err.Error()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// New returns an error of the kind with a formatted message for the caller.
func New(kind Kind, format string, args ...any) *Error {
	return &Error{Kind: kind, Message: fmt.Sprintf(format, args...)}
}

// Wrap returns an error of the kind whose cause is err. A nil err gives nil, so that calls can be wrapped in one line.
func Wrap(err error, kind Kind, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return &Error{Kind: kind, Message: fmt.Sprintf(format, args...), Err: err}
}

// Because returns e with the reason set.
func (e *Error) Because(reason Reason) *Error {
	e.Reason = reason
	return e
}

// After returns e with the advice to wait for d before the next try.
func (e *Error) After(d time.Duration) *Error {
	e.RetryAfter = d
	return e
}

// Of returns the kind of err: that of the outermost Error in its chain, or Internal.
func Of(err error) Kind {
	if e := As(err); e != nil {
		return e.Kind
	}
	return Internal
}

// Is reports whether err has the kind. A nil error has none.
func Is(err error, kind Kind) bool { return err != nil && Of(err) == kind }

// As returns the outermost Error in err's chain, or nil.
func As(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return nil
}
