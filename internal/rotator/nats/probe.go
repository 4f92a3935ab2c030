package nats

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/keywright/keywright/internal/rotator"
	"github.com/keywright/keywright/internal/rotator/endpoint"
)

// probeTime bounds one login, with all that makes its refusal certain. reloadEnds is longer than a reload takes from its refusals to its end.
const (
	probeTime  = 10 * time.Second
	reloadEnds = 50 * time.Millisecond
)

// Probe connects to every server and waits for the answer to a ping.
func (*Rotator) Probe(ctx context.Context, t *rotator.Target, c rotator.Credential) (rotator.Logins, error) {
	cfg, err := open(t)
	if err != nil {
		return nil, err
	}
	if len(c.Value) == 0 {
		return nil, rotator.Fail(rotator.Misconfigured, nil, "there is no password of %q to try", c.Account)
	}
	var all rotator.Logins
	for i := range cfg.Servers {
		all = append(all, cfg.login(ctx, &cfg.Servers[i], c))
	}
	return all, nil
}

// login tries one server. A refusal is made certain under the lock of the file, so that no change of ours reloads the server meanwhile.
func (c *config) login(ctx context.Context, s *server, credential rotator.Credential) rotator.Login {
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	one := c.try(ctx, s.Endpoint, credential)
	if one.Verdict != rotator.Rejected {
		return one
	}
	unlock, err := lock(ctx, s.UsersFile)
	if err != nil {
		return rotator.Login{Endpoint: s.Endpoint, Detail: "refused, which may have been a reload's doing: " + err.Error()}
	}
	defer unlock()
	m, err := c.monitor(ctx, s)
	if err != nil {
		return rotator.Login{Endpoint: s.Endpoint, Detail: "refused, which may have been a reload's doing: " + err.Error()}
	}
	defer m.close()
	return c.surely(ctx, m, s.Endpoint, credential)
}

// surely tries one server until the answer is certain. A reload disconnects, with the same Authorization Violation, whoever has not sent the password yet; so what
// is no success counts only when the server has loaded nothing from before it to well after it.
func (c *config) surely(ctx context.Context, m *monitor, address string, credential rotator.Credential) rotator.Login {
	for {
		before, err := m.state(ctx)
		if err != nil {
			return rotator.Login{Endpoint: address, Detail: "whether it reloads is unknown: " + err.Error()}
		}
		one := c.try(ctx, address, credential)
		if one.Verdict == rotator.Accepted {
			return one
		}
		select {
		case <-ctx.Done():
			return rotator.Login{Endpoint: address, Detail: "refused, by reloads or because of the password: " + ctx.Err().Error()}
		case <-time.After(reloadEnds):
		}
		after, err := m.state(ctx)
		if err != nil {
			return rotator.Login{Endpoint: address, Detail: "whether it reloaded is unknown: " + err.Error()}
		}
		if after.Loaded.Equal(before.Loaded) {
			return one
		}
	}
}

// try logs in at one server.
func (c *config) try(ctx context.Context, address string, credential rotator.Credential) rotator.Login {
	one := rotator.Login{Endpoint: address}
	conn, err := c.connect(ctx, address, credential)
	if err == nil {
		defer conn.Close()
		err = conn.FlushWithContext(ctx)
	}
	switch {
	case errors.Is(err, nats.ErrAuthorization):
		one.Verdict, one.Detail = rotator.Rejected, "Authorization Violation"
	case err != nil:
		one.Detail = "no login: " + err.Error()
	case !conn.AuthRequired():
		one.Detail = "the server asks nobody for a password, so the login proves nothing"
	default:
		one.Verdict, one.Detail = rotator.Accepted, "connected, and a ping was answered"
		one.Identity = identity(conn.ConnectedClusterName(), conn.ConnectedServerName(), credential.Account)
	}
	return one
}

// identity names a user independently of addresses: by the cluster, or by the server where there is none.
func identity(cluster, server, account string) string {
	if cluster == "" {
		cluster = server
	}
	return fmt.Sprintf("nats:%s:%q", cluster, account)
}

// dialer makes the connections of one verb.
type dialer struct{ ctx context.Context }

// Dial implements nats.CustomDialer.
func (d dialer) Dial(_, address string) (net.Conn, error) { return endpoint.Dial(d.ctx, address, nil) }

func (c *config) connect(ctx context.Context, address string, credential rotator.Credential) (*nats.Conn, error) {
	options := []nats.Option{
		nats.Name("keywright probe"), nats.UserInfo(credential.Account, string(credential.Value.Reveal())),
		nats.SetCustomDialer(dialer{ctx}), nats.NoReconnect(), nats.DontRandomize(), nats.IgnoreDiscoveredServers(), nats.Timeout(probeTime),
		// The default handler prints; errors of a probe are in its answer.
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}),
	}
	if !c.Plaintext {
		settings, err := c.TLS.Config()
		if err != nil {
			return nil, err
		}
		if settings.ServerName == "" {
			settings.ServerName = endpoint.Host(address)
		}
		options = append(options, nats.Secure(settings))
	}
	return nats.Connect("nats://"+address, options...)
}
