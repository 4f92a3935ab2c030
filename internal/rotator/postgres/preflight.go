package postgres

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/keywright/keywright/internal/rotator"
)

// expiryNotice is how long before a role's VALID UNTIL a plan is warned of it.
const expiryNotice = 30 * 24 * time.Hour

// adminOptionSince is the server_version_num from which CREATEROLE alone does not suffice: PostgreSQL 16.
const adminOptionSince = 160000

// server is what an endpoint says of itself.
type server struct {
	version       string
	versionNumber int
	system        string
	standby       bool
	fsync         bool
	// sees is true when the administrator is shown where sessions of others come from.
	sees bool
}

// role is an account as pg_roles has it.
type role struct {
	name                                             string
	oid                                              uint32
	canLogin, super, createRole, replication, bypass bool
	validUntil                                       *time.Time
	administered                                     bool
}

// Preflight proves that a change of the plan's accounts can succeed. It changes nothing.
func (r *Rotator) Preflight(ctx context.Context, t *rotator.Target, p rotator.Plan) (*rotator.Report, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	c, err := parse(t.Config)
	if err != nil {
		return nil, err
	}
	if err := r.checkPlan(c, &p); err != nil {
		return nil, err
	}
	report := &rotator.Report{Identities: map[string]string{}}
	first, err := c.survey(ctx, t, report)
	if err != nil {
		return nil, err
	}
	s, err := c.admin(ctx, t, c.Endpoints[0], c.Database)
	if err != nil {
		return nil, err
	}
	defer s.close(ctx)
	if err := s.inspect(ctx, c, t, &p, first, report); err != nil {
		return nil, failed(err, "inspecting the roles at %s", s.endpoint)
	}
	if p.Current != nil {
		if err := r.checkCurrent(ctx, t, *p.Current); err != nil {
			return nil, err
		}
	}
	return report, nil
}

func (r *Rotator) checkPlan(c *config, p *rotator.Plan) error {
	d := r.Describe()
	if !d.Supports(p.Strategy) {
		return rotator.Fail(rotator.Misconfigured, nil, "PostgreSQL cannot keep the strategy %q safe: a role has one password; use single, alternating or dynamic", p.Strategy)
	}
	want := map[rotator.Strategy]int{rotator.Single: 1, rotator.Alternating: 2}[p.Strategy]
	if len(p.Accounts) != want {
		return rotator.Fail(rotator.Misconfigured, nil, "the strategy %s takes %d accounts, and the plan has %d", p.Strategy, want, len(p.Accounts))
	}
	if want == 0 && c.OwnerRole == "" {
		return rotator.Fail(rotator.Misconfigured, nil, "dynamic accounts need ownerRole in the configuration: it owns what they leave behind")
	}
	for i, a := range p.Accounts {
		if err := checkName(a); err != nil {
			return err
		}
		if slices.Contains(p.Accounts[:i], a) {
			return rotator.Fail(rotator.Misconfigured, nil, "the pair has the role %q twice", a)
		}
	}
	if want > 0 && !slices.Contains(p.Accounts, p.Next.Account) {
		return rotator.Fail(rotator.Misconfigured, nil, "the role %q that is to change is none of the plan's accounts", p.Next.Account)
	}
	return nil
}

// survey asks every endpoint what it is. They must be one cluster whose primary is the first.
func (c *config) survey(ctx context.Context, t *rotator.Target, report *rotator.Report) (first *server, err error) {
	for i, e := range c.Endpoints {
		s, err := c.admin(ctx, t, e, c.Database)
		if err != nil {
			return nil, err
		}
		v := &server{}
		err = s.QueryRow(ctx, `SELECT current_setting('server_version'), current_setting('server_version_num')::int, pg_is_in_recovery(),
			current_setting('fsync')::bool, system_identifier::text, pg_has_role(current_user, 'pg_read_all_stats', 'USAGE') FROM pg_control_system()`).
			Scan(&v.version, &v.versionNumber, &v.standby, &v.fsync, &v.system, &v.sees)
		s.close(ctx)
		if err != nil {
			return nil, failed(err, "asking %s what it is", e)
		}
		switch {
		case i == 0 && v.standby:
			return nil, rotator.Fail(rotator.Misconfigured, nil, "the first endpoint %s is a standby: put the primary first in endpoints", e)
		case i == 0:
			first = v
			report.System = "PostgreSQL " + v.version
		case v.system != first.system:
			return nil, rotator.Fail(rotator.Misconfigured, nil, "%s and %s are different clusters: give each a target of its own", c.Endpoints[0], e)
		case !v.standby:
			return nil, rotator.Fail(rotator.Misconfigured, nil, "%s and %s both take changes: one of them was left behind by a switch", c.Endpoints[0], e)
		}
		if !v.fsync {
			report.Warnings = append(report.Warnings, fmt.Sprintf("%s runs with fsync = off: it may forget a password that it acknowledged", e))
		}
		if !v.sees {
			report.Warnings = append(report.Warnings, fmt.Sprintf("%s does not tell the administrator where sessions come from, so nobody who stays with an old password is named by them, and each holds the password "+
				"back until somebody clears it: grant it pg_read_all_stats", e))
		}
	}
	return first, nil
}

