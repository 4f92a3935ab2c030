package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/keywright/keywright/client"
	"github.com/keywright/keywright/client/api"
	"github.com/keywright/keywright/e2e/pgtest"
)

const (
	// shopDatabase is the application's, shopSecret holds its credential, adminSecret that by which Keywright changes it.
	shopDatabase = "shop"
	shopSecret   = "shop-db"
	adminSecret  = "shop-db-admin"
	ownerRole    = "shop_owner"
	adminRole    = "keywright"
	// shelves is how many rows the application writes to.
	shelves = 64
)

// pair are the two roles that take turns.
var pair = []string{"shop_a", "shop_b"}

// paceFlags make `keywright dev` as quick as the story: what production waits for minutes passes here in half a second.
var paceFlags = []string{"--rotation-lease", "3s", "--rotation-look", "250ms", "--rotation-probe", "250ms", "--rotation-settle", "500ms"}

// changing is what the chapters of part two share.
type changing struct {
	options
	keywright *keywright
	database  *pgtest.Server
	gate      *gate
	// vault is the demo's, as its operator sees it, and everything is the installation.
	everything *client.Client
	vault      *client.Vault
	tally      *tally
	shop       []*instance
	deaths     []death
	before     []api.VersionHolder
}

// death is the end of an old credential.
type death struct {
	chapter, account, version string
	promoted, at              time.Time
	evidence                  string
}

// changingPart is part two, on the server and the database of part one.
func (s *stage) changingPart(ctx context.Context, k *keywright, database *pgtest.Server) error {
	c := &changing{options: s.options, keywright: k, database: database, tally: &tally{}}
	if err := c.operate(); err != nil {
		return err
	}
	return c.tell(ctx)
}

// tell lets a password change over and over, under an application that works on.
func (c *changing) tell(ctx context.Context) (err error) {
	title("Part two: a password that changes every few seconds, under an application at work")
	if err := step("two roles of PostgreSQL with equal rights, and one that may change their passwords", func() (string, error) {
		return "shop_a and shop_b act as shop_owner, which owns the tables", c.makeRoles(ctx)
	}); err != nil {
		return err
	}
	if c.gate, err = openGate(fmt.Sprintf("127.0.0.1:%d", c.database.Port)); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.gate.close()) }()
	if err := step("the secret "+shopSecret+" has a rotation policy", func() (string, error) {
		return "alternating; the old credential goes when nobody uses it", c.setPolicy(ctx)
	}); err != nil {
		return err
	}
	defer c.closeShop()
	if err := step("the application runs", func() (string, error) {
		return fmt.Sprintf("%d instances with %d workers on their own pools, and logins beside them", instances, instances*workersPerInstance), c.openShop(ctx)
	}); err != nil {
		return err
	}
	for _, chapter := range []func(context.Context) error{c.alternate, c.badCandidate, c.crash, c.laggard} {
		if err := chapter(ctx); err != nil {
			return err
		}
		if err := c.tally.check(); err != nil {
			return err
		}
	}
	return c.summary(ctx)
}

// makeRoles does what docs/rotators/postgresql.md asks to be done once. Only shop_a and the administrator have a password.
func (c *changing) makeRoles(ctx context.Context) error {
	first, admin := rand.Text(), rand.Text() // letters and digits: nothing to quote
	statements := []string{
		"CREATE ROLE " + ownerRole + " NOLOGIN",
		"CREATE DATABASE " + shopDatabase + " OWNER " + ownerRole,
		"CREATE ROLE " + adminRole + " LOGIN CREATEROLE PASSWORD '" + admin + "'",
		"GRANT pg_signal_backend, pg_read_all_stats TO " + adminRole,
	}
	for _, role := range pair {
		statements = append(statements, "CREATE ROLE "+role+" LOGIN IN ROLE "+ownerRole,
			"ALTER ROLE "+role+" IN DATABASE "+shopDatabase+" SET role = "+ownerRole)
	}
	statements = append(statements, "ALTER ROLE "+pair[0]+" PASSWORD '"+first+"'")
	if err := c.database.Exec(ctx, statements...); err != nil {
		return err
	}
	if err := c.makeTable(ctx, first); err != nil {
		return err
	}
	for name, login := range map[string]map[string]string{
		shopSecret:  {"username": pair[0], "password": first},
		adminSecret: {"username": adminRole, "password": admin},
	} {
		value, err := json.Marshal(login)
		if err != nil {
			return err
		}
		if _, err := c.vault.Set(ctx, name, value); err != nil {
			return err
		}
	}
	return nil
}

