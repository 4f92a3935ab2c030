package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/store/relational"
)

// The conditions that mean something here (https://www.postgresql.org/docs/15/errcodes-appendix.html).
const (
	uniqueViolation      = "23505"
	serializationFailure = "40001"
	completionUnknown    = "40003"
	deadlockDetected     = "40P01"
	lockNotAvailable     = "55P03"
	featureNotSupported  = "0A000"
	invalidAuthorization = "28000"
	invalidPassword      = "28P01"
	invalidCatalog       = "3D000"
	tooManyConnections   = "53300"
	cannotConnectNow     = "57P03"
)

// errAgain ends an update that has to run again with true answers: a statement that nobody waited for did not do what was expected.
var errAgain error = fault.New(fault.Unavailable, "a statement did not do what was expected of it")

// sqlState returns the condition of an error that the server answered, or "" for any other.
func sqlState(err error) string {
	var e *pgconn.PgError
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

// classify says what an error of a statement means for its transaction.
func classify(caller context.Context, err error) error {
	if err == nil {
		return nil
	}
	if e := caller.Err(); e != nil {
		return fmt.Errorf("reading from the store: %w", e)
	}
	switch state := sqlState(err); {
	case state == uniqueViolation:
		return fmt.Errorf("%w: %w", relational.ErrTaken, err)
	case state == serializationFailure || state == deadlockDetected:
		return &fault.Error{Kind: fault.Unavailable, Reason: repeatable, Err: err,
			Message: "the database chose the transaction to give way to others, again and again: repeat the change"}
	case state == lockNotAvailable:
		return fault.Wrap(err, fault.Unavailable, "the database takes no writes now: another node has held it for too long; it is tried again")
	case len(state) == 5 && ends[state[:2]]:
		return unavailable(err)
	case state != "":
		return fmt.Errorf("a statement failed: %w", err)
	}
	return unavailable(err)
}

// repeatable is the reason of errors of a group that has to run again.
const repeatable fault.Reason = "Repeatable"

// ends holds the classes of conditions after which the server cannot be relied on: connection exceptions, transactions that it must not write in, lack of resources,
// an operator's intervention, errors of its disks.
var ends = map[string]bool{"08": true, "25": true, "53": true, "57": true, "58": true, "XX": true}

// unavailable says why the store cannot serve now.
func unavailable(err error) error {
	switch {
	case err == nil:
		return nil
	case fault.Is(err, fault.Unavailable):
		return err
	case len(sqlState(err)) == 5 && sqlState(err)[:2] == "53":
		return fault.Wrap(err, fault.Unavailable, "the store cannot serve now: its database is out of disk, memory or connections; see the log")
	}
	return fault.Wrap(err, fault.Unavailable, "the store cannot serve now: its database does not answer as it should; see the log")
}

// errClosed is the answer of a closed store.
func errClosed() error { return fault.New(fault.Unavailable, "the store is closed") }
