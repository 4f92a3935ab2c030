package rabbitmq

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"github.com/keywright/keywright/internal/rotator"
)

// user is one as the management API shows it and takes it. Tags go back byte for byte: a list since 3.9, a string with commas before.
type user struct {
	PasswordHash string          `json:"password_hash"`
	Algorithm    string          `json:"hashing_algorithm"`
	Tags         json.RawMessage `json:"tags"`
}

// user reads one.
func (a *api) user(ctx context.Context, name string) (*user, error) {
	u := &user{}
	err := a.get(ctx, u, "users", name)
	if errors.Is(err, errAbsent) {
		return nil, rotator.Fail(rotator.Misconfigured, err, "the user %q does not exist at %s: create it, or name another in the policy", name, a.config.ManagementEndpoint)
	}
	if err == nil && len(u.Tags) == 0 {
		// Without tags to send back, a change would take the user's away.
		return nil, rotator.Fail(rotator.NotApplied, nil, "the management API at %s did not show the tags of the user %q", a.config.ManagementEndpoint, name)
	}
	return u, err
}

// put replaces the user's hash and keeps the rest of it.
func (a *api) put(ctx context.Context, name, hash string, u *user) error {
	changed := user{PasswordHash: hash, Algorithm: algorithm, Tags: u.Tags}
	_, err := a.call(ctx, http.MethodPut, path("users", name), changed, nil)
	return err
}

// Set gives the user the value as its only password.
func (*Rotator) Set(ctx context.Context, t *rotator.Target, c rotator.Change) error {
	if c.Keep != nil {
		return rotator.Fail(rotator.Misconfigured, nil, "RabbitMQ's users have one password: use a pair of users to overlap, not two passwords of %q", c.Account)
	}
	if len(c.Value) == 0 {
		return rotator.Fail(rotator.Refused, nil, "an empty password would be one for nobody")
	}
	a, err := open(ctx, t)
	if err != nil {
		return err
	}
	defer a.close()
	u, err := a.user(ctx, c.Account)
	if err != nil {
		return err
	}
	return a.put(ctx, c.Account, hashed(c.Value.Reveal()), u)
}

// Revoke leaves the user the value to keep, or none: it stays, with its tags and permissions, and has a password that nobody knows.
func (*Rotator) Revoke(ctx context.Context, t *rotator.Target, c rotator.Change) error {
	if c.Keep != nil && len(c.Keep.Value) == 0 {
		return rotator.Fail(rotator.Refused, nil, "the password of %q to keep is empty: it would be one for anybody", c.Account)
	}
	a, err := open(ctx, t)
	if err != nil {
		return err
	}
	defer a.close()
	u := &user{}
	if err := a.get(ctx, u, "users", c.Account); errors.Is(err, errAbsent) {
		return nil
	} else if err != nil {
		return err
	}
	if c.Keep == nil {
		return a.put(ctx, c.Account, nobodys(), u)
	}
	if matches(u.PasswordHash, u.Algorithm, c.Keep.Value.Reveal()) {
		return nil
	}
	return a.put(ctx, c.Account, hashed(c.Keep.Value.Reveal()), u)
}
