package postgres

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/keywright/keywright/internal/rotator"
)

// Rotator changes roles of PostgreSQL. It keeps nothing.
type Rotator struct{}

var (
	_ rotator.Rotator     = (*Rotator)(nil)
	_ rotator.Observer    = (*Rotator)(nil)
	_ rotator.Terminator  = (*Rotator)(nil)
	_ rotator.Provisioner = (*Rotator)(nil)
)

// New returns the rotator.
func New() *Rotator { return &Rotator{} }

// Describe says what the rotator can do.
func (r *Rotator) Describe() rotator.Description {
	return rotator.Description{
		Name: "postgres", Title: "PostgreSQL",
		Strategies:  []rotator.Strategy{rotator.Single, rotator.Alternating, rotator.Dynamic},
		Evidence:    rotator.AccountEvidence,
		SelfService: true,
		Value:       rotator.DefaultValue,
		Verified:    []rotator.System{{Product: "PostgreSQL", Version: "15.18"}},
		Unverified: []rotator.System{
			{Product: "PostgreSQL", Version: "13, 14, 16, 17, 18"},
			{Product: "Amazon RDS and Aurora, Azure Database, Cloud SQL for PostgreSQL", Version: "any"},
		},
		Config: slices.Clone(members),
	}
}

// Check reports every mistake in a configuration.
func (r *Rotator) Check(raw json.RawMessage) error {
	_, err := parse(raw)
	return err
}

// Probe logs in at every endpoint. Only the server's refusal of the password is Rejected; note that it answers the same for a password that has
// expired (VALID UNTIL).
func (r *Rotator) Probe(ctx context.Context, t *rotator.Target, c rotator.Credential) (rotator.Logins, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	config, err := parse(t.Config)
	if err != nil {
		return nil, err
	}
	if err := checkName(c.Account); err != nil {
		return nil, err
	}
	logins := make(rotator.Logins, len(config.Endpoints))
	for i, e := range config.Endpoints {
		logins[i] = config.login(ctx, e, c, t.Attempt)
	}
	standbyLag(logins)
	return logins, nil
}

func (c *config) login(ctx context.Context, endpoint string, as rotator.Credential, attempt string) rotator.Login {
	login := rotator.Login{Endpoint: endpoint}
	s, err := c.dial(ctx, endpoint, c.Database, as, attempt)
	switch {
	case sqlstate(err) == invalidPassword:
		login.Verdict, login.Detail = rotator.Rejected, "the server refused the password, or it has expired"
		return login
	case err != nil:
		login.Detail = err.Error()
		return login
	}
	defer s.close(ctx)
	var who, system string
	var oid uint32
	// pg_catalog by name: a session's settings may put other schemas first.
	err = s.QueryRow(ctx, `SELECT session_user::text, r.oid, c.system_identifier::text
		FROM pg_catalog.pg_roles r, pg_catalog.pg_control_system() c WHERE r.rolname = session_user`).Scan(&who, &oid, &system)
	switch {
	case err != nil:
		login.Detail = "logged in, and then: " + err.Error()
	case who != as.Account:
		login.Identity = identity(system, oid)
		login.Detail = fmt.Sprintf("the login became %q: something between here and the server maps it", who)
	default:
		login.Verdict, login.Identity = rotator.Accepted, identity(system, oid)
	}
	return login
}

// standbyLag explains endpoints that do not agree.
func standbyLag(logins rotator.Logins) {
	for i := range logins[1:] {
		one := &logins[i+1]
		if logins[0].Verdict != rotator.Unknown && one.Verdict != rotator.Unknown && one.Verdict != logins[0].Verdict {
			one.Detail = fmt.Sprintf("%s while %s says %s: the standby lags behind", one.Verdict, logins[0].Endpoint, logins[0].Verdict)
		}
	}
}

// identity names a role by the cluster that it belongs to, which its standbys share, and its own number, which survives a change of name.
func identity(system string, oid uint32) string { return fmt.Sprintf("postgresql:%s:%d", system, oid) }
