package postgres

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/store/relational"
)

// How long things may take.
const (
	// connectTimeout bounds one attempt to connect, to the only host that there is.
	connectTimeout = 5 * time.Second
	// hostTimeout bounds one to each of several hosts: one that is cut off, which nobody tells, must not take long to be passed over.
	hostTimeout = 2 * time.Second
	// peerTimeout is how long what was sent may stay unacknowledged by the other machine before the connection is given up.
	peerTimeout = 4 * time.Second
	// statementTimeout bounds a round trip.
	statementTimeout = 30 * time.Second
	// writerTimeout bounds one of the writer: what it waits for everybody waits for. A COMMIT that takes longer, since a standby does not answer, is
	// resolved afterwards.
	writerTimeout = 10 * time.Second
	// lockTimeout bounds the wait for other processes' groups. It is longer than a process that stopped in the middle of a group can hold the lock.
	lockTimeout = 8 * time.Second
	// idleTimeout is how long the server lets a transaction of a process rest that has stopped in the middle of it. Closures do no I/O.
	idleTimeout = 3 * time.Second
	// stepTimeout bounds a step of the schema, which may fill an index.
	stepTimeout = 30 * time.Minute
	// cancelTimeout bounds a request to cancel, which goes over a connection of its own.
	cancelTimeout = 2 * time.Second
)

// errDoNotCancel keeps the driver from asking the server to cancel what a writer waits for.
var errDoNotCancel = errors.New("a writer cancels nothing")

// role says what a connection is for.
type role int

const (
	reader role = iota
	writer
	follower
)

// settings reads the connection string. It is read again for every connection, so that passwords and certificates can change in their files. What is wrong with
// the string is not told: it may hold a password.
func (s *Store) settings() (*pgconn.Config, error) {
	c, err := pgconn.ParseConfig(s.config.DSN)
	if err != nil {
		return nil, fault.New(fault.Invalid, "the store's connection string is not one that PostgreSQL's clients understand, or names a file that cannot be read: "+
			"write it as postgres://user@host:5432/database?sslmode=verify-full&sslrootcert=FILE")
	}
	if s.config.PasswordFile != "" {
		password, err := os.ReadFile(s.config.PasswordFile)
		if err != nil {
			return nil, fault.Wrap(err, fault.Unavailable, "the file with the password of the store's database cannot be read")
		}
		c.Password = strings.TrimRight(string(password), "\r\n")
	}
	if c.ValidateConnect == nil {
		// Of several hosts the primary.
		c.ValidateConnect = takesWrites
	}
	c.RuntimeParams["search_path"] = s.config.Schema
	if c.RuntimeParams["application_name"] == "" {
		c.RuntimeParams["application_name"] = "keywright"
	}
	return c, nil
}

// errReadOnly says that a server, or whoever logs in, may not write.
var errReadOnly = errors.New("it takes no writes")

// takesWrites tells a primary from a standby, and from a database that was made read-only.
func takesWrites(ctx context.Context, c *pgconn.PgConn) error {
	if err := pgconn.ValidateConnectTargetSessionAttrsReadWrite(ctx, c); err != nil {
		return fmt.Errorf("%w: %w", errReadOnly, err)
	}
	return nil
}

// refusal says why there is no connection, and what to do. It names neither host nor account: clients are told, too.
func refusal(err error) string {
	switch state := sqlState(err); {
	case state == invalidPassword || state == invalidAuthorization:
		return "refuses the login: check the account, its password and the server's pg_hba.conf"
	case state == invalidCatalog:
		return "is not there: make it, or correct its name in the connection string"
	case state == tooManyConnections:
		return "has no connection left: raise its max_connections, each node takes up to 18, or end others' sessions"
	case state == cannotConnectNow:
		return "is starting, or ends: wait until it takes connections"
	case errors.Is(err, errReadOnly):
		return "takes no writes: it is a standby, or was made read-only; name the primary, or promote it"
	}
	return "cannot be reached: check that it runs, its address and the certificates"
}

