package rotator

import (
	"errors"
	"fmt"
)

// Class says what is known after a verb failed. It decides what the engine does next.
type Class uint8

// The classes.
const (
	// Doubt: the effect may have happened. Errors that are no *Error have this class.
	Doubt Class = iota
	// NotApplied: the target was not reached or refused before any effect; the same call may succeed later.
	NotApplied
	// Refused: the target does not take this value, by a policy of its own; another may do.
	Refused
	// Denied: the administrator's credential is wrong or lacks a right. Only a person can help.
	Denied
	// Misconfigured: what the policy asks for does not exist or cannot be kept safe. Only a person can help.
	Misconfigured
	// Busy: the target is full, locks out or asks to wait. The account must be left alone for a while.
	Busy
)

var classNames = [...]string{"doubt", "not applied", "refused", "denied", "misconfigured", "busy"}

// String returns the class's word.
func (c Class) String() string {
	if int(c) < len(classNames) {
		return classNames[c]
	}
	return fmt.Sprintf("class(%d)", uint8(c))
}

// Error is a failure of which something is known. Message is one sentence without values: what happened, at which endpoint and account, and
// what to do next.
type Error struct {
	Class   Class
	Message string
	// Err is the cause. Its text reaches logs, so it must not hold a value either.
	Err error
}

// Error joins the message and its cause.
func (e *Error) Error() string {
	if e.Err == nil {
		return e.Message
	}
	return e.Message + ": " + e.Err.Error()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Fail returns an error of the class.
func Fail(class Class, cause error, format string, args ...any) *Error {
	return &Error{Class: class, Message: fmt.Sprintf(format, args...), Err: cause}
}

// Explain is Fail for an error that may be a failure of a known class already, and then stays as it is.
func Explain(err error, class Class, cause error, format string, args ...any) error {
	var known *Error
	if errors.As(err, &known) {
		return err
	}
	return Fail(class, cause, format, args...)
}

// ClassOf returns the class of the outermost Error in the chain, or Doubt.
func ClassOf(err error) Class {
	var e *Error
	if errors.As(err, &e) {
		return e.Class
	}
	return Doubt
}
