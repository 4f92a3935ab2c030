package mongodb

import (
	"context"
	"crypto/rand"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/keywright/keywright/internal/redact"
	"github.com/keywright/keywright/internal/rotator"
)

// Set gives the user the value as its only password.
func (*Rotator) Set(ctx context.Context, t *rotator.Target, c rotator.Change) error {
	switch {
	case c.Keep != nil:
		return rotator.Fail(rotator.Misconfigured, nil, "a user of MongoDB has one password: %q cannot keep another; use the strategy single or alternating", c.Account)
	case len(c.Value) == 0:
		return rotator.Fail(rotator.Refused, nil, "MongoDB takes no empty password")
	}
	_, err := change(ctx, t, c.Account, c.Value)
	return err
}

// Revoke makes Keep the user's only password, or gives it one that nobody knows: MongoDB cannot disable a user.
func (*Rotator) Revoke(ctx context.Context, t *rotator.Target, c rotator.Change) error {
	value := redact.Bytes(rand.Text() + rand.Text())
	if c.Keep != nil {
		if c.Keep.Account != c.Account || len(c.Keep.Value) == 0 || string(c.Keep.Value) == string(c.Value) {
			return rotator.Fail(rotator.Misconfigured, nil, "what %q is to keep is another user's, or the very value to be revoked", c.Account)
		}
		value = c.Keep.Value
	}
	found, err := change(ctx, t, c.Account, value)
	if !found {
		return nil // what is gone accepts nothing
	}
	return err
}

// change updates the user. found is false only when the server said that there is none.
func change(ctx context.Context, t *rotator.Target, account string, value redact.Bytes) (found bool, err error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	if err := checkName(account); err != nil {
		return true, err
	}
	c, err := parse(t.Config)
	if err != nil {
		return true, err
	}
	s, err := c.writer(ctx, t)
	if err != nil {
		return true, err
	}
	defer s.close()
	deadline, _ := ctx.Deadline()
	left := time.Until(deadline).Milliseconds()
	if left <= 0 || ctx.Err() != nil {
		return true, rotator.Fail(rotator.NotApplied, ctx.Err(), "the time was over before %q was changed at %s", account, s.endpoint)
	}
	// Never roles: the list would replace what the user has.
	var answer struct {
		WriteConcern bson.Raw `bson:"writeConcernError"`
	}
	err = s.run(ctx, c.Database, bson.D{{Key: "updateUser", Value: account}, {Key: "pwd", Value: string(value.Reveal())},
		{Key: "writeConcern", Value: bson.D{{Key: "w", Value: "majority"}, {Key: "wtimeout", Value: left}}}}, &answer)
	switch {
	case err == nil && len(answer.WriteConcern) > 0:
		return true, rotator.Fail(rotator.Doubt, nil, "%s changed the password of %q and a majority did not confirm it: it may be rolled back", s.endpoint, account)
	case err == nil:
		return true, nil
	case code(err) == userNotFound:
		return false, rotator.Fail(rotator.Misconfigured, cause(err), "there is no user %q in the database %q at %s: create it first", account, c.Database, s.endpoint)
	case decided(err):
		return true, rotator.Fail(classify(err), cause(err), "%s refused to change the password of %q: the administrator %q needs the action changePassword on the database %q", s.endpoint, account, t.Admin.Account, c.Database)
	default:
		return true, rotator.Fail(rotator.Doubt, cause(err), "the change of %q at %s was not confirmed: log in to see what holds", account, s.endpoint)
	}
}