// makeTable is done by one of the pair: what it makes belongs to the owner role.
func (c *changing) makeTable(ctx context.Context, password string) error {
	conn, err := pgx.Connect(ctx, c.database.DSN(pair[0], password, shopDatabase))
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if _, err := conn.Exec(ctx, "CREATE TABLE stock (shelf int PRIMARY KEY, sold bigint NOT NULL)"); err != nil {
		return err
	}
	_, err = conn.Exec(ctx, "INSERT INTO stock SELECT n, 0 FROM generate_series(0, $1) n", shelves-1)
	return err
}

func (c *changing) setPolicy(ctx context.Context) error {
	policy, err := json.Marshal(api.RotationPolicy{
		Strategy: "alternating", Rotator: "postgres", Accounts: pair, Admin: &api.SecretReference{Name: adminSecret},
		Target: map[string]any{"endpoints": []string{c.gate.address()}, "database": shopDatabase, "ownerRole": ownerRole, "tls": map[string]string{"mode": "disable"}},
		Format: api.ValueFormat{Kind: "json"}, Grace: "1s", Observation: "250ms", Terminate: true,
	})
	if err != nil {
		return err
	}
	_, err = c.vault.SetRotationPolicy(ctx, shopSecret, policy)
	return err
}

// operate makes the clients of the operator, whose credential dev.env has.
func (c *changing) operate() error {
	config, err := client.ConfigFromEnv(func(name string) string { return c.keywright.env[name] })
	if err != nil {
		return err
	}
	if c.everything, err = client.New(config); err != nil {
		return err
	}
	c.vault = c.everything.Vault(vaultName)
	return nil
}

