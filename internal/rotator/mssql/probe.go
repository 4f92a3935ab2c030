package mssql

import (
	"context"
	"fmt"

	"github.com/keywright/keywright/internal/rotator"
)

// Probe logs in at every endpoint. Error 18456 is the server's only word for a wrong password, and for a login that does not exist.
func (*Rotator) Probe(ctx context.Context, t *rotator.Target, c rotator.Credential) (rotator.Logins, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	config, err := parse(t.Config)
	if err != nil {
		return nil, err
	}
	if err := checkName(c.Account); err != nil {
		return nil, err
	}
	return c.TryAt(config.Endpoints, func(e string) rotator.Login { return config.login(ctx, e, c, t.Attempt) })
}

func (c *config) login(ctx context.Context, address string, as rotator.Credential, attempt string) rotator.Login {
	one := rotator.Login{Endpoint: address}
	s, err := c.dial(ctx, address, as, attempt)
	switch n := number(err); {
	case n == loginFailed:
		one.Verdict, one.Detail = rotator.Rejected, "the server refused the login (18456)"
		return one
	case n == loginLocked, n == loginDisabled, n == passwordExpired, n == passwordMustChange, n == cannotOpenDB:
		one.Detail = map[int32]string{
			loginLocked:        "the login is locked out (18486)",
			loginDisabled:      "the password is right and the login disabled (18470)",
			passwordExpired:    "the password is right and has expired (18487)",
			passwordMustChange: "the password is right and must be changed first (18488)",
			cannotOpenDB:       fmt.Sprintf("the password is right and the login may not open the database %q (4060)", c.Database),
		}[n]
		return one
	case err != nil:
		one.Detail = "no login: " + cause(err).Error()
		return one
	}
	defer s.close()
	rows, err := s.texts(ctx, "SELECT ORIGINAL_LOGIN(), CONVERT(nvarchar(200), SUSER_SID(ORIGINAL_LOGIN()), 1)")
	if err != nil || len(rows) != 1 {
		one.Detail = "logged in, and then the server did not say as whom"
		return one
	}
	one.Identity, err = identity(rows[0][1])
	switch {
	case err != nil:
		one.Detail = err.Error()
	case rows[0][0] != as.Account:
		one.Detail = fmt.Sprintf("the login became %q", rows[0][0])
	default:
		one.Verdict = rotator.Accepted
	}
	return one
}
