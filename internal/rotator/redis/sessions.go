package redis

import (
	"context"
	"strconv"
	"time"

	"github.com/keywright/keywright/internal/rotator"
)

// Sessions lists the user's connections on every endpoint.
func (r *Rotator) Sessions(ctx context.Context, t *rotator.Target, account string) ([]rotator.Session, error) {
	var all []rotator.Session
	err := everywhere(ctx, t, account, func(ctx context.Context, n *node) error {
		clients, err := n.clients(ctx)
		if err != nil {
			return n.before(err, "listing connections")
		}
		now := r.clock.Now()
		for _, c := range clients {
			if c["user"] != account {
				continue
			}
			s := rotator.Session{Endpoint: n.endpoint, Account: account, ID: c["id"], Address: c["addr"], Client: c["name"]}
			if age, err := strconv.ParseInt(c["age"], 10, 32); err == nil {
				s.Since = now.Add(-time.Duration(age) * time.Second)
			}
			all = append(all, s)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return all, nil
}

// Terminate ends the user's connections on every endpoint.
func (*Rotator) Terminate(ctx context.Context, t *rotator.Target, account string) (n int, err error) {
	err = everywhere(ctx, t, account, func(ctx context.Context, node *node) error {
		ended, err := node.conn.ClientKillByFilter(ctx, "USER", account).Result()
		n += int(ended)
		switch {
		case err != nil && isReply(err):
			return node.before(err, "ending connections")
		case err != nil:
			return rotator.Fail(rotator.Doubt, err, "ending connections at %s failed", node.endpoint)
		}
		return nil
	})
	return n, err
}

func everywhere(ctx context.Context, t *rotator.Target, account string, visit func(context.Context, *node) error) error {
	ctx, cancel := withDeadline(ctx)
	defer cancel()
	config, err := open(t, rotator.Change{Credential: rotator.Credential{Account: account}})
	if err != nil {
		return err
	}
	for _, e := range config.Endpoints {
		n, err := login(ctx, config, e, t.Admin)
		if err != nil {
			return loginFailure(e, err)
		}
		err = visit(ctx, n)
		n.close()
		if err != nil {
			return err
		}
	}
	return nil
}
