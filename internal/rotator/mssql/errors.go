package mssql

import (
	"errors"
	"fmt"

	driver "github.com/microsoft/go-mssqldb"

	"github.com/keywright/keywright/internal/rotator"
)

// Numbers of SQL Server's messages,
// https://learn.microsoft.com/sql/relational-databases/errors-events/database-engine-events-and-errors
const (
	loginFailed        = 18456 // whatever the reason: its state is not told to clients
	loginDisabled      = 18470
	loginUntrusted     = 18452
	loginLocked        = 18486
	passwordExpired    = 18487
	passwordMustChange = 18488
	cannotOpenDB       = 4060
	tooManyUsers       = 17809
	resourceLimit      = 10928
	outOfMemory        = 701
	lockTimeout        = 1222
	deadlock           = 1205
	noPermission       = 229
	noServerState      = 300
	cannotAlterLogin   = 15151
	noUserRight        = 15247
	killDenied         = 6102
	notActive          = 6106
	// Password validation: too short, too long, not complex, not unique, and others of a filter.
	firstPolicy, lastPolicy = 15114, 15119
	badParameter            = 15021
	// tooLate is thrown by our own batches.
	tooLate = 50207
)

// number is that of the server's answer, or 0 when err is none.
func number(err error) int32 {
	var answer driver.Error
	if errors.As(err, &answer) {
		return answer.Number
	}
	return 0
}

// classify says what is known after the server's own refusal, or after an error from before anything was sent that could change something.
func classify(err error) rotator.Class {
	switch n := number(err); {
	case n == loginFailed, n == loginDisabled, n == loginUntrusted, n == passwordExpired, n == passwordMustChange, n == noPermission, n == noServerState,
		n == cannotAlterLogin, n == noUserRight, n == killDenied:
		return rotator.Denied
	case n == cannotOpenDB:
		return rotator.Misconfigured
	case n >= firstPolicy && n <= lastPolicy, n == badParameter:
		return rotator.Refused
	case n == loginLocked, n == tooManyUsers, n == resourceLimit, n == outOfMemory, n == lockTimeout, n == deadlock:
		return rotator.Busy
	default:
		return rotator.NotApplied
	}
}

// failed is an error from before the deciding batch.
func failed(err error, format string, args ...any) error {
	return rotator.Explain(err, classify(err), cause(err), format, args...)
}

// cause is what of an error may be repeated: the server's number, since its words may quote a statement, else the driver's words.
func cause(err error) error {
	if n := number(err); n != 0 {
		return fmt.Errorf("SQL Server error %d", n)
	}
	return err
}
