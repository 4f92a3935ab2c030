package mongodb_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver"

	"github.com/keywright/keywright/e2e/mongofake"
	"github.com/keywright/keywright/internal/redact"
	"github.com/keywright/keywright/internal/rotator"
	"github.com/keywright/keywright/internal/rotator/mongodb"
	"github.com/keywright/keywright/internal/rotator/rotatortest"
)

// The real driver against a protocol fake: what is proved here is the rotator, and not that MongoDB behaves so.

type world struct {
	*mongofake.Server
	mu   sync.Mutex
	text bytes.Buffer
}

func (w *world) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.Write(p)
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{}
	s, err := mongofake.Start(map[string]mongofake.User{"keywright": {Password: "the administrator's own", Admin: true}, "guest": {Password: "the guest's own"}}, w)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	w.Server = s
	return w
}

func (w *world) target(addresses ...string) *rotator.Target {
	config, err := json.Marshal(map[string]any{"endpoints": addresses, "tls": map[string]string{"ca": string(w.CA())}})
	if err != nil {
		panic(err) // strings always encode
	}
	return &rotator.Target{Config: config, Attempt: "attempt", Admin: rotator.Credential{Account: "keywright", Value: redact.Bytes("the administrator's own")}}
}

var serial atomic.Int64

func (w *world) make(t *testing.T, n int) (made []rotator.Credential) {
	for range n {
		name := rotatortest.HostileName + strconv.FormatInt(serial.Add(1), 10)
		if err := w.Add(name, mongofake.User{Password: "the first value", Roles: []string{"readWrite"}}); err != nil {
			t.Fatal(err)
		}
		made = append(made, rotator.Credential{Account: name, Value: redact.Bytes("the first value")})
	}
	return made
}

func (w *world) connect(ctx context.Context, endpoint string, c rotator.Credential) (*mongo.Client, error) {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(w.CA())
	client, err := mongo.Connect(options.Client().SetHosts([]string{endpoint}).SetDirect(true).SetTLSConfig(&tls.Config{RootCAs: pool}).SetMaxPoolSize(1).
		SetAuth(options.Credential{AuthSource: "admin", Username: c.Account, Password: string(c.Value.Reveal()), PasswordSet: true}).SetServerMonitoringMode("poll"))
	if err != nil {
		return nil, err
	}
	if err := client.Database("admin").RunCommand(ctx, bson.D{{Key: "connectionStatus", Value: 1}}).Err(); err != nil {
		_ = client.Disconnect(ctx)
		return nil, err
	}
	return client, nil
}

type held struct{ client *mongo.Client }

func (h held) Alive(ctx context.Context) bool {
	return h.client.Database("admin").RunCommand(ctx, bson.D{{Key: "connectionStatus", Value: 1}}).Err() == nil
}

func (h held) Close() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = h.client.Disconnect(ctx)
}

func TestConformance(t *testing.T) {
	w := newWorld(t)
	rotatortest.Run(t, rotatortest.Subject{
		Rotator:    mongodb.New(),
		Endpoints:  []string{w.Addr()},
		Strategies: []rotator.Strategy{rotator.Single, rotator.Alternating},
		Target:     func(_ *testing.T, addresses []string) *rotator.Target { return w.target(addresses...) },
		Make:       w.make,
		Login: func(ctx context.Context, endpoint string, c rotator.Credential) (bool, error) {
			client, err := w.connect(ctx, endpoint, c)
			var answer driver.Error
			if errors.As(err, &answer) && answer.Code == 18 {
				return false, nil
			}
			if err != nil {
				return false, err
			}
			held{client}.Close()
			return true, nil
		},
		Open: func(t *testing.T, endpoint string, c rotator.Credential) rotatortest.Session {
			client, err := w.connect(t.Context(), endpoint, c)
			if err != nil {
				t.Fatal(err)
			}
			return held{client}
		},
		Snapshot: func(_ *testing.T, name string) string { return w.Describe(name) },
		Log: func(*testing.T) string {
			w.mu.Lock()
			defer w.mu.Unlock()
			return w.text.String()
		},
		Absent: "nobody",
		Powerless: func(*testing.T) rotator.Credential {
			return rotator.Credential{Account: "guest", Value: redact.Bytes("the guest's own")}
		},
		LockOut: func(_ *testing.T, name string) func() {
			w.Restrict(name, true)
			return func() { w.Restrict(name, false) }
		},
		Unequal:    func(_ *testing.T, accounts []string) { w.Grant(accounts[1], "readWrite", "root") },
		Broken:     json.RawMessage(`{"endpoints":["mongodb://a"],"database":"a b","tls":{"ca":"none"}}`),
		Complaints: []string{"host:port", "database", "PEM"},
		Exceptions: map[rotatortest.Promise]string{rotatortest.DeadlineAtTarget: "MongoDB knows limits of time that begin when a command arrives, and no instant"},
	})
}

// Without a primary nothing changes, and it is said so.
func TestNoPrimary(t *testing.T) {
	w := newWorld(t)
	c := w.make(t, 1)[0]
	w.StepDown(true)
	if err := mongodb.New().Set(t.Context(), w.target(w.Addr()), rotator.Change{Credential: c}); err == nil || rotator.ClassOf(err) != rotator.NotApplied {
		t.Error(err)
	}
}

// Two endpoints: each is probed, and one is changed.
func TestTwoEndpoints(t *testing.T) {
	w := newWorld(t)
	c := w.make(t, 1)[0]
	target := w.target(w.Addr(), strings.Replace(w.Addr(), "127.0.0.1", "localhost", 1))
	c.Value = redact.Bytes("the second value")
	if err := mongodb.New().Set(t.Context(), target, rotator.Change{Credential: c}); err != nil {
		t.Fatal(err)
	}
	if logins, err := mongodb.New().Probe(t.Context(), target, c); err != nil || len(logins) != 2 || logins.Verdict() != rotator.Accepted {
		t.Errorf("%+v, %v", logins, err)
	}
}

func TestPage(t *testing.T) { rotatortest.Page(t, mongodb.New(), "mongodb.md", 1) }
