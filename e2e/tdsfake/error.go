package tdsfake

import "fmt"

// sqlError is an error as SQL Server numbers it; class is the severity.
type sqlError struct {
	number uint32
	state  byte
	class  byte
	text   string
}

func (e *sqlError) Error() string { return fmt.Sprintf("%d: %s", e.number, e.text) }

// The numbers are those of SQL Server's own messages:
// https://learn.microsoft.com/sql/relational-databases/errors-events/database-engine-events-and-errors
func errLoginFailed(login string) *sqlError {
	return &sqlError{18456, 1, 14, fmt.Sprintf("Login failed for user '%s'.", clip(login))}
}

func errLockedOut(login string) *sqlError {
	return &sqlError{18486, 1, 14, fmt.Sprintf("Login failed for user '%s' because the account is currently locked out.", clip(login))}
}

func errDisabled(login string) *sqlError {
	return &sqlError{18470, 1, 14, fmt.Sprintf("Login failed for user '%s'. Reason: The account is disabled.", clip(login))}
}

func errServerState() *sqlError {
	return &sqlError{300, 1, 14, "VIEW SERVER STATE permission was denied on object 'server', database 'master'."}
}

func errHash() *sqlError {
	return &sqlError{15021, 2, 16, "Invalid value given for parameter PASSWORD. Specify a valid parameter value."}
}

func errAlterLogin(login string) *sqlError {
	return &sqlError{15151, 1, 16, fmt.Sprintf(
		"Cannot alter the login '%s', because it does not exist or you do not have permission.", clip(login))}
}

// errSyntax never repeats the statement: it may hold a password.
func errSyntax(what string) *sqlError {
	return &sqlError{102, 1, 15, "This is a TDS protocol fake, which does not know the statement: " + what + "."}
}

func errProcedure(name string) *sqlError {
	return &sqlError{2812, 62, 16, fmt.Sprintf("Could not find stored procedure '%s'.", clip(name))}
}

func errTooLong() *sqlError {
	return &sqlError{8152, 1, 16, fmt.Sprintf("A text value is longer than %d units.", maxNVarchar)}
}

func errNothingToCommit() *sqlError {
	return &sqlError{3902, 1, 16, "The COMMIT TRANSACTION request has no corresponding BEGIN TRANSACTION."}
}

func errNothingToRollBack() *sqlError {
	return &sqlError{3903, 1, 16, "The ROLLBACK TRANSACTION request has no corresponding BEGIN TRANSACTION."}
}

// clip keeps names from the wire within what a message can carry.
func clip(s string) string {
	const most = 128 // the length of sysname
	if r := []rune(s); len(r) > most {
		return string(r[:most])
	}
	return s
}
