package rotationtest

import (
	"errors"
	"fmt"
	"slices"

	"github.com/keywright/keywright/internal/rotation"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// judge looks at what is left when all runs are over.
func (c *crash) judge() error {
	r, err := c.w.run(c.rotation)
	if err != nil {
		return err
	}
	want := c.scenario.end
	if want == "" {
		want = rotation.Done
	}
	var errs []error
	if r.State != want {
		errs = append(errs, fmt.Errorf("the rotation ended as %s (%s, %+v), want %s", r.State, r.Reason, r.LastError, want))
	}
	return errors.Join(append(errs, c.judgeVersions(), c.judgeTarget())...)
}

// judgeVersions: one version is current and logs in, none is pending, no other logs in, and all that the target was told is stored.
func (c *crash) judgeVersions() error {
	var o *vault.Object
	var versions []*vault.Version
	err := c.w.Store.View(c.w.Ctx, func(tx store.Tx) (err error) {
		if o, err = tx.Object(c.w.Ctx, c.w.Vault.ID, vault.Secret, c.name); err != nil {
			return err
		}
		versions, err = tx.Versions(c.w.Ctx, o.ID, "", 0)
		return err
	})
	if err != nil {
		return err
	}
	var errs []error
	if o.Labels[vault.Pending] != "" || o.Labels[rotation.Candidate] != "" || o.Rollout != nil {
		errs = append(errs, errors.New("a version is still pending, or offered"))
	}
	current, err := c.credential(o.Current)
	if err != nil {
		return errors.Join(append(errs, fmt.Errorf("the current version: %w", err))...)
	}
	if kept := string(current.Value) == string(c.first.Value); kept != c.scenario.kept {
		errs = append(errs, fmt.Errorf("the value before is current: %v, want %v", kept, c.scenario.kept))
	}
	if ok, err := c.login(current); err != nil || !ok {
		errs = append(errs, fmt.Errorf("the current version does not log in: %w", err))
	}
	var stored []string
	for _, v := range versions {
		cred, err := c.credential(v.ID)
		if err != nil {
			errs = append(errs, fmt.Errorf("version %s, which is %q, cannot be read: %w", v.ID, v.State, err))
			continue
		}
		stored = append(stored, string(cred.Value))
		if c.w.log.has(cred.Value) {
			errs = append(errs, fmt.Errorf("the log shows the value of version %s", v.ID))
		}
		if v.ID == o.Current || string(cred.Value) == string(current.Value) {
			continue
		}
		if ok, err := c.login(cred); err != nil || ok {
			errs = append(errs, fmt.Errorf("version %s, which is %q, logs in: %v, %w", v.ID, v.State, ok, err))
		}
	}
	c.meddler.mu.Lock()
	defer c.meddler.mu.Unlock()
	for attempt, values := range c.meddler.told {
		for _, v := range values {
			if !slices.Contains(stored, v) {
				errs = append(errs, fmt.Errorf("a value that attempt %s set is stored nowhere", attempt))
			}
		}
	}
	return errors.Join(errs...)
}

// judgeTarget: what was counted at the target.
func (c *crash) judgeTarget() error {
	var errs []error
	c.meddler.mu.Lock()
	if c.meddler.overlaps > 0 {
		errs = append(errs, fmt.Errorf("%d calls changed one account while another did", c.meddler.overlaps))
	}
	// An undo and a repair set a stored value again, under the same run's name.
	for attempt, values := range c.meddler.told {
		fresh := 0
		for _, v := range values {
			if v != string(c.first.Value) {
				fresh++
			}
		}
		most := 1
		if c.refused {
			most = 2
		}
		if fresh > most {
			errs = append(errs, fmt.Errorf("attempt %s set %d values", attempt, fresh))
		}
	}
	c.meddler.mu.Unlock()
	if c.w.subject.Orphans != nil {
		if n, err := c.w.subject.Orphans(c.policy.Accounts[0]); err != nil || n > 0 {
			errs = append(errs, fmt.Errorf("the target holds %d credentials that nobody knows: %w", n, err))
		}
	}
	return errors.Join(errs...)
}
