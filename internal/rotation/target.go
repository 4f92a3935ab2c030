package rotation

import (
	"context"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/rotator"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// target is where the run's changes happen. The administrator's credential is read for each call, and that is recorded.
func (c *calling) target(ctx context.Context) (*rotator.Target, error) {
	t := &rotator.Target{Config: c.run.Policy.Target, Attempt: string(c.run.ID)}
	ref := c.run.Policy.Admin
	if ref == nil {
		return t, nil
	}
	admin, err := c.administrator(ctx, *ref)
	t.Admin = admin
	return t, err
}

// targetOf is the target for a call about an account. Where no administrator is named, the account changes itself: it logs in with the credential that it
// accepted when it was asked last, or else with the one that should be in force, and never with the version that is about to be set or to go.
func (c *calling) targetOf(ctx context.Context, account string, but vault.VersionID) (*rotator.Target, error) {
	t, err := c.target(ctx)
	if err != nil || c.run.Policy.Admin != nil || c.rotator == nil || !c.rotator.Describe().SelfService {
		return t, err
	}
	own := c.ownCredential(account, but)
	if own == "" {
		return t, nil
	}
	cred, err := c.credential(ctx, own)
	t.Admin = rotator.Credential{Account: cred.Account, Value: cred.Value}
	return t, err
}

func (c *calling) ownCredential(account string, but vault.VersionID) (best vault.VersionID) {
	r := &c.run
	for _, v := range append([]vault.VersionID{r.Base, r.Current, r.Previous, r.Pending}, r.Old...) {
		if v == "" || v == but || r.Places[v].Account != account {
			continue
		}
		switch r.Matrix[v] {
		case rotator.Accepted.String():
			return v
		case rotator.Rejected.String():
			continue
		}
		if best == "" {
			best = v
		}
	}
	return best
}

func (c *calling) administrator(ctx context.Context, ref Reference) (rotator.Credential, error) {
	var v *vault.Vault
	var o *vault.Object
	err := c.e.Store.View(ctx, func(tx store.Tx) (err error) {
		v = c.vault
		if ref.Vault != "" {
			if v, err = tx.VaultByName(ctx, ref.Vault); err != nil {
				return err
			}
		}
		o, err = tx.Object(ctx, v.ID, vault.Secret, ref.Name)
		return err
	})
	if isMissing(err) || err == nil && (v.Tenant != c.run.Tenant || o.Deleted != nil || o.Current == "") {
		return rotator.Credential{}, rotator.Fail(rotator.Denied, nil, "the administrator's secret %q was not found: correct the policy, or set it", ref.Name)
	}
	if err != nil {
		return rotator.Credential{}, rotator.Fail(rotator.NotApplied, err, "the administrator's secret %q could not be read", ref.Name)
	}
	call := c.e.call(v, "rotation.admin", string(c.run.ID), c.now())
	need := guard.Need{Action: authz.SecretGet, Kind: vault.Secret, Name: o.Name, Version: o.Current, Reason: "run " + string(c.run.ID) + " of " + c.run.NameKey}
	if err := c.e.Guard.Record(ctx, call, &need); err != nil {
		return rotator.Credential{}, rotator.Fail(rotator.NotApplied, err, "the reading of the administrator's secret could not be recorded")
	}
	ver, value, err := c.e.Secrets.Rotation(v, o.Name, o.ID).Open(ctx, o.Current)
	if err != nil {
		return rotator.Credential{}, rotator.Fail(rotator.NotApplied, err, "the administrator's secret %q could not be opened", ref.Name)
	}
	defer clear(value)
	if !ver.Attributes.Enabled {
		return rotator.Credential{}, rotator.Fail(rotator.Denied, nil, "the administrator's secret %q is disabled: enable it", ref.Name)
	}
	l, err := Format{Kind: JSON}.parse(value)
	if err != nil {
		return rotator.Credential{}, rotator.Fail(rotator.Misconfigured, nil, "the administrator's secret %q must be JSON with username and password", ref.Name)
	}
	c.values = append(c.values, l.value)
	return rotator.Credential{Account: l.account, Value: l.value}, nil
}

// credential reads what a version holds. The policy's own places say where it sits.
func (c *calling) credential(ctx context.Context, v vault.VersionID) (rotator.Credential, error) {
	l, err := c.login(ctx, v)
	if err != nil {
		return rotator.Credential{}, rotator.Fail(rotator.NotApplied, err, "version %s could not be read", v)
	}
	c.values = append(c.values, l.value)
	p := c.run.Places[v]
	if l.account != "" {
		p.Account = l.account
	}
	if p.Account == "" && len(c.run.Policy.Accounts) > 0 {
		p.Account = c.run.Policy.Accounts[0]
	}
	return rotator.Credential{Account: p.Account, Slot: p.Slot, KeyID: p.KeyID, Version: string(v), Value: l.value}, nil
}

func (c *calling) keep(ctx context.Context, v vault.VersionID) (*rotator.Credential, error) {
	if v == "" {
		return nil, nil
	}
	cred, err := c.credential(ctx, v)
	return &cred, err
}
