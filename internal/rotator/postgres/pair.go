package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/keywright/keywright/internal/rotator"
)

// differences are queries that describe what a role has beside its name and password, and what to say when two roles differ in it. Shared catalogs
// show all databases of the cluster.
var differences = []struct{ what, query string }{
	{"memberships: grant both the same roles", `SELECT coalesce(string_agg(format('%s %s', roleid, admin_option), ',' ORDER BY roleid, admin_option), '')
		FROM pg_auth_members WHERE member = $1`},
	{"attributes (INHERIT, CREATEDB, CREATEROLE, REPLICATION, BYPASSRLS, CONNECTION LIMIT)", `SELECT format('%s %s %s %s %s %s %s', rolsuper, rolinherit,
		rolcreaterole, rolcreatedb, rolreplication, rolbypassrls, rolconnlimit) FROM pg_roles WHERE oid = $1`},
	{"settings: see ALTER ROLE … SET", `SELECT coalesce(string_agg(format('%s %s', setdatabase, setconfig), ',' ORDER BY setdatabase), '')
		FROM pg_db_role_setting WHERE setrole = $1`},
	{"rights granted to them directly: grant to the owner role and not to one of the pair", `SELECT coalesce(string_agg(format('%s %s %s %s', dbid, classid, objid, objsubid), ','
		ORDER BY dbid, classid, objid, objsubid), '') FROM pg_shdepend WHERE refclassid = 'pg_authid'::regclass AND refobjid = $1 AND deptype = 'a'`},
}

// comparePair refuses two roles that do not have equal rights, or of which one owns something: the other would be denied.
func (s *session) comparePair(ctx context.Context, c *config, a, b *role) (warnings []string, err error) {
	for _, d := range differences {
		var of [2]string
		for i, oid := range []uint32{a.oid, b.oid} {
			if err := s.QueryRow(ctx, d.query, oid).Scan(&of[i]); err != nil {
				return nil, err
			}
		}
		if of[0] != of[1] {
			return nil, rotator.Fail(rotator.Misconfigured, nil, "the roles %q and %q differ in their %s", a.name, b.name, d.what)
		}
	}
	for _, one := range []*role{a, b} {
		var owned int
		err := s.QueryRow(ctx, "SELECT count(*) FROM pg_shdepend WHERE refclassid = 'pg_authid'::regclass AND refobjid = $1 AND deptype = 'o'", one.oid).Scan(&owned)
		if err != nil {
			return nil, err
		}
		if owned > 0 {
			return nil, rotator.Fail(rotator.Misconfigured, nil,
				"the role %q owns %d objects, which the other of the pair may not change: REASSIGN OWNED BY %s TO the owner role, in each database", one.name, owned, quote(one.name))
		}
	}
	if c.OwnerRole == "" {
		return []string{"the target names no ownerRole: what one role of the pair makes, the other may not change"}, nil
	}
	owner, err := s.owner(ctx, c)
	if err != nil {
		return nil, err
	}
	for _, one := range []*role{a, b} {
		var member, takes bool
		err := s.QueryRow(ctx, `SELECT pg_has_role($1::oid, $2::oid, 'MEMBER'), EXISTS (SELECT FROM pg_db_role_setting x, unnest(x.setconfig) line, pg_database d
			WHERE x.setrole = $1 AND x.setdatabase IN (0, d.oid) AND d.datname = current_database() AND line IN ('role=' || $3::text, 'role=' || quote_ident($3::text)))`,
			one.oid, owner.oid, owner.name).Scan(&member, &takes)
		if err != nil {
			return nil, err
		}
		if !member {
			return nil, rotator.Fail(rotator.Misconfigured, nil, "the role %q is no member of the owner role: GRANT %s TO %s", one.name, quote(owner.name), quote(one.name))
		}
		if !takes {
			warnings = append(warnings, fmt.Sprintf("what %q makes will be its own: ALTER ROLE %s IN DATABASE %s SET role = %s", one.name, quote(one.name), quote(c.Database), quote(owner.name)))
		}
	}
	return warnings, nil
}

// owner reads the owner role, which nobody may log in as.
func (s *session) owner(ctx context.Context, c *config) (*role, error) {
	owner, err := s.role(ctx, c.OwnerRole)
	if err == nil && owner.canLogin {
		err = rotator.Fail(rotator.Misconfigured, nil, "the owner role %q may log in: ALTER ROLE %s NOLOGIN", owner.name, quote(owner.name))
	}
	return owner, err
}

// mayProvision says why the administrator may not make and remove roles.
func (s *session) mayProvision(ctx context.Context, c *config, admin *role) error {
	if _, err := s.owner(ctx, c); err != nil {
		return err
	}
	if admin.super {
		return nil
	}
	if !admin.createRole {
		return rotator.Fail(rotator.Denied, nil, "the administrator %q lacks CREATEROLE", admin.name)
	}
	var member bool
	err := s.QueryRow(ctx, "SELECT pg_has_role(session_user, oid, 'MEMBER') FROM pg_roles WHERE rolname = $1", c.OwnerRole).Scan(&member)
	if errors.Is(err, pgx.ErrNoRows) || err == nil && !member {
		return rotator.Fail(rotator.Denied, nil, "the administrator %q is no member of the owner role, so it cannot give it what a lease leaves: GRANT %s TO %s", admin.name, quote(c.OwnerRole), quote(admin.name))
	}
	return err
}
