package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/keywright/keywright/client"
	"github.com/keywright/keywright/client/api"
)

// How hard the application works. One instance has workersPerInstance of them on its pool, and one that signs in anew all the time.
const (
	instances          = 2
	workersPerInstance = 8
	pauseAfterQuery    = 8 * time.Millisecond
	pauseAfterLogin    = 20 * time.Millisecond
	pollEvery          = 300 * time.Millisecond
)

// tally counts what happened to all instances. Its fields are safe for concurrent use.
type tally struct {
	queries, logins, failures atomic.Int64

	mu    sync.Mutex
	first error
}

// failed counts a failure, of which there must be none. What the end of the program cuts off is none.
func (t *tally) failed(ctx context.Context, what string, err error) {
	if ctx.Err() != nil {
		return
	}
	t.failures.Add(1)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.first == nil {
		t.first = fmt.Errorf("%s at %s: %w", what, clockTime(time.Now()), err)
	}
}

// check returns an error when anything has failed, with the first failure.
func (t *tally) check() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if n := t.failures.Load(); n > 0 {
		return fmt.Errorf("the application noticed: %d of its requests failed, the first being a %w", n, t.first)
	}
	return nil
}

// credential is a version of the secret as the application uses it.
type credential struct {
	version        string
	User, Password string
}

func readCredential(s *client.Secret) (*credential, error) {
	var c struct{ Username, Password string }
	if err := json.Unmarshal(s.Bytes(), &c); err != nil || c.Username == "" || c.Password == "" {
		return nil, fmt.Errorf("version %s of %s is no credential", s.Version, s.Name)
	}
	return &credential{version: s.Version, User: c.Username, Password: c.Password}, nil
}

// instance is a running copy of an application that asks for its secret every now and then. For a new version it builds a new pool, tries it, puts
// it in the place of the old one, lets that drain, and then says that it uses the new version. A request that fails is not tried again.
type instance struct {
	name   string
	vault  *client.Vault
	secret string
	from   machine
	dsn    func(user, password, database string) string
	tally  *tally

	cancel  context.CancelFunc
	running sync.WaitGroup
	// said is the version of which the vault knows that it is in use.
	said string

	// mu is held for reading by whoever uses the pool or signs in.
	mu      sync.RWMutex
	pool    *pgxpool.Pool
	current *credential
}

// start reads the secret and begins to work. The caller must call stop, after an error too.
func (i *instance) start(ctx context.Context) error {
	if err := i.refresh(ctx); err != nil {
		return err
	}
	ctx, i.cancel = context.WithCancel(context.WithoutCancel(ctx))
	i.running.Go(func() { i.poll(ctx) })
	i.running.Go(func() { repeat(ctx, pauseAfterLogin, i.signIn) })
	for range workersPerInstance {
		i.running.Go(func() { repeat(ctx, pauseAfterQuery, i.query) })
	}
	return nil
}

func (i *instance) stop() {
	if i.cancel != nil {
		i.cancel()
	}
	i.running.Wait()
	if i.pool != nil {
		i.pool.Close()
	}
}

func repeat(ctx context.Context, pause time.Duration, do func(context.Context)) {
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for ctx.Err() == nil {
		do(ctx)
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
}

// poll keeps what the instance has while the vault cannot be reached: that is why it does not stop with it.
func (i *instance) poll(ctx context.Context) {
	repeat(ctx, pollEvery, func(ctx context.Context) {
		if err := i.refresh(ctx); err != nil && !unreachable(err) {
			i.tally.failed(ctx, "refresh", err)
		}
	})
}

// unreachable reports whether the vault gave no answer. The application works on without it.
func unreachable(err error) bool {
	var answer *client.Error
	return !errors.As(err, &answer) || answer.Kind == client.Unavailable
}

// refresh reads the secret, changes over when its version is another one, and says so.
func (i *instance) refresh(ctx context.Context) error {
	s, err := i.vault.Get(ctx, i.secret)
	if err != nil {
		return err
	}
	if i.current == nil || i.current.version != s.Version { // nobody else writes it
		if err := i.changeOver(ctx, s); err != nil {
			i.tally.failed(ctx, "change of "+i.name, err)
			return nil
		}
	}
	if i.said == s.Version {
		return nil
	}
	if err := i.vault.Ack(ctx, i.secret, s.Version, api.Ack{Level: api.Used}); err != nil {
		return err // it is said at the next poll
	}
	i.said = s.Version
	return nil
}

func (i *instance) changeOver(ctx context.Context, s *client.Secret) error {
	next, err := readCredential(s)
	if err != nil {
		return err
	}
	pool, err := i.newPool(ctx, next)
	if err != nil {
		return fmt.Errorf("signing in with version %s: %w", short(next.version), err)
	}
	i.mu.Lock()
	old := i.pool
	i.pool, i.current = pool, next
	i.mu.Unlock()
	if old != nil {
		old.Close() // returns when its last connection is back and closed
	}
	return nil
}

// errConfig stands for an error that would show the password.
var errConfig = errors.New("the address of the database cannot be read")

func (i *instance) newPool(ctx context.Context, c *credential) (*pgxpool.Pool, error) {
	config, err := pgxpool.ParseConfig(i.dsn(c.User, c.Password, shopDatabase))
	if err != nil {
		return nil, errConfig
	}
	config.ConnConfig.DialFunc = i.from.dial
	config.MaxConns, config.MaxConnLifetime = workersPerInstance, 2*time.Second // short-lived, so that there are many logins
	config.MaxConnLifetimeJitter = time.Second
	config.AfterConnect = func(context.Context, *pgx.Conn) error { i.tally.logins.Add(1); return nil }
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, err
	}
	if err := pool.Ping(ctx); err != nil {
		pool.Close()
		return nil, err
	}
	return pool, nil
}

// query is a request as a user of the application would make it.
func (i *instance) query(ctx context.Context) {
	i.mu.RLock()
	defer i.mu.RUnlock()
	if _, err := i.pool.Exec(ctx, "UPDATE stock SET sold = sold + 1 WHERE shelf = $1", time.Now().UnixNano()%shelves); err != nil {
		i.tally.failed(ctx, "query of "+i.name, err)
		return
	}
	i.tally.queries.Add(1)
}

// signIn is a login without a pool, as of a job that starts.
func (i *instance) signIn(ctx context.Context) {
	i.mu.RLock()
	defer i.mu.RUnlock()
	conn, err := i.from.connect(ctx, i.dsn(i.current.User, i.current.Password, shopDatabase))
	if err != nil {
		i.tally.failed(ctx, "login of "+i.name, err)
		return
	}
	i.tally.logins.Add(1)
	_ = conn.Close(context.WithoutCancel(ctx)) // the login is what counts
}

// holds is the credential that the instance signs in with.
func (i *instance) holds() *credential {
	i.mu.RLock()
	defer i.mu.RUnlock()
	return i.current
}
