package mongodb

import (
	"errors"
	"fmt"

	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver"

	"github.com/keywright/keywright/internal/rotator"
)

// Codes of the server's answers: https://www.mongodb.com/docs/manual/reference/error-codes/
const (
	badValue             = 2
	userNotFound         = 11
	unauthorized         = 13
	authenticationFailed = 18
	lockBusy             = 46
	timeLimit            = 50
	writeConcernFailed   = 64
	shutdownInProgress   = 91
	steppedDown          = 189
	interrupted          = 11601
	interruptedShutdown  = 11600
	interruptedChange    = 11602
	notPrimary           = 10107
	notPrimaryNoReply    = 13435
)

// code is that of the server's answer, or 0 when err is none.
func code(err error) int32 {
	var command mongo.CommandError
	if errors.As(err, &command) {
		return command.Code
	}
	var inner driver.Error // of the login inside a connection
	if errors.As(err, &inner) {
		return inner.Code
	}
	return 0
}

// classify says what is known after an answer of the server's to a change, or after an error from before one.
func classify(err error) rotator.Class {
	switch code(err) {
	case unauthorized, authenticationFailed:
		return rotator.Denied
	case userNotFound:
		return rotator.Misconfigured
	case badValue:
		return rotator.Refused
	case lockBusy:
		return rotator.Busy
	default:
		return rotator.NotApplied
	}
}

// decided reports whether an answer to a change proves that it did not happen. An interruption, a step-down in the middle or a write concern that was not
// met prove nothing.
func decided(err error) bool {
	switch code(err) {
	case 0, timeLimit, writeConcernFailed, shutdownInProgress, steppedDown, interrupted, interruptedShutdown, interruptedChange:
		return false
	}
	return true
}

// failed is an error from before a change.
func failed(err error, format string, args ...any) error {
	return rotator.Explain(err, classify(err), cause(err), format, args...)
}

// cause is what of an error may be repeated: the server's code, since its words may quote a command, else the driver's words.
func cause(err error) error {
	if n := code(err); n != 0 {
		return fmt.Errorf("MongoDB error %d", n)
	}
	return err
}
