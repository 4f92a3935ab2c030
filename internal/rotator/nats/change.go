package nats

import (
	"context"
	"crypto/rand"
	"errors"

	"golang.org/x/crypto/bcrypt"

	"github.com/keywright/keywright/internal/rotator"
)

// cost is bcrypt's work factor. Values are random, of 190 bits, and gain nothing by a slow hash, while a server computes it at every login of every client, one
// after the other: at the usual 11 a restart under a thousand clients takes minutes.
const cost = bcrypt.MinCost + 1

// Set gives the user the value as its only password, at every server.
func (*Rotator) Set(ctx context.Context, t *rotator.Target, c rotator.Change) error {
	if c.Keep != nil {
		return rotator.Fail(rotator.Misconfigured, nil, "NATS users have one password: use a pair of users to overlap, not two passwords of %q", c.Account)
	}
	if len(c.Value) == 0 {
		return rotator.Fail(rotator.Refused, nil, "an empty password would be one for nobody")
	}
	cfg, err := open(t)
	if err != nil {
		return err
	}
	return cfg.change(ctx, c.Account, c.Value.Reveal())
}

// Revoke leaves the user the value to keep, or one that nobody knows. Its clients are disconnected when its password changes by it.
func (*Rotator) Revoke(ctx context.Context, t *rotator.Target, c rotator.Change) error {
	if c.Keep != nil && len(c.Keep.Value) == 0 {
		return rotator.Fail(rotator.Refused, nil, "the password of %q to keep is empty: it would be one for anybody", c.Account)
	}
	cfg, err := open(t)
	if err != nil {
		return err
	}
	value := []byte(rand.Text())
	if c.Keep != nil {
		value = c.Keep.Value.Reveal()
	}
	if err := cfg.change(ctx, c.Account, value); !errors.Is(err, errAbsent) {
		return err
	}
	return nil
}

var errAbsent = errors.New("there is no such user")

// change gives the user a password at one server after the other. The effect at an earlier one leaves in doubt what a later failure left.
func (c *config) change(ctx context.Context, account string, value []byte) error {
	hash, err := bcrypt.GenerateFromPassword(value, cost)
	if err != nil {
		return rotator.Fail(rotator.Refused, err, "bcrypt takes no more than 72 bytes")
	}
	for i := range c.Servers {
		if err := c.changeAt(ctx, &c.Servers[i], account, value, string(hash)); err != nil {
			if i > 0 && !errors.Is(err, errAbsent) {
				return doubtful(err)
			}
			return err
		}
	}
	return nil
}

func (c *config) changeAt(ctx context.Context, s *server, account string, value []byte, hash string) error {
	m, err := c.monitor(ctx, s)
	if err != nil {
		return err
	}
	defer m.close()
	unlock, err := lock(ctx, s.UsersFile)
	if err != nil {
		return err
	}
	defer unlock()
	file, before, err := read(s.UsersFile)
	if err != nil {
		return err
	}
	u := file.find(account)
	if u == nil {
		return rotator.Fail(rotator.Misconfigured, errAbsent, "%q is not in %s: add it, or name another in the policy", account, s.UsersFile)
	}
	// Nothing is written for a server that could not load it.
	if _, err := m.state(ctx); err != nil {
		return err
	}
	if _, err := s.pid(); err != nil {
		return err
	}
	if bcrypt.CompareHashAndPassword([]byte(u.password()), value) != nil { // else only the reload may be missing
		u.setPassword(hash)
		if err := replace(s.UsersFile, file.bytes()); err != nil {
			return fileDoubt(err, s.UsersFile)
		}
	}
	if err := s.valid(ctx); err != nil {
		if back := replace(s.UsersFile, before); back != nil {
			return errors.Join(doubtful(err), back)
		}
		return err
	}
	return c.load(ctx, s, m, rotator.Credential{Account: account, Value: value})
}

// fileDoubt is an error of a write that may have come to its end: a later reload, by whomever, loads it.
func fileDoubt(err error, path string) error {
	return errors.Join(errors.New("writing "+path+" failed, or its place on the disk is not certain"), err)
}
