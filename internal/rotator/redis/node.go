package redis

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	client "github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/keywright/keywright/internal/redact"
	"github.com/keywright/keywright/internal/rotator"
)

const (
	// connectTime bounds a connection, callTime a verb whose caller gave no deadline.
	connectTime = 5 * time.Second
	callTime    = 30 * time.Second
)

// node is one login at one endpoint, on one connection.
type node struct {
	endpoint string
	client   *client.Client
	conn     *client.Conn
}

// login connects and authenticates. Its errors are the client's own: see loginFailure and verdictOf.
func login(ctx context.Context, c *config, address string, who rotator.Credential) (*node, error) {
	secure, err := c.secure()
	if err != nil {
		return nil, err
	}
	options := &client.Options{
		Addr: address, Username: who.Account, Password: string(who.Value.Reveal()),
		Protocol: 2, PoolSize: 1, MaxRetries: -1, DialerRetries: 1, DialTimeout: connectTime, ReadTimeout: callTime, WriteTimeout: callTime,
		ContextTimeoutEnabled: true, DisableIdentity: true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
		Dialer: func(dialing context.Context, network, address string) (net.Conn, error) {
			conn, err := dial(dialing, secure, network, address)
			if err == nil {
				// The client notices deadlines and no cancellation.
				context.AfterFunc(ctx, func() { _ = conn.Close() })
			}
			return conn, err
		},
	}
	silence()
	n := &node{endpoint: address, client: client.NewClient(options)}
	n.conn = n.client.Conn()
	// The first command opens the connection. Its own reply does not matter, for the user may not be allowed any, but AUTH's does.
	if err := n.conn.Ping(ctx).Err(); err != nil && word(err) != "NOPERM" {
		n.close()
		return nil, err
	}
	return n, nil
}

func dial(ctx context.Context, secure *tls.Config, network, address string) (net.Conn, error) {
	plain := &net.Dialer{Timeout: connectTime}
	if secure == nil {
		return plain.DialContext(ctx, network, address)
	}
	return (&tls.Dialer{NetDialer: plain, Config: secure}).DialContext(ctx, network, address)
}

func (n *node) close() {
	_ = n.conn.Close()
	_ = n.client.Close()
}

// whoami is who the login became. A user that may not ask is who it said: the reply to AUTH named no other.
func (n *node) whoami(ctx context.Context, account string) (string, error) {
	who, err := n.conn.Do(ctx, "ACL", "WHOAMI").Text()
	if word(err) == "NOPERM" {
		return account, nil
	}
	return who, err
}

// user is what a node has for an account.
type user struct {
	on, nopass bool
	// hashes are the SHA-256 sums of the passwords, in hexadecimal.
	hashes []string
	// rules are commands, keys, channels and selectors, as the node writes them.
	rules string
}

// hash is what Redis stores of a password: https://redis.io/docs/latest/commands/acl-setuser/.
func hash(v redact.Bytes) string {
	sum := sha256.Sum256(v.Reveal())
	return hex.EncodeToString(sum[:])
}

// user reads an account; nil when the node has none.
func (n *node) user(ctx context.Context, account string) (*user, error) {
	reply, err := n.conn.Do(ctx, "ACL", "GETUSER", account).Slice()
	if err == client.Nil || err == nil && len(reply) == 0 {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return parseUser(reply)
}

// parseUser reads the names and values of ACL GETUSER: https://redis.io/docs/latest/commands/acl-getuser/.
func parseUser(reply []any) (*user, error) {
	u := &user{}
	var rules []string
	for i := 0; i+1 < len(reply); i += 2 {
		key, _ := reply[i].(string)
		switch list, _ := reply[i+1].([]any); key {
		case "flags":
			for _, f := range list {
				switch f {
				case "on":
					u.on = true
				case "nopass":
					u.nopass = true
				case "off":
				default:
					// allkeys and the like, which repeat the rules, and sanitize-payload, which does not.
					rules = append(rules, fmt.Sprint(f))
				}
			}
		case "passwords":
			for _, p := range list {
				text, ok := p.(string)
				if !ok {
					return nil, fmt.Errorf("the reply to ACL GETUSER has a password that is no text")
				}
				u.hashes = append(u.hashes, text)
			}
		default:
			rules = append(rules, fmt.Sprintf("%s=%v", key, reply[i+1]))
		}
	}
	if len(reply)%2 != 0 || len(rules) == 0 {
		return nil, fmt.Errorf("the reply to ACL GETUSER cannot be read")
	}
	slices.Sort(rules)
	u.rules = strings.Join(rules, "\n")
	return u, nil
}

// lock waits until no other connection of this node has the account's name, and keeps it until the connection ends.
func (n *node) lock(ctx context.Context, account string) error {
	sum := sha256.Sum256([]byte(account))
	name := "keywright:" + hex.EncodeToString(sum[:20])
	patience := time.Until(deadline(ctx)) * 3 / 4
	for end := time.Now().Add(patience); ; {
		if err := n.conn.ClientSetName(ctx, name).Err(); err != nil {
			return n.before(err, "locking the account")
		}
		clients, err := n.clients(ctx)
		if err != nil {
			return n.before(err, "locking the account")
		}
		if len(slices.DeleteFunc(clients, func(c map[string]string) bool { return c["name"] != name })) == 1 {
			return nil
		}
		// Both may have taken it at once: both step back, for different times.
		if err := n.conn.ClientSetName(ctx, "").Err(); err != nil {
			return n.before(err, "locking the account")
		}
		if time.Now().After(end) {
			return rotator.Fail(rotator.Busy, nil, "another change of this account is going on at %s: wait for its end", n.endpoint)
		}
		pause := time.NewTimer(time.Duration(5+rand.IntN(20)) * time.Millisecond)
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return rotator.Fail(rotator.NotApplied, ctx.Err(), "the time for locking the account at %s is over", n.endpoint)
		}
	}
}

// clients are the connections of a node, each with the members of its line of CLIENT LIST.
func (n *node) clients(ctx context.Context) ([]map[string]string, error) {
	text, err := n.conn.ClientList(ctx).Result()
	if err != nil {
		return nil, err
	}
	return parseClients(text), nil
}

// parseClients reads lines of key=value: https://redis.io/docs/latest/commands/client-list/. Neither names of users nor those of clients have spaces.
func parseClients(text string) (clients []map[string]string) {
	for line := range strings.Lines(text) {
		members := map[string]string{}
		for _, field := range strings.Fields(line) {
			if key, value, ok := strings.Cut(field, "="); ok {
				members[key] = value
			}
		}
		if members["id"] != "" {
			clients = append(clients, members)
		}
	}
	return clients
}

func withDeadline(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, callTime)
}

func deadline(ctx context.Context) time.Time {
	end, _ := ctx.Deadline()
	return end
}

// quiet drops what the client library writes to standard error by itself: what there is to say stands in the errors of its calls, and goes to the server's log from there.
type quiet struct{}

func (quiet) Printf(context.Context, string, ...any) {}

// silence sets it once. The library has one logger for a process, which has no other use for it.
var silence = sync.OnceFunc(func() { client.SetLogger(quiet{}) })
