package postgres

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/keywright/keywright/internal/rotator"
)

// Set gives the account the credential as its only password.
func (r *Rotator) Set(ctx context.Context, t *rotator.Target, c rotator.Change) error {
	if c.Keep != nil {
		return rotator.Fail(rotator.Misconfigured, nil, "a role of PostgreSQL has one password: %q cannot keep another; use the strategy single or alternating", c.Account)
	}
	v, err := newVerifier(c.Value)
	if err != nil {
		return err
	}
	_, err = r.change(ctx, t, c.Credential, v)
	return err
}

// Revoke makes Keep the account's only password, or gives it one that nobody knows. The role keeps LOGIN: taking it away would make a wrong
// password and a revoked one different answers, and a role may not take it away from itself.
func (r *Rotator) Revoke(ctx context.Context, t *rotator.Target, c rotator.Change) error {
	v, err := randomVerifier()
	after := rotator.Credential{Account: c.Account}
	if c.Keep != nil {
		if c.Keep.Account != c.Account || string(c.Keep.Value) == string(c.Value) {
			return rotator.Fail(rotator.Misconfigured, nil, "what %q is to keep is another role's, or the very value to be revoked", c.Account)
		}
		after = *c.Keep
		v, err = newVerifier(c.Keep.Value)
	}
	if err != nil {
		return err
	}
	found, err := r.change(ctx, t, after, v)
	if !found {
		return nil // what is gone accepts nothing
	}
	return err
}

// change makes v the account's verifier; after is the credential that will be accepted then. found is false only when the server said that there
// is no such role.
func (r *Rotator) change(ctx context.Context, t *rotator.Target, after rotator.Credential, v verifier) (found bool, err error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	if err := checkName(after.Account); err != nil {
		return true, err
	}
	c, err := parse(t.Config)
	if err != nil {
		return true, err
	}
	s, done, err := c.writer(ctx, t, after)
	if err != nil || done {
		return true, err
	}
	defer s.close(ctx)
	if err := s.lock(ctx, after.Account); err != nil {
		return true, err
	}
	var oid uint32
	err = s.QueryRow(ctx, "SELECT oid FROM pg_roles WHERE rolname = $1", after.Account).Scan(&oid)
	if errors.Is(err, pgx.ErrNoRows) {
		return false, rotator.Fail(rotator.Misconfigured, nil, "there is no role %q at %s: create it first", after.Account, s.endpoint)
	} else if err != nil {
		return true, failed(err, "looking for the role %q at %s", after.Account, s.endpoint)
	}
	err = s.run(ctx, "", fmt.Sprintf("ALTER ROLE %s PASSWORD %s", quote(after.Account), literal(string(v))))
	if err != nil {
		return true, failed(err, "changing the password of %q at %s: on PostgreSQL 15 and older the administrator %q needs CREATEROLE, on newer ones ADMIN OPTION for the role too", after.Account, s.endpoint, t.Admin.Account)
	}
	return true, s.commit(ctx)
}

// writer logs in at the endpoint that takes changes. A role that changes its own password may have done so already, without having heard of it:
// then the credential that is to be accepted is, and the change is done.
func (c *config) writer(ctx context.Context, t *rotator.Target, after rotator.Credential) (s *session, done bool, err error) {
	s, err = c.primary(ctx, t)
	if err == nil || t.Admin.Account != after.Account || sqlstate(err) != invalidPassword || len(after.Value) == 0 {
		return s, false, err
	}
	self, again := c.dial(ctx, c.Endpoints[0], c.Database, after, t.Attempt)
	if again != nil {
		return nil, false, err
	}
	self.close(ctx)
	return nil, true, nil
}

// primary logs the administrator in at the first endpoint and begins the transaction. A standby there is refused: after a switch, writing to whatever
// takes it could split the cluster.
func (c *config) primary(ctx context.Context, t *rotator.Target) (*session, error) {
	s, err := c.admin(ctx, t, c.Endpoints[0], c.Database)
	if err != nil {
		return nil, err
	}
	var standby bool
	if err = s.begin(ctx); err == nil {
		err = s.QueryRow(ctx, "SELECT pg_is_in_recovery()").Scan(&standby)
	}
	if err == nil && standby {
		err = rotator.Fail(rotator.Misconfigured, nil, "the first endpoint %s is a standby: put the primary first in endpoints", s.endpoint)
	}
	if err != nil {
		s.close(ctx)
		return nil, failed(err, "beginning a change at %s", c.Endpoints[0])
	}
	return s, nil
}

// lock waits for other changes of the account until the transaction ends.
func (s *session) lock(ctx context.Context, account string) error {
	if err := s.run(ctx, "", fmt.Sprintf("SELECT pg_advisory_xact_lock(%d)", lockKey(account))); err != nil {
		return failed(err, "waiting for another change of %q at %s", account, s.endpoint)
	}
	return nil
}

// lockKey spreads names over the key space of advisory locks, which programs of the target's use too.
func lockKey(account string) int64 {
	sum := sha256.Sum256([]byte("keywright role " + account))
	return int64(binary.BigEndian.Uint64(sum[:8]))
}
