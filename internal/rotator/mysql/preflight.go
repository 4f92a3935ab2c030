package mysql

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/keywright/keywright/internal/rotator"
)

// Preflight proves without a change that a run can succeed.
func (r Rotator) Preflight(ctx context.Context, t *rotator.Target, p rotator.Plan) (*rotator.Report, error) {
	ctx, cancel := withDeadline(ctx)
	defer cancel()
	d := r.Describe()
	if err := p.Fits(d.Title, d.Strategies); err != nil {
		return nil, err
	}
	config, err := open(t, rotator.Change{Credential: p.Next})
	if err != nil {
		return nil, err
	}
	f := &preflight{config: config, plan: p, admin: t.Admin, snapshot: map[string]map[string][]string{}, clusters: map[string]string{}}
	for _, e := range config.all() {
		if err := f.endpoint(ctx, e); err != nil {
			return nil, err
		}
	}
	if err := f.current(ctx, r, t); err != nil {
		return nil, err
	}
	return f.report()
}

type preflight struct {
	config *config
	plan   rotator.Plan
	admin  rotator.Credential

	ids      []string
	clusters map[string]string // id of a cluster to the endpoint that is in it
	systems  []string
	warnings []string
	// snapshot is, by endpoint and row, the plugins that the row had.
	snapshot map[string]map[string][]string
}

