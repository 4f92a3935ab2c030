package redis

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/keywright/keywright/internal/redact"
	"github.com/keywright/keywright/internal/rotator"
)

// Preflight proves without a change that a run can succeed.
func (r *Rotator) Preflight(ctx context.Context, t *rotator.Target, p rotator.Plan) (*rotator.Report, error) {
	ctx, cancel := withDeadline(ctx)
	defer cancel()
	d := r.Describe()
	if err := p.Fits(d.Title, d.Strategies); err != nil {
		return nil, err
	}
	var config *config
	for _, account := range p.Accounts {
		var err error
		if config, err = open(t, rotator.Change{Credential: rotator.Credential{Account: account}}); err != nil {
			return nil, err
		}
	}
	f := &preflight{config: config, plan: p, admin: t.Admin, snapshot: map[string]found{}}
	for _, e := range config.Endpoints {
		if err := f.endpoint(ctx, e); err != nil {
			return nil, err
		}
	}
	if f.replicas > len(config.Endpoints)-1 {
		f.warn("an endpoint has %d replicas, and only %d endpoints are named: lists do not replicate, so name every node", f.replicas, len(config.Endpoints))
	}
	if config.Plaintext {
		f.warn("passwords travel in clear: take plaintext out of the configuration")
	}
	if err := f.current(ctx, t); err != nil {
		return nil, err
	}
	return f.report()
}

type preflight struct {
	config   *config
	plan     rotator.Plan
	admin    rotator.Credential
	versions []string
	replicas int
	warnings []string
	snapshot map[string]found
}

// found is what the snapshot remembers of an endpoint.
type found struct {
	Keeping string `json:"keeping"`
	// Passwords is how many each user had.
	Passwords map[string]int `json:"passwords"`
}

func (f *preflight) endpoint(ctx context.Context, endpoint string) error {
	n, err := login(ctx, f.config, endpoint, f.admin)
	if err != nil {
		return loginFailure(endpoint, err)
	}
	defer n.close()
	who, err := n.whoami(ctx, f.admin.Account)
	if err != nil {
		return n.before(err, "asking who the administrator is")
	}
	if who != f.admin.Account {
		return rotator.Fail(rotator.Denied, nil, "the administrator's login at %s became %q", endpoint, who)
	}
	info, err := n.info(ctx)
	if err != nil {
		return n.before(err, "asking for the version")
	}
	if v := "Redis " + info["redis_version"]; !slices.Contains(f.versions, v) {
		f.versions = append(f.versions, v)
	}
	if replicas, err := strconv.Atoi(info["connected_slaves"]); err == nil {
		f.replicas = max(f.replicas, replicas)
	}
	var rules []string
	for _, account := range f.plan.Accounts {
		u, err := f.account(ctx, n, account)
		if err != nil {
			return err
		}
		rules = append(rules, u.rules)
	}
	if len(rules) == 2 && rules[0] != rules[1] {
		return rotator.Fail(rotator.Misconfigured, nil, "%q and %q have different rules at %s: give both the same, in the same order", f.plan.Accounts[0], f.plan.Accounts[1], endpoint)
	}
	return nil
}

func (f *preflight) account(ctx context.Context, n *node, account string) (*user, error) {
	p := place{node: n}
	if err := p.look(ctx, f.config, account); err != nil {
		return nil, err
	}
	if p.user == nil {
		return nil, rotator.Fail(rotator.Misconfigured, nil, "the user %q does not exist at %s: create it there", account, n.endpoint)
	}
	if err := f.mayChange(ctx, p, account); err != nil {
		return nil, err
	}
	if f.plan.Crowded(p.user.strangers) {
		return nil, rotator.Fail(rotator.Misconfigured, nil, "the user %q has another password than the current one at %s, which would be lost: find out who uses it and remove it", account, n.endpoint)
	}
	s := f.snapshot[n.endpoint]
	if s.Passwords == nil {
		s = found{Keeping: p.keeping.String(), Passwords: map[string]int{}}
	}
	s.Passwords[account] = len(p.user.hashes)
	f.snapshot[n.endpoint] = s
	return p.user, nil
}

// mayChange asks the server whether the administrator might, without doing it: ACL DRYRUN is there from Redis 7 on.
func (f *preflight) mayChange(ctx context.Context, p place, account string) error {
	needed := [][]any{{"ACL", "SETUSER", account}, {"CLIENT", "LIST"}, {"CLIENT", "KILL", "USER", account}}
	if save := p.keeping.command(); save != nil {
		needed = append(needed, save)
	}
	for _, command := range needed {
		answer, err := p.conn.Do(ctx, append([]any{"ACL", "DRYRUN", f.admin.Account}, command...)...).Text()
		switch {
		case word(err) == "ERR" || word(err) == "NOPERM":
			f.warn("%s does not say in advance what the administrator may do", p.endpoint)
			return nil
		case err != nil:
			return p.before(err, "asking what the administrator may do")
		case answer != "OK":
			return rotator.Fail(rotator.Denied, nil, "the administrator may not run %v %v at %s: see the rules in the rotator's page", command[0], command[1], p.endpoint)
		}
	}
	return nil
}

// strangers counts the passwords of a user that none of the values is.
func (u *user) strangers(values ...redact.Bytes) (n int) {
	for _, h := range u.hashes {
		if !slices.ContainsFunc(values, func(v redact.Bytes) bool { return hash(v) == h }) {
			n++
		}
	}
	return n
}

// current logs in with the credential in use. It saves nothing: that would be a change.
func (f *preflight) current(ctx context.Context, t *rotator.Target) error {
	if f.plan.Current == nil {
		return nil
	}
	logins, err := probe(ctx, t, *f.plan.Current, false)
	if err != nil {
		return err
	}
	return logins.Works(f.plan.Current.Account)
}

func (f *preflight) report() (*rotator.Report, error) {
	snapshot, err := json.Marshal(f.snapshot)
	if err != nil {
		return nil, err
	}
	slices.Sort(f.warnings)
	report := &rotator.Report{Identities: map[string]string{}, System: strings.Join(f.versions, ", "), Snapshot: snapshot, Warnings: slices.Compact(f.warnings)}
	for _, a := range f.plan.Accounts {
		report.Identities[a] = f.config.identity(a)
	}
	return report, nil
}

func (f *preflight) warn(format string, args ...any) {
	f.warnings = append(f.warnings, fmt.Sprintf(format, args...))
}
