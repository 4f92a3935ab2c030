package mongodb

import (
	"context"
	"fmt"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/keywright/keywright/internal/rotator"
)

// Probe logs in at every endpoint, by a client of its own. The server says the same of a wrong password, of a user that does not exist and of an address
// from which the user may not log in.
func (*Rotator) Probe(ctx context.Context, t *rotator.Target, c rotator.Credential) (rotator.Logins, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	config, err := parse(t.Config)
	if err != nil {
		return nil, err
	}
	if err := checkName(c.Account); err != nil {
		return nil, err
	}
	return c.TryAt(config.Endpoints, func(e string) rotator.Login { return config.login(ctx, e, c, t.Attempt) })
}

func (c *config) login(ctx context.Context, address string, as rotator.Credential, attempt string) rotator.Login {
	one := rotator.Login{Endpoint: address}
	s, err := c.dial(ctx, address, as, attempt)
	switch {
	case code(err) == authenticationFailed:
		one.Verdict, one.Detail = rotator.Rejected, "the server refused the login (18)"
		return one
	case err != nil:
		one.Detail = "no login: " + cause(err).Error()
		return one
	}
	defer s.close()
	var status struct {
		Info struct {
			Users []struct {
				User string `bson:"user"`
				DB   string `bson:"db"`
			} `bson:"authenticatedUsers"`
		} `bson:"authInfo"`
	}
	if err := s.run(ctx, "admin", bson.D{{Key: "connectionStatus", Value: 1}}, &status); err != nil {
		one.Detail = "logged in, and then: " + cause(err).Error()
		return one
	}
	if u := status.Info.Users; len(u) != 1 || u[0].User != as.Account || u[0].DB != c.Database {
		one.Detail = "the login did not become the user"
		return one
	}
	// Every user may see itself.
	me, err := s.user(ctx, as.Account)
	switch {
	case err != nil:
		one.Detail = "logged in, and then: " + cause(err).Error()
	case me == nil || me.identity() == "":
		one.Detail = fmt.Sprintf("logged in, and %s does not tell the user's id", address)
	default:
		one.Verdict, one.Identity = rotator.Accepted, me.identity()
	}
	return one
}

// Sessions lists the connections of a user at every endpoint. MongoDB does not tell since when they are there.
func (*Rotator) Sessions(ctx context.Context, t *rotator.Target, account string) ([]rotator.Session, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	if err := checkName(account); err != nil {
		return nil, err
	}
	c, err := parse(t.Config)
	if err != nil {
		return nil, err
	}
	var found []rotator.Session
	for _, e := range c.Endpoints {
		s, err := c.admin(ctx, t, e)
		if err != nil {
			return nil, err
		}
		some, err := s.sessions(ctx, account)
		s.close()
		if err != nil {
			return nil, failed(err, "listing the connections of %q at %s: the administrator needs the action inprog on the cluster", account, e)
		}
		found = append(found, some...)
	}
	return found, nil
}

func (s *session) sessions(ctx context.Context, account string) ([]rotator.Session, error) {
	cursor, err := s.client.Database("admin").Aggregate(ctx, bson.A{
		bson.D{{Key: "$currentOp", Value: bson.D{{Key: "allUsers", Value: true}, {Key: "idleConnections", Value: true}}}},
		bson.D{{Key: "$match", Value: bson.D{{Key: "effectiveUsers", Value: bson.D{{Key: "$elemMatch", Value: bson.D{{Key: "user", Value: account}, {Key: "db", Value: s.config.Database}}}}}}}},
	})
	if err != nil {
		return nil, err
	}
	var operations []struct {
		Connection any    `bson:"connectionId"` // a number, on a mongos also a text
		Client     string `bson:"client"`
		AppName    string `bson:"appName"`
	}
	if err := cursor.All(ctx, &operations); err != nil {
		return nil, err
	}
	seen := map[string]bool{}
	var found []rotator.Session
	for _, o := range operations { // one connection may do several things
		id := fmt.Sprint(o.Connection)
		if seen[id] {
			continue
		}
		seen[id] = true
		found = append(found, rotator.Session{Endpoint: s.endpoint, Account: account, ID: id, Address: o.Client, Client: o.AppName})
	}
	return found, nil
}
