package mongodb

import (
	"context"
	"encoding/hex"
	"net"
	"slices"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/keywright/keywright/internal/rotator"
	"github.com/keywright/keywright/internal/rotator/endpoint"
)

const (
	// callTime bounds a verb whose caller gave no deadline, connectTime one login.
	callTime    = 30 * time.Second
	connectTime = 5 * time.Second
	// selectTime is how long the driver looks for a server that does not answer.
	selectTime = 2 * time.Second
	// farewellTime bounds the driver's good-bye.
	farewellTime = 500 * time.Millisecond
)

func bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, callTime)
}

// session is one client of one server, for one login.
type session struct {
	client   *mongo.Client
	config   *config
	endpoint string
}

// dialer connects to the endpoint, until the verb's context ends.
type dialer struct{ ctx context.Context }

func (d dialer) DialContext(_ context.Context, _, address string) (net.Conn, error) {
	return endpoint.Dial(d.ctx, address, nil) // the driver puts TLS on top
}

// dial makes a client of its own, which talks to this server alone, and proves the login by one command. The error is the driver's own.
func (c *config) dial(ctx context.Context, address string, as rotator.Credential, attempt string) (*session, error) {
	settings, err := c.TLS.Config()
	if err != nil {
		return nil, err
	}
	name := strings.TrimSpace("keywright " + attempt)
	o := options.Client().SetHosts([]string{address}).SetDirect(true).SetAppName(name[:min(len(name), 128)]).
		SetAuth(options.Credential{AuthSource: c.Database, Username: as.Account, Password: string(as.Value.Reveal()), PasswordSet: true}).
		SetTLSConfig(settings).SetDialer(dialer{ctx}).SetMaxPoolSize(2).SetMaxConnecting(1).
		SetConnectTimeout(connectTime).SetServerSelectionTimeout(selectTime).SetServerMonitoringMode("poll").
		SetRetryReads(false).SetRetryWrites(false)
	client, err := mongo.Connect(o)
	if err != nil {
		return nil, err
	}
	s := &session{client: client, config: c, endpoint: address}
	limited, cancel := context.WithTimeout(ctx, connectTime)
	defer cancel()
	// Logged out, ping would be answered as well; a connection of the pool is logged in before it takes a command.
	if err := s.run(limited, c.Database, bson.D{{Key: "ping", Value: 1}}, nil); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// close ends all connections, whatever they do.
func (s *session) close() {
	ctx, cancel := context.WithTimeout(context.Background(), farewellTime)
	defer cancel()
	_ = s.client.Disconnect(ctx)
}

func (s *session) run(ctx context.Context, database string, command bson.D, into any) error {
	result := s.client.Database(database).RunCommand(ctx, command)
	if into == nil {
		return result.Err()
	}
	return result.Decode(into)
}

// admin logs the administrator in.
func (c *config) admin(ctx context.Context, t *rotator.Target, address string) (*session, error) {
	if t.Admin.IsZero() {
		return nil, rotator.Fail(rotator.Denied, nil, "MongoDB's users are changed by an administrator: name one with the action changePassword in the policy")
	}
	s, err := c.dial(ctx, address, t.Admin, t.Attempt)
	if err != nil {
		return nil, failed(err, "the administrator %q cannot log in at %s: see that the server is up and its certificate trusted, and check the password", t.Admin.Account, address)
	}
	return s, nil
}

// writer logs the administrator in at the first endpoint that takes writes.
func (c *config) writer(ctx context.Context, t *rotator.Target) (*session, error) {
	for _, e := range c.Endpoints {
		s, err := c.admin(ctx, t, e)
		if err != nil {
			return nil, err
		}
		writes, err := s.writes(ctx)
		if writes {
			return s, nil
		}
		s.close()
		if err != nil {
			return nil, failed(err, "asking %s what it is", e)
		}
	}
	return nil, rotator.Fail(rotator.NotApplied, nil, "none of the endpoints takes writes: there is no primary now, or it is not among them")
}

// writes reports whether the server is a primary or a mongos.
func (s *session) writes(ctx context.Context) (bool, error) {
	var hello struct {
		Primary bool `bson:"isWritablePrimary"`
	}
	err := s.run(ctx, "admin", bson.D{{Key: "hello", Value: 1}}, &hello)
	return hello.Primary, err
}

// user is an account as usersInfo shows it.
type user struct {
	ID    bson.Binary `bson:"userId"`
	Roles []struct {
		Role string `bson:"role"`
		DB   string `bson:"db"`
	} `bson:"roles"`
	Mechanisms []string `bson:"mechanisms"`
	Restricted bson.Raw `bson:"authenticationRestrictions"`
}

// user reads an account; nil when there is none.
func (s *session) user(ctx context.Context, name string) (*user, error) {
	var found struct {
		Users []user `bson:"users"`
	}
	err := s.run(ctx, s.config.Database, bson.D{{Key: "usersInfo", Value: bson.D{{Key: "user", Value: name}, {Key: "db", Value: s.config.Database}}}}, &found)
	if err != nil || len(found.Users) == 0 {
		return nil, err
	}
	return &found.Users[0], nil
}

// identity names a user by the id that it got when it was made, and that it has on every member.
func (u *user) identity() string {
	if len(u.ID.Data) == 0 {
		return ""
	}
	return "mongodb:" + hex.EncodeToString(u.ID.Data)
}

// rights is what must be equal within a pair.
func (u *user) rights() []string {
	var all []string
	for _, r := range u.Roles {
		all = append(all, "role "+r.DB+"."+r.Role)
	}
	for _, m := range u.Mechanisms {
		all = append(all, "mechanism "+m)
	}
	slices.Sort(all)
	return all
}

func checkName(account string) error {
	if account == "" || len(account) > 128 || strings.ContainsRune(account, 0) {
		return rotator.Fail(rotator.Misconfigured, nil, "%q is no name of a user: it must have 1 to 128 bytes", account)
	}
	return nil
}
