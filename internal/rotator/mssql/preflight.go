package mssql

import (
	"context"
	"slices"

	"github.com/keywright/keywright/internal/rotator"
)

// Preflight proves that a run can succeed.
func (r *Rotator) Preflight(ctx context.Context, t *rotator.Target, p rotator.Plan) (*rotator.Report, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	c, err := parse(t.Config)
	if err != nil {
		return nil, err
	}
	if err := p.Suits("SQL Server, whose logins have one password each,", r.Describe().Strategies, t.Admin, checkName); err != nil {
		return nil, err
	}
	report := &rotator.Report{Identities: map[string]string{}}
	for _, e := range c.Endpoints {
		s, err := c.admin(ctx, t, e)
		if err != nil {
			return nil, err
		}
		err = s.inspect(ctx, p, report)
		s.close()
		if err != nil {
			return nil, failed(err, "inspecting the logins at %s", e)
		}
	}
	if err := p.ProveCurrent(ctx, t, r.Probe); err != nil {
		return nil, err
	}
	return report, report.Remember()
}

// inspect looks at the administrator and the logins at one endpoint.
func (s *session) inspect(ctx context.Context, p rotator.Plan, report *rotator.Report) error {
	if report.System == "" {
		report.System = "SQL Server " + s.version
	}
	mine, err := s.rights(ctx)
	switch {
	case err != nil:
		return err
	case !mine.alterLogin:
		return rotator.Fail(rotator.Denied, nil, "the administrator may not change logins at %s: GRANT ALTER ANY LOGIN", s.endpoint)
	case !mine.viewState:
		report.Warnings = append(report.Warnings, "without VIEW SERVER STATE at "+s.endpoint+" nothing shows who is logged in")
	}
	var rights [][]string
	for i, a := range p.Accounts {
		found, err := s.login(ctx, a)
		if err != nil {
			return err
		}
		if err := s.usable(a, found, mine, a == p.Next.Account); err != nil {
			return err
		}
		id, err := identity(found.sid)
		if err != nil {
			return err
		}
		if known := report.Identities[a]; known != "" && known != id {
			return rotator.Fail(rotator.Misconfigured, nil, "the login %q has another SID at %s than at the first endpoint: recreate it there WITH SID, or its users in databases are orphans after a failover", a, s.endpoint)
		}
		report.Identities[a] = id
		some, err := s.texts(ctx, rightsQuery, a)
		if err != nil {
			return err
		}
		rights = append(rights, flat(some))
		if i == 1 && !slices.Equal(rights[0], rights[1]) {
			return rotator.Fail(rotator.Misconfigured, nil, "the logins %q and %q of the pair differ at %s in roles, permissions or defaults: grant rights to a role, and both the role", p.Accounts[0], a, s.endpoint)
		}
	}
	return nil
}

func (s *session) usable(name string, found *login, mine *rights, next bool) error {
	switch {
	case found == nil:
		return rotator.Fail(rotator.Misconfigured, nil, "there is no SQL login %q at %s: create it first, at each replica with one SID", name, s.endpoint)
	case found.admin && !mine.control:
		return rotator.Fail(rotator.Denied, nil, "the login %q is a sysadmin: its password needs an administrator with CONTROL SERVER at %s", name, s.endpoint)
	case found.locked:
		return rotator.Fail(rotator.Busy, nil, "the login %q is locked out at %s: somebody tries wrong passwords", name, s.endpoint)
	case found.mustChange && !next:
		return rotator.Fail(rotator.Misconfigured, nil, "the login %q has to change its password at its next login at %s: nobody else can do that", name, s.endpoint)
	}
	return nil
}

// rightsQuery describes what a login may do on the server and in the session's database.
const rightsQuery = `SELECT 'role ' + r.name FROM sys.server_role_members m JOIN sys.server_principals r ON r.principal_id = m.role_principal_id
		WHERE m.member_principal_id = SUSER_ID(@p1)
		UNION ALL SELECT state_desc + ' ' + permission_name + ' ' + class_desc + ' ' + CONVERT(nvarchar(20), major_id) FROM sys.server_permissions WHERE grantee_principal_id = SUSER_ID(@p1)
		UNION ALL SELECT 'database role ' + r.name FROM sys.database_role_members m JOIN sys.database_principals r ON r.principal_id = m.role_principal_id
		JOIN sys.database_principals u ON u.principal_id = m.member_principal_id WHERE u.sid = SUSER_SID(@p1)
		UNION ALL SELECT 'database ' + p.state_desc + ' ' + p.permission_name + ' ' + p.class_desc + ' ' + CONVERT(nvarchar(20), p.major_id) + ' ' + CONVERT(nvarchar(20), p.minor_id)
		FROM sys.database_permissions p JOIN sys.database_principals u ON u.principal_id = p.grantee_principal_id WHERE u.sid = SUSER_SID(@p1)
		UNION ALL SELECT 'default ' + ISNULL(default_database_name, '') + ' ' + ISNULL(default_language_name, '') FROM sys.server_principals WHERE name = @p1
		ORDER BY 1`

func flat(rows [][]string) []string {
	var all []string
	for _, r := range rows {
		all = append(all, r...)
	}
	return all
}
