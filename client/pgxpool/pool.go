// Package pgxpool signs a pool of pgx in with a secret that changes.
//
// New makes an ordinary *pgxpool.Pool whose new connections have the current credential, whose connections of an old version leave one by one, and which
// tells the server which version is in use. Everything else is the configuration's:
//
//	config, err := pgxpool.ParseConfig("host=db dbname=shop")
//	pool, err := keywrightpgx.New(ctx, config, keywrightpgx.Config{Value: value})
//
// Where PostgreSQL refuses a credential the pool's caller gets the error, and the next connection has the newer one: pgx lets nobody try again within one
// connect. With alternating users nothing is ever refused. For a single password that changes in place, package sqlpool over pgx's stdlib
// tries again by itself.
package pgxpool

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/multitracer"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/keywright/keywright/client"
)

// Config says how the pool signs in. Value is required.
type Config struct {
	Value *client.Value
	// MaxAge is how long a connection of an old version may still be used: see client.Value.Retirement.
	MaxAge time.Duration
}

// New makes a pool. The configuration is copied; its hooks are called as well. Its user counts where the secret is only a password.
func New(ctx context.Context, pool *pgxpool.Config, c Config) (*pgxpool.Pool, error) {
	if c.Value == nil {
		return nil, errors.New("the pool needs a value")
	}
	own := pool.Copy()
	//lint:ignore SA1019 who set the older hook expects it to be called
	h := &hooks{Config: c, before: pool.BeforeConnect, prepare: pool.PrepareConn, acquire: pool.BeforeAcquire}
	own.BeforeConnect, own.PrepareConn = h.beforeConnect, h.prepareConn
	return pgxpool.NewWithConfig(ctx, own)
}

// hooks hold what the configuration had in their places.
type hooks struct {
	Config
	before  func(context.Context, *pgx.ConnConfig) error
	prepare func(context.Context, *pgx.Conn) (bool, error)
	acquire func(context.Context, *pgx.Conn) bool
}

func (h *hooks) beforeConnect(ctx context.Context, c *pgx.ConnConfig) error {
	if h.before != nil {
		if err := h.before(ctx, c); err != nil {
			return err
		}
	}
	attempt := h.Value.Begin()
	credential, err := client.ParseCredential(attempt.Secret())
	if err != nil {
		attempt.Failed()
		return err
	}
	c.User, c.Password = credential.Or(c.User).User, credential.Password
	mine := &tracer{hooks: h, attempt: attempt}
	if c.Tracer == nil {
		c.Tracer = mine
	} else {
		c.Tracer = multitracer.New(c.Tracer, mine)
	}
	return nil
}

// prepareConn is called when a connection is taken from the pool; false drops it for another.
func (h *hooks) prepareConn(ctx context.Context, c *pgx.Conn) (bool, error) {
	if r, ok := c.PgConn().CustomData()[retirementKey].(*client.Retirement); ok && r.Due() {
		return false, nil
	}
	switch {
	case h.prepare != nil:
		return h.prepare(ctx, c)
	case h.acquire != nil:
		return h.acquire(ctx, c), nil
	}
	return true, nil
}

// retirementKey is where a connection keeps its retirement.
const retirementKey = "keywright.retirement"

// tracer hears how one attempt to connect ends: no other hook hears of a failed one.
type tracer struct {
	hooks   *hooks
	attempt *client.Attempt
}

// TraceConnectStart implements pgx.ConnectTracer.
func (t *tracer) TraceConnectStart(ctx context.Context, _ pgx.TraceConnectStartData) context.Context {
	return ctx
}

// TraceConnectEnd implements pgx.ConnectTracer.
func (t *tracer) TraceConnectEnd(ctx context.Context, d pgx.TraceConnectEndData) {
	version := t.attempt.Secret().Version
	if d.Err == nil {
		d.Conn.PgConn().CustomData()[retirementKey] = t.hooks.Value.Retirement(version, t.hooks.MaxAge)
		t.attempt.Succeeded()
		return
	}
	t.attempt.Failed()
	if Refused(d.Err) {
		_ = t.hooks.Value.Refused(ctx, version) // the pool's caller gets the database's error
	}
}

// TraceQueryStart implements pgx.QueryTracer, which every tracer has to.
func (t *tracer) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	return ctx
}

// TraceQueryEnd implements pgx.QueryTracer.
func (t *tracer) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// Refused reports whether PostgreSQL refused the credential (SQLSTATE 28P01, invalid_password, and 28000, invalid_authorization_specification).
func Refused(err error) bool {
	var e *pgconn.PgError
	return errors.As(err, &e) && (e.Code == "28P01" || e.Code == "28000")
}
