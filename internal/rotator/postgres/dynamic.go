package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/keywright/keywright/internal/rotator"
)

// mark is the comment on roles that Provision made. Remove touches no other.
const mark = "made by Keywright for a lease"

// Provision makes a role in the owner role that logs in until expires, or makes one fit that an earlier call made. PostgreSQL refuses the
// password after expires, and lets sessions go on.
func (r *Rotator) Provision(ctx context.Context, t *rotator.Target, c rotator.Credential, expires time.Time) error {
	ctx, cancel := bounded(ctx)
	defer cancel()
	config, err := dynamicConfig(t, c.Account)
	if err != nil {
		return err
	}
	v, err := newVerifier(c.Value)
	if err != nil {
		return err
	}
	s, err := config.primary(ctx, t)
	if err != nil {
		return err
	}
	defer s.close(ctx)
	if err := s.lock(ctx, c.Account); err != nil {
		return err
	}
	exists, ours, err := s.lease(ctx, c.Account)
	if err != nil {
		return err
	}
	if exists && !ours {
		return rotator.Fail(rotator.Misconfigured, nil, "the role %q exists at %s and was not made for a lease: it stays as it is", c.Account, s.endpoint)
	}
	if err := s.run(ctx, "", config.provisioning(t, c.Account, v, expires, exists)); err != nil {
		return failed(err, "making the role %q at %s: the administrator %q needs CREATEROLE, and ADMIN OPTION for %q on PostgreSQL 16 and newer", c.Account, s.endpoint, t.Admin.Account, config.OwnerRole)
	}
	return s.commit(ctx)
}

// provisioning are the statements that make the role, or make it fit. The administrator becomes a member, so that it can give away what the role
// owns and end its sessions.
func (c *config) provisioning(t *rotator.Target, account string, v verifier, expires time.Time, exists bool) string {
	name, owner := quote(account), quote(c.OwnerRole)
	login := fmt.Sprintf("LOGIN PASSWORD %s VALID UNTIL %s", literal(string(v)), literal(expires.UTC().Format("2006-01-02 15:04:05.999999-07")))
	statements := []string{fmt.Sprintf("CREATE ROLE %s %s", name, login)}
	if exists {
		statements[0] = fmt.Sprintf("ALTER ROLE %s %s", name, login)
	}
	return strings.Join(append(statements,
		fmt.Sprintf("GRANT %s TO %s", owner, name),
		fmt.Sprintf("GRANT %s TO %s", name, quote(t.Admin.Account)),
		fmt.Sprintf("ALTER ROLE %s IN DATABASE %s SET role = %s", name, quote(c.Database), owner),
		fmt.Sprintf("COMMENT ON ROLE %s IS %s", name, literal(mark)),
	), "; ")
}

// Remove ends the role: first its logins, then its sessions, then what it owns goes to the owner role in every database, then the role itself. Each
// step may be repeated.
func (r *Rotator) Remove(ctx context.Context, t *rotator.Target, account string) error {
	ctx, cancel := bounded(ctx)
	defer cancel()
	c, err := dynamicConfig(t, account)
	if err != nil {
		return err
	}
	gone, err := c.disable(ctx, t, account)
	if err != nil || gone {
		return err
	}
	if _, err := r.Terminate(ctx, t, account); err != nil {
		return err
	}
	databases, err := c.databases(ctx, t, account)
	if err != nil {
		return err
	}
	for _, d := range databases {
		if err := c.disown(ctx, t, account, d); err != nil {
			return err
		}
	}
	return c.change(ctx, t, account, c.Database, "DROP ROLE IF EXISTS "+quote(account))
}

// disable takes the role's login away.
func (c *config) disable(ctx context.Context, t *rotator.Target, account string) (gone bool, err error) {
	s, err := c.primary(ctx, t)
	if err != nil {
		return false, err
	}
	defer s.close(ctx)
	if err := s.lock(ctx, account); err != nil {
		return false, err
	}
	exists, ours, err := s.lease(ctx, account)
	switch {
	case err != nil:
		return false, err
	case !exists:
		return true, nil
	case !ours:
		return false, rotator.Fail(rotator.Misconfigured, nil, "the role %q at %s was not made for a lease: it is not removed", account, s.endpoint)
	}
	if err := s.run(ctx, "", fmt.Sprintf("ALTER ROLE %s NOLOGIN PASSWORD NULL", quote(account))); err != nil {
		return false, failed(err, "disabling the role %q at %s", account, s.endpoint)
	}
	return false, s.commit(ctx)
}