func (f *preflight) endpoint(ctx context.Context, endpoint string) error {
	s, err := login(ctx, f.config, endpoint, f.admin)
	if err != nil {
		return loginFailure(endpoint, err)
	}
	defer s.close()
	if system := s.server.String(); !slices.Contains(f.systems, system) {
		f.systems = append(f.systems, system)
	}
	if !slices.Contains(f.config.Endpoints, endpoint) {
		return nil
	}
	f.ids = append(f.ids, s.server.id)
	if other, known := f.clusters[s.server.id]; known {
		return rotator.Fail(rotator.Misconfigured, nil, "%s and %s are one server, or two of one cluster: name one under endpoints and the others under replicas", other, endpoint)
	}
	f.clusters[s.server.id] = endpoint
	for _, check := range []func(context.Context, *session) error{f.administrator, f.passwordPolicy, f.accounts, f.pair, f.shadows} {
		if err := check(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

// administrator looks for the rights that Set and Revoke need.
func (f *preflight) administrator(ctx context.Context, s *session) error {
	rights, err := s.rights(ctx, s.self())
	if err != nil {
		return s.before(err, "reading the administrator's rights")
	}
	if !rights.has("CREATE USER") {
		return rotator.Fail(rotator.Denied, nil, "the administrator may not change accounts at %s: grant CREATE USER on *.*", s.endpoint)
	}
	if !rights.has("PROCESS") {
		f.warn("the administrator does not see the sessions of others at %s: grant PROCESS on *.*", s.endpoint)
	}
	return nil
}

// passwordPolicy: MariaDB refuses hashes while a plugin checks passwords, because it cannot see through them.
func (f *preflight) passwordPolicy(ctx context.Context, s *session) error {
	if !s.server.mariadb {
		return nil
	}
	cells, err := s.query(ctx, `SELECT @@GLOBAL.max_password_errors, @@GLOBAL.strict_password_validation AND EXISTS (SELECT * FROM information_schema.PLUGINS
		WHERE PLUGIN_TYPE = 'PASSWORD VALIDATION' AND PLUGIN_STATUS = 'ACTIVE')`)
	if err != nil {
		return s.before(err, "reading the password policy")
	}
	if cells[0][1] == "1" {
		return rotator.Fail(rotator.Misconfigured, nil, "%s checks passwords by a plugin and refuses hashes: set strict_password_validation to OFF, values made here are stronger than its rules", s.endpoint)
	}
	if n := cells[0][0]; len(n) == 1 {
		f.warn("%s locks an account after %s wrong passwords: each probe of a value that is not set yet counts", s.endpoint, n)
	}
	return nil
}

func (f *preflight) accounts(ctx context.Context, s *session) error {
	f.snapshot[s.endpoint] = map[string][]string{}
	for _, account := range f.plan.Accounts {
		rows, err := s.changeable(ctx, f.config, account)
		if err != nil {
			return err
		}
		if len(rows) == 0 {
			return rotator.Fail(rotator.Misconfigured, nil, "the account %q does not exist at %s: create it there", account, s.endpoint)
		}
		for _, r := range rows {
			if err := f.row(s, r); err != nil {
				return err
			}
		}
	}
	return nil
}

func (f *preflight) row(s *session, r row) error {
	plugin, wrong := r.plugin(f.config.Plugin, s.server.mariadb)
	if wrong == "" && f.plan.Strategy == rotator.Dual {
		wrong = s.server.dualRefusal(r, plugin)
	}
	if wrong == "" {
		wrong = f.crowded(r)
	}
	if wrong != "" {
		return rotator.Fail(rotator.Misconfigured, nil, "at %s, %s", s.endpoint, wrong)
	}
	var plugins []string
	for _, m := range r.methods {
		plugins = append(plugins, m.plugin)
	}
	f.snapshot[s.endpoint][r.String()] = plugins
	return nil
}

// crowded says that a row has a password beside those that the plan knows, which a change would kill.
func (f *preflight) crowded(r row) string {
	if !f.plan.Crowded(r.strangers) {
		return ""
	}
	return fmt.Sprintf("%v has another password than the current one, which would be lost: find out who uses it and remove it (MySQL: DISCARD OLD PASSWORD; MariaDB: IDENTIFIED VIA with the current one alone)", r)
}

// pair compares the rows of an alternating pair: whoever changes over must find the same rights.
func (f *preflight) pair(ctx context.Context, s *session) error {
	if len(f.plan.Accounts) != 2 {
		return nil
	}
	var profiles [2]map[string][]string
	for i, account := range f.plan.Accounts {
		profiles[i] = map[string][]string{}
		rows, err := s.rows(ctx, account)
		if err != nil {
			return s.before(err, "reading the account")
		}
		for _, r := range rows {
			if profiles[i][r.host], err = s.profile(ctx, r); err != nil {
				return s.before(err, "reading the rights of the account")
			}
		}
	}
	for i := range profiles {
		for host, mine := range profiles[i] {
			if theirs, ok := profiles[1-i][host]; !ok {
				return rotator.Fail(rotator.Misconfigured, nil, "%q has a row for the host %q at %s and %q has none: give both the same", f.plan.Accounts[i], host, s.endpoint, f.plan.Accounts[1-i])
			} else if !slices.Equal(mine, theirs) {
				return rotator.Fail(rotator.Misconfigured, nil, "%q and %q have different rights or limits for the host %q at %s: grant them to a role, and the role to both", f.plan.Accounts[0], f.plan.Accounts[1], host, s.endpoint)
			}
		}
	}
	return nil
}

func (f *preflight) shadows(ctx context.Context, s *session) error {
	anonymous, err := s.rows(ctx, "")
	if err != nil {
		return s.before(err, "looking for anonymous accounts")
	}
	for _, r := range anonymous {
		f.warn("the anonymous account %v at %s shadows others that log in from its host: drop it", r, s.endpoint)
	}
	if f.config.Plaintext {
		f.warn("logins at %s go over the bare network: take plaintext out of the configuration", s.endpoint)
	}
	return nil
}

// current logs in with the credential in use.
func (f *preflight) current(ctx context.Context, r Rotator, t *rotator.Target) error {
	if f.plan.Current == nil {
		return nil
	}
	logins, err := r.Probe(ctx, t, *f.plan.Current)
	if err != nil {
		return err
	}
	for _, l := range logins {
		if l.Verdict == rotator.Unknown && l.Identity != "" {
			return rotator.Fail(rotator.Misconfigured, nil, "the login of %q at %s fails: %s", f.plan.Current.Account, l.Endpoint, l.Detail)
		}
	}
	return logins.Works(f.plan.Current.Account)
}

func (f *preflight) report() (*rotator.Report, error) {
	snapshot, err := json.Marshal(f.snapshot)
	if err != nil {
		return nil, err
	}
	report := &rotator.Report{Identities: map[string]string{}, System: strings.Join(f.systems, ", "), Snapshot: snapshot, Warnings: f.warnings}
	for _, a := range f.plan.Accounts {
		report.Identities[a] = identity(f.ids, a)
	}
	return report, nil
}

func (f *preflight) warn(format string, args ...any) {
	f.warnings = append(f.warnings, fmt.Sprintf(format, args...))
}

// identity names an account by the least of the ids of its servers: the order in which a configuration names them does not matter.
func identity(ids []string, account string) string {
	if len(ids) == 0 {
		return ""
	}
	return name + ":" + slices.Min(ids) + "/" + account
}