func (c *changing) openShop(ctx context.Context) error {
	for n := range instances {
		i := &instance{name: fmt.Sprintf("shop-%d", n+1), secret: shopSecret, from: machine(firstMachine + n), dsn: c.database.DSN, tally: c.tally}
		var err error
		if i.vault, err = c.as(i.name, i.from); err != nil {
			return err
		}
		c.shop = append(c.shop, i)
		if err := i.start(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (c *changing) closeShop() {
	for _, i := range c.shop {
		i.stop()
	}
}

// current is what the application signs in with. The demo asks the application and not the vault: who reads a secret holds it, and is waited for.
func (c *changing) current() *credential { return c.shop[0].holds() }

// rotate starts a run and returns the credential that it is to replace.
func (c *changing) rotate(ctx context.Context, note string) (old *credential, run *api.Rotation, err error) {
	run, err = c.vault.Rotate(ctx, shopSecret, api.StartRotation{Cause: api.OnDemand, Note: note})
	return c.current(), run, err
}

// limit is how long one run may take on a busy machine.
const limit = 90 * time.Second

// follow waits for a run to end in the state.
func (c *changing) follow(ctx context.Context, id, state string) (*api.Rotation, error) {
	r, err := c.await(ctx, id, func(r *api.Rotation) bool { return !r.Open || r.State == api.RunStuck })
	if err == nil && r.State != state {
		err = fmt.Errorf("the run %s ended as %s (%s), not as %s%s", id, r.State, r.Reason, state, lastError(r))
	}
	return r, err
}

// await waits until a run is as it should be. A server that is away for a moment is waited for too.
func (c *changing) await(ctx context.Context, id string, so func(*api.Rotation) bool) (*api.Rotation, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	r, err := c.vault.Rotation(ctx, id)
	for err == nil && !so(r) {
		if !r.Open {
			return r, fmt.Errorf("the run %s ended as %s (%s) before what was waited for%s", id, r.State, r.Reason, lastError(r))
		}
		var next *api.Rotation
		if next, err = c.vault.AwaitRotation(ctx, id, r.Revision, time.Second); err != nil {
			return r, fmt.Errorf("the run %s stands at %s (%s)%s, and %s: %w", id, r.State, r.Reason, lastError(r), waitsFor(r), err)
		}
		r = next
	}
	return r, err
}

// waitsFor tells whom a revocation waits for.
func waitsFor(r *api.Rotation) string {
	if len(r.Waiting) == 0 {
		return "waits for nobody"
	}
	w := r.Waiting[0]
	return fmt.Sprintf("waits for %d consumers, the first being %s: %s", len(r.Waiting), w.Instance, w.Why)
}

func lastError(r *api.Rotation) string {
	if r.LastError == nil {
		return ""
	}
	return fmt.Sprintf("; last error in %s: %s", r.LastError.State, r.LastError.Message)
}

// revocation finds the run that ends what a rotation replaced.
func (c *changing) revocation(ctx context.Context, of *api.Rotation) (*api.Rotation, error) {
	for r, err := range c.vault.Rotations(ctx, client.RotationFilter{Name: shopSecret, Kind: api.RevocationRun}) {
		if err != nil || r.Parent == of.ID {
			return r, err
		}
	}
	return nil, fmt.Errorf("nothing revokes what the rotation %s replaced", of.ID)
}

// bury waits for the end of the old credential, proves it, and enters it into the register.
func (c *changing) bury(ctx context.Context, chapter string, old *credential, revocation *api.Rotation) (*death, error) {
	r, err := c.follow(ctx, revocation.ID, api.RunDone)
	if err != nil {
		return nil, err
	}
	if err := c.mustRefuse(ctx, old); err != nil {
		return nil, err
	}
	if r.Promoted == nil {
		return nil, fmt.Errorf("the revocation %s does not say when its current version became so", r.ID)
	}
	d := death{chapter: chapter, account: old.User, version: old.version, at: *r.Ended, promoted: *r.Promoted, evidence: "an operator's word"}
	if r.Forced == "" {
		if d.evidence, err = c.evidence(ctx, old.version); err != nil {
			return nil, err
		}
	}
	c.deaths = append(c.deaths, d)
	return &d, nil
}

// evidence says in a few words why nobody had to be waited for any more.
func (c *changing) evidence(ctx context.Context, version string) (string, error) {
	list, err := c.vault.Holders(ctx, shopSecret, version, 0)
	if err != nil {
		return "", err
	}
	said := 0
	for _, h := range list.Items {
		switch {
		case h.State == api.Live || h.State == api.Silent:
			return "", fmt.Errorf("version %s died under %s (%s)", short(version), holder(&h), h.Reason)
		case h.State == api.Moved:
			said++
		}
	}
	if said < len(c.shop) {
		return "", fmt.Errorf("version %s died when %d of %d instances had moved", short(version), said, len(c.shop))
	}
	return fmt.Sprintf("%d of %d acknowledged the next, no session left", said, len(list.Items)), nil
}

// signIn is one login at the database.
func (c *changing) signIn(ctx context.Context, as *credential) error {
	conn, err := pgx.Connect(ctx, c.database.DSN(as.User, as.Password, shopDatabase))
	if err != nil {
		return err
	}
	return conn.Close(ctx)
}

// invalidPassword is PostgreSQL's refusal (SQLSTATE, appendix A of its manual).
const invalidPassword = "28P01"

// mustRefuse proves that the database does not take a credential any more.
func (c *changing) mustRefuse(ctx context.Context, dead *credential) error {
	err := c.signIn(ctx, dead)
	var refused *pgconn.PgError
	switch {
	case err == nil:
		return fmt.Errorf("the database still takes version %s of %s", short(dead.version), dead.User)
	case errors.As(err, &refused) && refused.Code == invalidPassword:
		return nil
	}
	return fmt.Errorf("trying a dead credential: %w", err)
}
