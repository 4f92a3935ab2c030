package rabbitmq

import (
	"context"
	"errors"
	"fmt"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/keywright/keywright/internal/rotator"
	"github.com/keywright/keywright/internal/rotator/endpoint"
)

// probeTime bounds one login. The broker itself waits 10 s for a handshake.
const probeTime = 10 * time.Second

// Probe logs in over AMQP at every endpoint and opens a channel.
func (*Rotator) Probe(ctx context.Context, t *rotator.Target, c rotator.Credential) (rotator.Logins, error) {
	a, err := open(ctx, t)
	if err != nil {
		return nil, err
	}
	defer a.close()
	return c.TryAt(a.config.AMQPEndpoints, func(e string) rotator.Login { return a.login(ctx, e, c) })
}

// login tries one endpoint.
func (a *api) login(ctx context.Context, address string, c rotator.Credential) rotator.Login {
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	one := rotator.Login{Endpoint: address}
	auth := &plain{account: c.Account, value: c.Value.Reveal()}
	conn, cluster, err := a.handshake(ctx, address, auth)
	if err == nil {
		_, err = conn.Channel()
		_ = conn.CloseDeadline(time.Now().Add(time.Second)) // the login is proved already
	}
	var said *amqp.Error
	switch errors.As(err, &said); {
	case err == nil:
		one.Verdict, one.Identity, one.Detail = rotator.Accepted, identity(cluster, c.Account), "logged in and opened a channel"
	case said != nil && said.Server && said.Code == amqp.AccessRefused && conn == nil:
		one.Verdict, one.Detail = rotator.Rejected, "ACCESS_REFUSED"
	case said != nil && said.Server && said.Code == amqp.NotAllowed:
		one.Detail = fmt.Sprintf("the password is right and the virtual host %q was not opened: check the user's permissions, and limits of connections", a.config.VHost)
	case said != nil && said.Server:
		one.Detail = fmt.Sprintf("the broker answered with code %d", said.Code)
	default:
		one.Detail = "no login: " + err.Error()
	}
	return one
}

// identity names a user independently of addresses: the users of a cluster are one set, and every node tells the cluster's name.
func identity(cluster, account string) string { return fmt.Sprintf("rabbitmq:%s:%q", cluster, account) }

// handshake makes a connection to the virtual host that ends with the context. The name of the cluster is known as soon as the broker has greeted, refused logins included.
func (a *api) handshake(ctx context.Context, address string, auth amqp.Authentication) (conn *amqp.Connection, cluster string, err error) {
	raw, err := endpoint.Dial(ctx, address, a.tls)
	if err != nil {
		return nil, "", err
	}
	properties := amqp.NewConnectionProperties()
	properties.SetClientConnectionName("keywright probe")
	if p, ok := auth.(*plain); ok {
		p.properties = properties
	}
	conn, err = amqp.Open(raw, amqp.Config{SASL: []amqp.Authentication{auth}, Vhost: a.config.VHost, Locale: "en_US", Properties: properties, Heartbeat: probeTime})
	cluster, _ = conn.Properties["cluster_name"].(string)
	if err == nil && cluster == "" {
		err = errors.New("the broker does not tell the name of its cluster")
	}
	if err != nil {
		_ = raw.Close() // it is of no use, however it ends
		return nil, cluster, err
	}
	return conn, cluster, nil
}

// greeting reads the name of the cluster at an endpoint without a login.
func (a *api) greeting(ctx context.Context, address string) (cluster string, err error) {
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	_, cluster, err = a.handshake(ctx, address, none{})
	if errors.Is(err, amqp.ErrSASL) && cluster != "" {
		err = nil
	}
	return cluster, err
}

// none offers a mechanism that no broker has: the library reads the greeting and gives up before it sends anything.
type none struct{}

func (none) Mechanism() string { return "KEYWRIGHT-NONE" }
func (none) Response() string  { return "" }

// plain is SASL PLAIN (RFC 4616), with one more task. A broker tells a client why it was refused only if the client says that it understands
// connection.close at that moment (capability authentication_failure_close); else it drops the connection, which looks like a failure
// of the network. The library fills in the capabilities by itself and lacks this one, but asks for the response afterwards.
type plain struct {
	account    string
	value      []byte
	properties amqp.Table
}

func (*plain) Mechanism() string { return "PLAIN" }

func (p *plain) Response() string {
	if capabilities, ok := p.properties["capabilities"].(amqp.Table); ok {
		capabilities["authentication_failure_close"] = true
	}
	return "\x00" + p.account + "\x00" + string(p.value)
}
