package redis_test

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	client "github.com/redis/go-redis/v9"

	"github.com/keywright/keywright/e2e/redistest"
	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/redact"
	"github.com/keywright/keywright/internal/rotator"
	"github.com/keywright/keywright/internal/rotator/redis"
	"github.com/keywright/keywright/internal/rotator/rotatortest"
)

// The suite's late requests mostly wait: one for each processor at a time would take minutes.
func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", "64"); err != nil {
		panic(err)
	}
	m.Run()
}

// world is a deployment whose nodes have one administrator.
type world struct {
	nodes    []*redistest.Server
	accounts *atomic.Int64
	hostile  string // part of the names of accounts
	rules    []any  // of fresh accounts
}

// hostileName is the suite's without spaces, which Redis does not take.
var hostileName = strings.ReplaceAll(rotatortest.HostileName, " ", "")

func deployment(nodes ...*redistest.Server) world {
	return world{nodes: nodes, accounts: &atomic.Int64{}, hostile: hostileName,
		rules: []any{"~orders:*", "%R~prices:*", "&news", "+@read", "+@write", "-del", "+ping"}}
}

func newRotator(t *testing.T) *redis.Rotator {
	t.Helper()
	r, err := redis.New(redis.Config{Clock: clock.System{}})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// everywhere runs a command as the administrator on every node.
func (w world) everywhere(t *testing.T, args ...any) {
	t.Helper()
	for _, n := range w.nodes {
		if _, err := n.Do(t.Context(), args...); err != nil {
			t.Fatalf("preparing: %v", err)
		}
	}
}

func (w world) make(t *testing.T, n int) (made []rotator.Credential) {
	t.Helper()
	for range n {
		c := rotator.Credential{Account: fmt.Sprintf("%s%d", w.hostile, w.accounts.Add(1)), Value: rotatortest.Value(rotator.DefaultValue)}
		w.everywhere(t, append([]any{"ACL", "SETUSER", c.Account, "reset", "on", ">" + string(c.Value)}, w.rules...)...)
		made = append(made, c)
	}
	return made
}

func (w world) node(address string) *redistest.Server {
	return w.nodes[slices.IndexFunc(w.nodes, func(n *redistest.Server) bool { return n.Address() == address })]
}

func (w world) login(ctx context.Context, address string, c rotator.Credential) (bool, error) {
	conn := w.node(address).Client(c.Account, string(c.Value))
	defer conn.Close()
	err := conn.Ping(ctx).Err()
	var refused client.Error
	if errors.As(err, &refused) && strings.HasPrefix(refused.Error(), "WRONGPASS") {
		return false, nil
	}
	return err == nil, err
}

type held struct {
	client *client.Client
	conn   *client.Conn
}

func (h held) Alive(ctx context.Context) bool { return h.conn.Ping(ctx).Err() == nil }
func (h held) Close()                         { h.conn.Close(); h.client.Close() }

func (w world) open(t *testing.T, address string, c rotator.Credential) rotatortest.Session {
	t.Helper()
	h := held{client: w.node(address).Client(c.Account, string(c.Value))}
	h.conn = h.client.Conn()
	if err := h.conn.Ping(t.Context()).Err(); err != nil {
		t.Fatalf("opening a session: %v", err)
	}
	return h
}

func (w world) snapshot(t *testing.T, account string) string {
	t.Helper()
	var all strings.Builder
	for _, n := range w.nodes {
		reply, err := n.Do(t.Context(), "ACL", "GETUSER", account)
		if err != nil {
			t.Fatal(err)
		}
		for i, list := 0, reply.([]any); i < len(list); i += 2 {
			switch list[i] {
			case "flags", "passwords":
			default:
				fmt.Fprintln(&all, list[i], list[i+1])
			}
		}
	}
	if !strings.Contains(all.String(), "orders:*") {
		t.Fatalf("the description lacks what has to survive: %s", all.String())
	}
	return all.String()
}

func (w world) target(t *testing.T, addresses []string) *rotator.Target {
	t.Helper()
	config, err := json.Marshal(map[string]any{"system": "shop", "endpoints": addresses, "plaintext": true})
	if err != nil {
		t.Fatal(err)
	}
	return &rotator.Target{Config: config, Admin: rotator.Credential{Account: redistest.Admin, Value: redact.Bytes(w.nodes[0].Password)}, Attempt: "attempt-1"}
}

func (w world) addresses() (all []string) {
	for _, n := range w.nodes {
		all = append(all, n.Address())
	}
	return all
}

func (w world) subject(t *testing.T) rotatortest.Subject {
	return rotatortest.Subject{
		Rotator:    newRotator(t),
		Endpoints:  w.addresses(),
		Target:     w.target,
		Strategies: []rotator.Strategy{rotator.Single, rotator.Dual, rotator.Alternating},
		Make:       w.make,
		Login:      w.login,
		Open:       w.open,
		Snapshot:   w.snapshot,
		Log: func(t *testing.T) string {
			var all strings.Builder
			for _, n := range w.nodes {
				text, err := n.Log()
				if err != nil {
					t.Fatal(err)
				}
				all.WriteString(text)
			}
			return all.String()
		},
		Absent: "nobody's",
		Powerless: func(t *testing.T) rotator.Credential {
			c := rotator.Credential{Account: "powerless", Value: redact.Bytes("powerless-1")}
			w.everywhere(t, "ACL", "SETUSER", c.Account, "reset", "on", ">"+string(c.Value), "~*", "+@all", "-acl")
			return c
		},
		Unequal: func(t *testing.T, accounts []string) {
			w.everywhere(t, "ACL", "SETUSER", accounts[1], "+del")
		},
		Broken:     json.RawMessage(`{"endpoints":["no-port"],"tls":{"ca":"none"}}`),
		Complaints: []string{"system", "no-port", "PEM"},
		Exceptions: map[rotatortest.Promise]string{
			rotatortest.DeadlineAtTarget: "a command of Redis has no deadline, and an idle connection is closed only by a setting for all",
		},
	}
}

// A primary that keeps its users in a file of their own, with a replica: lists do not replicate.
func TestRedis(t *testing.T) {
	primary := redistest.Run(t, redistest.Config{})
	replica := redistest.Run(t, redistest.Config{ReplicaOf: primary})
	rotatortest.Run(t, deployment(primary, replica).subject(t))
}