// disown gives what the role owns in a database to the owner role, and takes its rights there.
func (c *config) disown(ctx context.Context, t *rotator.Target, account, database string) error {
	name := quote(account)
	return c.change(ctx, t, account, database, fmt.Sprintf("REASSIGN OWNED BY %s TO %s; DROP OWNED BY %s", name, quote(c.OwnerRole), name))
}

// change runs statements in a transaction in a database of the primary.
func (c *config) change(ctx context.Context, t *rotator.Target, account, database, statements string) error {
	in := *c
	in.Database = database
	s, err := in.primary(ctx, t)
	if err != nil {
		return err
	}
	defer s.close(ctx)
	if err := s.run(ctx, "", statements); sqlstate(err) == undefinedObject {
		return nil // somebody removed it in the meantime
	} else if err != nil {
		return failed(err, "removing the role %q in database %q at %s", account, database, s.endpoint)
	}
	return s.commit(ctx)
}

// databases are those in which the role owns something or has rights, and the target's own.
func (c *config) databases(ctx context.Context, t *rotator.Target, account string) ([]string, error) {
	s, err := c.admin(ctx, t, c.Endpoints[0], c.Database)
	if err != nil {
		return nil, err
	}
	defer s.close(ctx)
	rows, err := s.Query(ctx, `SELECT DISTINCT d.datname::text FROM pg_shdepend x JOIN pg_database d ON d.oid = x.dbid JOIN pg_roles r ON r.oid = x.refobjid
		WHERE x.refclassid = 'pg_authid'::regclass AND r.rolname = $1 AND d.datallowconn`, account)
	if err != nil {
		return nil, failed(err, "looking for what %q owns at %s", account, s.endpoint)
	}
	found, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, failed(err, "looking for what %q owns at %s", account, s.endpoint)
	}
	if !slices.Contains(found, c.Database) {
		found = append(found, c.Database) // rights on databases themselves show in any one
	}
	return found, nil
}

// Provisioned lists the roles made for leases whose name has the prefix.
func (r *Rotator) Provisioned(ctx context.Context, t *rotator.Target, prefix string) ([]string, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	c, err := parse(t.Config)
	if err != nil {
		return nil, err
	}
	s, err := c.admin(ctx, t, c.Endpoints[0], c.Database)
	if err != nil {
		return nil, err
	}
	defer s.close(ctx)
	rows, err := s.Query(ctx, `SELECT rolname::text FROM pg_roles WHERE starts_with(rolname::text, $1) AND shobj_description(oid, 'pg_authid') = $2 ORDER BY 1`, prefix, mark)
	if err != nil {
		return nil, failed(err, "listing the roles of leases at %s", s.endpoint)
	}
	found, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, failed(err, "listing the roles of leases at %s", s.endpoint)
	}
	return found, nil
}

// lease says whether a role exists, and whether Provision made it.
func (s *session) lease(ctx context.Context, account string) (exists, ours bool, err error) {
	err = s.QueryRow(ctx, "SELECT coalesce(shobj_description(oid, 'pg_authid'), '') = $2 FROM pg_roles WHERE rolname = $1", account, mark).Scan(&ours)
	if errors.Is(err, pgx.ErrNoRows) {
		return false, false, nil
	} else if err != nil {
		return false, false, failed(err, "looking for the role %q at %s", account, s.endpoint)
	}
	return true, ours, nil
}

func dynamicConfig(t *rotator.Target, account string) (*config, error) {
	c, err := parse(t.Config)
	if err != nil {
		return nil, err
	}
	if c.OwnerRole == "" {
		return nil, rotator.Fail(rotator.Misconfigured, nil, "dynamic accounts need ownerRole in the configuration: it owns what they leave behind")
	}
	return c, checkName(account)
}
