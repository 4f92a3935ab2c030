package postgres

import (
	"errors"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/keywright/keywright/internal/rotator"
)

// SQLSTATE codes, from appendix A of PostgreSQL's manual.
const (
	invalidPassword      = "28P01"
	invalidAuthorization = "28000"
	insufficientRight    = "42501"
	undefinedObject      = "42704"
	undefinedDatabase    = "3D000"
	invalidParameter     = "22023"
	readOnlyTransaction  = "25006"
	adminShutdown        = "57P01"
	cannotConnectNow     = "57P03"
)

// sqlstate is the code of the server's answer, or "" when err is none.
func sqlstate(err error) string {
	var answer *pgconn.PgError
	if errors.As(err, &answer) {
		return answer.Code
	}
	return ""
}

// classify says what is known after an error from before COMMIT: the transaction is gone with its connection, so nothing happened.
func classify(err error) rotator.Class {
	switch code := sqlstate(err); {
	case code == invalidPassword, code == invalidAuthorization, code == insufficientRight:
		return rotator.Denied
	case code == undefinedObject, code == undefinedDatabase, code == readOnlyTransaction:
		return rotator.Misconfigured
	case code == invalidParameter:
		return rotator.Refused // a password check module does not take the verifier
	case strings.HasPrefix(code, "53"), code == cannotConnectNow:
		return rotator.Busy // too many connections, out of disk or memory; starting up
	default:
		return rotator.NotApplied
	}
}

// failed is an error from before COMMIT.
func failed(err error, format string, args ...any) error {
	return rotator.Explain(err, classify(err), err, format, args...)
}

// undecided is an error from COMMIT. The server's own refusal aborts the transaction, but for a shutdown, which may come while a transaction
// that is committed already waits for its standby.
func undecided(err error, format string, args ...any) error {
	if code := sqlstate(err); code != "" && code != adminShutdown && !strings.HasPrefix(code, "08") {
		return failed(err, format, args...)
	}
	return rotator.Fail(rotator.Doubt, err, format, args...)
}