// connect opens a connection for a role.
func (s *Store) connect(ctx context.Context, as role) (*conn, error) {
	config, err := s.settings()
	if err != nil {
		return nil, err
	}
	c := &conn{stmts: make(map[string]*prepared), timeout: statementTimeout}
	var connected atomic.Bool
	dial := config.DialFunc
	config.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
		if !connected.Load() {
			to, err := dial(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			if err := giveUpOn(to, peerTimeout); err != nil {
				s.log.Warn("the kernel does not take the time after which a connection to the store's database is given up", "error", err)
			}
			return to, nil
		}
		if as == writer {
			return nil, errDoNotCancel
		}
		ctx, cancel := context.WithTimeout(ctx, cancelTimeout)
		defer cancel()
		return dial(ctx, network, addr)
	}
	config.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) {
		if n.Severity == "WARNING" || n.SeverityUnlocalized == "WARNING" {
			c.warned = true
		}
	}
	if as == writer {
		c.timeout = writerTimeout
		config.RuntimeParams["lock_timeout"] = millis(lockTimeout)
		config.RuntimeParams["idle_in_transaction_session_timeout"] = millis(idleTimeout)
	}
	if c.pg, err = s.primaryOf(ctx, hostsOf(config)); err != nil {
		if e := context.Cause(ctx); errors.Is(e, context.Canceled) {
			return nil, fmt.Errorf("connecting to the store's database: %w", e)
		}
		return nil, fault.Wrap(err, fault.Unavailable, "the store's database %s; see the log", refusal(err))
	}
	connected.Store(true)
	if as == writer {
		if err := c.commitDurably(ctx); err != nil {
			c.close()
			return nil, err
		}
	}
	return c, nil
}

// hostsOf splits settings into those of each host, in their order. Of one host there may be several ways, such as with TLS and without.
func hostsOf(config *pgconn.Config) (hosts []*pgconn.Config) {
	ways := append([]*pgconn.FallbackConfig{{Host: config.Host, Port: config.Port, TLSConfig: config.TLSConfig}}, config.Fallbacks...)
	for _, w := range ways {
		if i := slices.IndexFunc(hosts, func(h *pgconn.Config) bool { return h.Host == w.Host && h.Port == w.Port }); i >= 0 {
			hosts[i].Fallbacks = append(hosts[i].Fallbacks, w)
			continue
		}
		h := config.Copy()
		h.Host, h.Port, h.TLSConfig, h.Fallbacks = w.Host, w.Port, w.TLSConfig, nil
		hosts = append(hosts, h)
	}
	return hosts
}

// primaryOf connects to the primary among the hosts. Each has its own time, whatever became of those before it, and the one that was the primary last is asked
// first.
func (s *Store) primaryOf(ctx context.Context, hosts []*pgconn.Config) (*pgconn.PgConn, error) {
	first := 0
	if last := s.primary.Load(); last != nil {
		first = max(0, slices.IndexFunc(hosts, func(h *pgconn.Config) bool { return hostPort(h) == *last }))
	}
	timeout := connectTimeout
	if len(hosts) > 1 {
		timeout = hostTimeout
	}
	var errs []error
	for i := range hosts {
		h := hosts[(first+i)%len(hosts)]
		attempt, cancel := context.WithTimeout(ctx, timeout)
		pg, err := pgconn.ConnectConfig(attempt, h)
		cancel()
		if err == nil {
			name := hostPort(h)
			s.primary.Store(&name)
			return pg, nil
		}
		errs = append(errs, err)
		if ctx.Err() != nil {
			break
		}
	}
	return nil, errors.Join(errs...)
}

func hostPort(c *pgconn.Config) string { return net.JoinHostPort(c.Host, strconv.Itoa(int(c.Port))) }

func millis(d time.Duration) string { return fmt.Sprint(d.Milliseconds()) }

// commitDurably makes sure that a commit is acknowledged when it is on disk, there and on the synchronous standbys, whatever the database is set to.
func (c *conn) commitDurably(ctx context.Context) error {
	var level string
	if err := c.query(ctx, "SHOW synchronous_commit", nil, func(r relational.Row) error {
		level = r.Text(0)
		return nil
	}); err != nil {
		return err
	}
	if level == "on" || level == "remote_apply" {
		return nil
	}
	_, err := c.exec(ctx, "SET synchronous_commit = on")
	return err
}
