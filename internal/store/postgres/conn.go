package postgres

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/keywright/keywright/internal/store/relational"
)

// maxColumns is the most that a query of package relational returns.
const maxColumns = 32

// conn is one connection with its prepared statements. It serves one goroutine at a time.
//
// It stands on the driver's pipelines: many statements go out together and come back in one round trip. After one that fails the server skips the rest.
type conn struct {
	pg    *pgconn.PgConn
	stmts map[string]*prepared
	// named counts the names that were given to statements.
	named int
	// timeout bounds every round trip.
	timeout time.Duration
	// warned is set by a warning of the server.
	warned bool
	// used is set by the first round trip: the server may have closed a used connection since.
	used bool
	row  [maxColumns]driver.Value
}

// run sends statements in one round trip, two if the server does not know them all. When one fails its place and the error are returned, and none behind it
// was run. The error is classified, unless it is one of a statement's each.
func (c *conn) run(caller context.Context, list ...*statement) (failed int, err error) {
	ctx, cancel := context.WithTimeout(caller, c.timeout)
	defer cancel()
	if err := c.prepare(ctx, list); err != nil {
		return len(list) - 1, c.check(caller, err)
	}
	p := c.pg.StartPipeline(ctx)
	for _, s := range list {
		if s.control {
			p.SendQueryParams(s.query, nil, nil, nil, nil)
			continue
		}
		known := c.stmts[s.query]
		p.SendQueryPrepared(known.name, s.values, s.formats, known.results)
	}
	failed, err = c.collect(p, list)
	if closing := p.Close(); err == nil {
		err = closing
	}
	c.used = true
	return failed, c.check(caller, err)
}

// collect reads the answers.
func (c *conn) collect(p *pgconn.Pipeline, list []*statement) (int, error) {
	if err := p.Sync(); err != nil {
		return 0, err
	}
	var late error
	at := len(list) - 1
	for i, s := range list {
		result, err := p.GetResults()
		if err != nil {
			return i, err
		}
		r, ok := result.(*pgconn.ResultReader)
		if !ok {
			return i, fmt.Errorf("the server answered a statement with %T", result)
		}
		err = s.read(r, c.stmts[s.query], c.row[:])
		var ours *callback
		if errors.As(err, &ours) {
			late, at = err, i
		} else if err != nil {
			return i, err
		}
	}
	return at, late
}

// prepare makes statements known to the server.
func (c *conn) prepare(ctx context.Context, list []*statement) error {
	var missing []string
	for _, s := range list {
		if !s.control && c.stmts[s.query] == nil {
			c.named++
			c.stmts[s.query] = &prepared{name: fmt.Sprintf("s%d", c.named)}
			missing = append(missing, s.query)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	p := c.pg.StartPipeline(ctx)
	for _, query := range missing {
		p.SendPrepare(c.stmts[query].name, translate(query), nil)
	}
	err := c.describe(p, missing)
	if closing := p.Close(); err == nil {
		err = closing
	}
	if err != nil {
		// Which of them the server knows is not worth finding out: they get other names the next time.
		for _, query := range missing {
			delete(c.stmts, query)
		}
		return fmt.Errorf("preparing statements: %w", err)
	}
	return nil
}

func (c *conn) describe(p *pgconn.Pipeline, missing []string) error {
	if err := p.Sync(); err != nil {
		return err
	}
	for _, query := range missing {
		result, err := p.GetResults()
		if err != nil {
			return err
		}
		d, ok := result.(*pgconn.StatementDescription)
		if !ok {
			return fmt.Errorf("the server described a statement with %T", result)
		}
		d.Name = c.stmts[query].name
		c.stmts[query] = newPrepared(d)
	}
	return nil
}

// check classifies an error and closes a connection that cannot be used any more.
func (c *conn) check(caller context.Context, err error) error {
	if err == nil {
		return nil
	}
	var ours *callback
	if errors.As(err, &ours) {
		return ours.error
	}
	if sqlState(err) == "" || caller.Err() != nil {
		c.cut() // a request to cancel may be under way still, and would meet the next statement
	}
	return classify(caller, err)
}

// dead reports that the connection cannot be used any more.
func (c *conn) dead() bool { return c.pg.IsClosed() }

// cut ends the connection at once, without a word to the server.
func (c *conn) cut() {
	c.pg.Conn().Close()
	if !c.pg.IsClosed() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		c.pg.Close(ctx)
	}
}

// close says good-bye.
func (c *conn) close() {
	if c.pg.IsClosed() {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	c.pg.Close(ctx)
}

// script runs statements that have no parameters, in the transaction that is open.
func (c *conn) script(ctx context.Context, text string) error {
	ctx, cancel := context.WithTimeout(ctx, stepTimeout)
	defer cancel()
	_, err := c.pg.Exec(ctx, text).ReadAll()
	return c.check(ctx, err)
}

// exec runs one that has no transaction of its own.
func (c *conn) exec(ctx context.Context, query string, args ...any) (int64, error) {
	s, err := newStatement(query, args)
	if err != nil {
		return 0, err
	}
	_, err = c.run(ctx, s)
	return s.n, err
}

func (c *conn) query(ctx context.Context, query string, args []any, each func(relational.Row) error) error {
	s, err := newStatement(query, args)
	if err != nil {
		return err
	}
	s.each = each
	_, err = c.run(ctx, s)
	return err
}
