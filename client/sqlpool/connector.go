// Package sqlpool signs database/sql in with a secret that changes.
//
// New makes a connector for sql.OpenDB. It asks the value for the credential at each connect, so that every new connection has the current one; it asks the
// server at once when the database refuses it; connections that were signed in with an old version leave the pool one by one; and the server
// learns which version is in use. It works with every driver:
//
//	connector, err := sqlpool.New(sqlpool.Config{Value: value, Driver: func(c client.Credential) (driver.Connector, error) {
//		config := mysql.NewConfig()
//		config.Addr, config.User, config.Passwd = "db:3306", c.User, c.Password
//		return mysql.NewConnector(config)
//	}})
//	db := sql.OpenDB(connector)
package sqlpool

import (
	"context"
	"database/sql/driver"
	"errors"
	"strings"
	"time"

	"github.com/keywright/keywright/client"
)

// Config makes a Connector. Value and Driver are required.
type Config struct {
	Value *client.Value
	// Driver makes the driver's connector for a credential. It is called for each connection.
	Driver func(client.Credential) (driver.Connector, error)
	// User is who signs in where the secret is only a password.
	User string
	// Refused tells the database's refusal of a credential from other errors; nil takes Refused.
	Refused func(error) bool
	// MaxAge is how long a connection of an old version may still be used: see client.Value.Retirement.
	MaxAge time.Duration
}

// Connector is a driver.Connector.
type Connector struct{ config Config }

// New checks the configuration. It does not connect.
func New(c Config) (*Connector, error) {
	if c.Value == nil || c.Driver == nil {
		return nil, errors.New("a connector needs a value and a driver")
	}
	if c.Refused == nil {
		c.Refused = Refused
	}
	return &Connector{c}, nil
}

// Connect implements driver.Connector.
func (c *Connector) Connect(ctx context.Context) (driver.Conn, error) {
	var made driver.Conn
	err := c.config.Value.SignIn(ctx, func(ctx context.Context, s *client.Secret) error {
		d, err := c.driver(s)
		if err != nil {
			return err
		}
		inner, err := d.Connect(ctx)
		if err != nil {
			return err
		}
		made = &conn{Conn: inner, retirement: c.config.Value.Retirement(s.Version, c.config.MaxAge)}
		return nil
	}, c.config.Refused)
	return made, err
}

func (c *Connector) driver(s *client.Secret) (driver.Connector, error) {
	credential, err := client.ParseCredential(s)
	if err != nil {
		return nil, err
	}
	return c.config.Driver(credential.Or(c.config.User))
}

// Driver implements driver.Connector.
func (c *Connector) Driver() driver.Driver {
	d, err := c.driver(c.config.Value.Current())
	if err != nil {
		return broken{err}
	}
	return d.Driver()
}

// broken is the driver of a connector that cannot be made.
type broken struct{ err error }

// Open implements driver.Driver.
func (b broken) Open(string) (driver.Conn, error) { return nil, b.err }

// SQLSTATE codes by which PostgreSQL refuses a credential (PostgreSQL manual, appendix A): invalid_password and invalid_authorization_specification. Other
// databases use the second too.
const (
	invalidPassword      = "28P01"
	invalidAuthorization = "28000"
)

// refusedTexts are how the Go driver of MySQL and MariaDB begins the text of ER_ACCESS_DENIED_ERROR, with and without a SQLSTATE.
var refusedTexts = []string{"Error 1045 (", "Error 1045:"}

// loginFailed is SQL Server's number of a refused login.
const loginFailed = 18456

// Refused reports whether an error of pgx, lib/pq, go-sql-driver/mysql or go-mssqldb says that the credential was refused.
func Refused(err error) bool {
	var state interface{ SQLState() string }
	if errors.As(err, &state) {
		return state.SQLState() == invalidPassword || state.SQLState() == invalidAuthorization
	}
	var number interface{ SQLErrorNumber() int32 }
	if errors.As(err, &number) {
		return number.SQLErrorNumber() == loginFailed
	}
	for ; err != nil; err = errors.Unwrap(err) {
		for _, text := range refusedTexts {
			if strings.HasPrefix(err.Error(), text) {
				return true
			}
		}
	}
	return false
}