// inspect looks at the administrator, the accounts and what they are to each other.
func (s *session) inspect(ctx context.Context, c *config, t *rotator.Target, p *rotator.Plan, v *server, report *rotator.Report) error {
	admin, err := s.role(ctx, t.Admin.Account)
	if err != nil {
		return err
	}
	if p.Strategy == rotator.Dynamic {
		return s.mayProvision(ctx, c, admin)
	}
	var accounts []*role
	for _, name := range p.Accounts {
		a, err := s.role(ctx, name)
		if err != nil {
			return err
		}
		warning, err := admin.mayChange(a, v)
		if err != nil {
			return err
		}
		if warning != "" {
			report.Warnings = append(report.Warnings, warning)
		}
		report.Identities[name] = identity(v.system, a.oid)
		accounts = append(accounts, a)
	}
	if len(accounts) == 2 {
		warnings, err := s.comparePair(ctx, c, accounts[0], accounts[1])
		if err != nil {
			return err
		}
		report.Warnings = append(report.Warnings, warnings...)
	}
	report.Snapshot, err = json.Marshal(map[string]any{"systemIdentifier": v.system, "serverVersion": v.version, "identities": report.Identities})
	return err
}

// role reads an account. The session's own login is the administrator.
func (s *session) role(ctx context.Context, name string) (*role, error) {
	a := &role{name: name}
	err := s.QueryRow(ctx, `SELECT oid, rolcanlogin, rolsuper, rolcreaterole, rolreplication, rolbypassrls,
			CASE WHEN isfinite(rolvaliduntil) THEN rolvaliduntil END, pg_has_role(session_user, oid, 'MEMBER WITH ADMIN OPTION')
		FROM pg_roles WHERE rolname = $1`, name).
		Scan(&a.oid, &a.canLogin, &a.super, &a.createRole, &a.replication, &a.bypass, &a.validUntil, &a.administered)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, rotator.Fail(rotator.Misconfigured, nil, "there is no role %q at %s: create it first", name, s.endpoint)
	}
	return a, err
}

// mayChange says why the administrator may not change the account's password, or why that would not make it log in.
func (admin *role) mayChange(a *role, v *server) (warning string, err error) {
	deny := func(format string, args ...any) (string, error) {
		return "", rotator.Fail(rotator.Denied, nil, format, args...)
	}
	switch self := admin.oid == a.oid; {
	case admin.super || self:
	case a.super:
		return deny("the role %q is a superuser, and %q is not: only a superuser may change it", a.name, admin.name)
	case a.replication || a.bypass:
		return deny("the role %q has REPLICATION or BYPASSRLS, and %q is no superuser: let it change its own password", a.name, admin.name)
	case !admin.createRole:
		return deny("the administrator %q lacks CREATEROLE: ALTER ROLE %s CREATEROLE", admin.name, quote(admin.name))
	case v.versionNumber >= adminOptionSince && !a.administered:
		return deny("the administrator %q lacks ADMIN OPTION: GRANT %s TO %s WITH ADMIN OPTION", admin.name, quote(a.name), quote(admin.name))
	}
	switch {
	case !a.canLogin:
		return "", rotator.Fail(rotator.Misconfigured, nil, "the role %q has NOLOGIN: ALTER ROLE %s LOGIN", a.name, quote(a.name))
	case a.validUntil == nil:
	case time.Until(*a.validUntil) <= 0:
		return "", rotator.Fail(rotator.Misconfigured, nil, "the password of %q expired on %s: every new one is refused until its VALID UNTIL is moved", a.name, a.validUntil.Format(time.RFC3339))
	case time.Until(*a.validUntil) < expiryNotice:
		warning = fmt.Sprintf("the role %q has VALID UNTIL %s, which no rotation moves", a.name, a.validUntil.Format(time.RFC3339))
	}
	return warning, nil
}

// checkCurrent logs in with the credential in use.
func (r *Rotator) checkCurrent(ctx context.Context, t *rotator.Target, current rotator.Credential) error {
	logins, err := r.Probe(ctx, t, current)
	if err != nil {
		return err
	}
	rejected := 0
	for _, l := range logins {
		if l.Verdict == rotator.Rejected {
			rejected++
		} else if l.Verdict == rotator.Unknown {
			return rotator.Fail(rotator.NotApplied, nil, "the present password of %q cannot be tried at %s: %s", current.Account, l.Endpoint, l.Detail)
		}
	}
	switch rejected {
	case 0:
		return nil
	case len(logins):
		return rotator.Fail(rotator.Misconfigured, nil, "the present password of %q is refused: it was changed by somebody else, or has expired", current.Account)
	default:
		return rotator.Fail(rotator.NotApplied, nil, "the present password of %q is refused at %d of %d endpoints: a standby lags behind", current.Account, rejected, len(logins))
	}
}
