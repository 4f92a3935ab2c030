package rotation

import (
	"context"

	"github.com/keywright/keywright/internal/rotator"
	"github.com/keywright/keywright/internal/secret"
	"github.com/keywright/keywright/internal/store"
)

// generate makes a value and seals it. It is stored with the next journal entry, and only here is it in the clear.
func (c *calling) generate(ctx context.Context, e Effect, o *Observation) error {
	var d *rotator.Description
	if c.rotator != nil {
		description := c.rotator.Describe()
		d = &description
	}
	value, err := generate(c.run.Policy.rules(d, e.Strict))
	if err != nil {
		return err
	}
	c.values = append(c.values, value)
	return c.seal(ctx, rotator.Credential{Account: e.Place.Account, Value: value}, o)
}

// seal makes a version of a credential; what is not the credential's stays as in the version before.
func (c *calling) seal(ctx context.Context, cred rotator.Credential, o *Observation) error {
	in := secret.Input{Enabled: true}
	var like []byte
	if c.run.Base != "" {
		ver, value, err := c.moves.Open(ctx, c.run.Base)
		if err != nil {
			return rotator.Fail(rotator.NotApplied, err, "version %s could not be read", c.run.Base)
		}
		defer clear(value)
		like, in.ContentType, in.Tags = value, ver.ContentType, ver.Tags
	}
	value, err := c.run.Policy.Format.compose(like, cred.Account, cred.Value)
	if err != nil {
		return err
	}
	defer clear(value)
	op := store.NewOp(c.now())
	in.Value = value
	if c.run.Policy.Validity > 0 {
		in.Expires = c.run.Policy.Validity.after(op.At)
	}
	ver, err := c.moves.Seal(ctx, op, in)
	if err != nil {
		return err
	}
	c.sealed[ver.ID] = ver
	o.Version, o.Place = ver.ID, Place{Account: cred.Account, Slot: cred.Slot, KeyID: cred.KeyID}
	return nil
}
