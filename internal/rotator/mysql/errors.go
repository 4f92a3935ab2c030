package mysql

import (
	"crypto/tls"
	"errors"
	"fmt"

	driver "github.com/go-sql-driver/mysql"

	"github.com/keywright/keywright/internal/rotator"
)

// Error numbers of the servers: https://mariadb.com/kb/en/mariadb-error-code-reference/ and
// https://dev.mysql.com/doc/mysql-errors/8.4/en/server-error-reference.html.
const (
	errTooManyConnections = 1040
	errDatabaseDenied     = 1044
	errAccessDenied       = 1045
	errKillDenied         = 1095
	errNoSuchThread       = 1094
	errHostBlocked        = 1129
	errHostNotPrivileged  = 1130
	errTableDenied        = 1142
	errColumnDenied       = 1143
	errNoSuchTable        = 1146
	errUnknownVariable    = 1193
	errTooManyUser        = 1203
	errLockWait           = 1205
	errUserLimit          = 1226
	errPrivilegeNeeded    = 1227
	errOptionPrevents     = 1290
	errCannotUser         = 1396
	errCannotCreateUser   = 1410
	errPluginNotLoaded    = 1524
	errNoPassword         = 1698
	errPolicy             = 1819
	errPasswordExpired    = 1862
	errHistory            = 3638
	errLockedMySQL        = 3118
	errLockedOutMySQL     = 3955
	errLockedOutMariaDB   = 4150
	errLockedMariaDB      = 4151
)

// refusal stands for an error of a server in chains of causes. It has no text of the server's: that may quote the statement.
type refusal uint16

func (r refusal) Error() string { return fmt.Sprintf("the server says error %d", uint16(r)) }

// cause makes an error fit for a log.
func cause(err error) error {
	if n := number(err); n != 0 {
		return refusal(n)
	}
	return err
}

// loginFailure classes a failed login of the administrator: nothing has happened yet.
func loginFailure(endpoint string, err error) error {
	var bad *tls.CertificateVerificationError
	switch number(err) {
	case errAccessDenied, errNoPassword, errHostNotPrivileged, errLockedMariaDB, errLockedMySQL, errPasswordExpired:
		return rotator.Fail(rotator.Denied, cause(err), "the administrator cannot log in at %s: check the name, the password and the host", endpoint)
	case errTooManyConnections, errTooManyUser, errUserLimit, errHostBlocked, errLockedOutMariaDB, errLockedOutMySQL:
		return rotator.Fail(rotator.Busy, cause(err), "%s lets nobody in at the moment: wait", endpoint)
	}
	if errors.As(err, &bad) || errors.Is(err, driver.ErrNoTLS) {
		return rotator.Fail(rotator.Misconfigured, cause(err), "%s offers no TLS with a valid certificate: give it one, or set tls or plaintext", endpoint)
	}
	return rotator.Fail(rotator.NotApplied, cause(err), "logging in at %s failed: look whether it is up", endpoint)
}

// before classes an error from before any effect.
func (s *session) before(err error, doing string) error {
	switch number(err) {
	case errTableDenied, errColumnDenied, errDatabaseDenied, errPrivilegeNeeded, errAccessDenied:
		return rotator.Fail(rotator.Denied, cause(err), "%s at %s: the administrator lacks a right: grant CREATE USER on *.* and SELECT on mysql.*", doing, s.endpoint)
	case errNoSuchTable:
		return rotator.Fail(rotator.Misconfigured, cause(err), "%s at %s: the server is too old: it needs MariaDB 10.4 or MySQL 8.0.14", doing, s.endpoint)
	}
	return rotator.Fail(rotator.NotApplied, cause(err), "%s at %s failed: nothing was changed", doing, s.endpoint)
}

// altering classes an error of ALTER USER. Whatever the server does not say for certain is a doubt.
func (s *session) altering(r row, err error) error {
	class, advice := rotator.Doubt, "probe before the next try"
	switch number(err) {
	case errPrivilegeNeeded, errAccessDenied, errDatabaseDenied, errTableDenied, errCannotCreateUser:
		class, advice = rotator.Denied, "grant CREATE USER on *.* and, on MySQL for an account that has it, SYSTEM_USER"
	case errPolicy, errHistory:
		class, advice = rotator.Refused, "try another value"
	case errOptionPrevents:
		class, advice = rotator.Misconfigured, "the server is read only, or its option strict_password_validation refuses hashes: name a writable one, or turn the option off"
	case errCannotUser:
		class, advice = rotator.Misconfigured, "the account is gone, or the server checks passwords by a plugin and its option strict_password_validation refuses hashes"
	case errPluginNotLoaded:
		class, advice = rotator.Misconfigured, "load the authentication plugin, or choose another"
	case errLockWait:
		class, advice = rotator.NotApplied, "something holds the server's tables: try again"
	}
	return rotator.Fail(class, cause(err), "changing %v at %s failed: %s", r, s.endpoint, advice)
}
