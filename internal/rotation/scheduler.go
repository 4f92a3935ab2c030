package rotation

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// scheduleBatch is how many due policies, and tasks, are taken up together.
const scheduleBatch = 256

// retryAfter is how long a policy rests whose last run ended without a new version.
const retryAfter = time.Hour

// parentWait is how long a policy rests whose parents have not settled.
const parentWait = time.Minute

// Tick starts what is due and reminds of tasks. The engine calls it by itself; calls may overlap, in one process or in several.
func (e *Engine) Tick(ctx context.Context) error {
	tenants, err := e.scheduling(ctx)
	errs := []error{err}
	now := clock.Micro(e.Clock.Now())
	for _, t := range tenants {
		errs = append(errs, e.tick(ctx, t, now))
	}
	if len(tenants) > 0 && e.ages.due(now) {
		_, err := e.TellAges(ctx)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// tick does it for one tenant, or for all.
func (e *Engine) tick(ctx context.Context, t vault.TenantID, now time.Time) error {
	var policies []*store.Policy
	var tasks []*store.Task
	err := e.Store.View(ctx, func(tx store.Tx) (err error) {
		if policies, err = tx.Policies(ctx, store.PolicyQuery{Tenant: t, Kind: vault.Secret, DueBefore: now, Limit: scheduleBatch}); err != nil {
			return err
		}
		tasks, err = tx.Tasks(ctx, store.TaskQuery{Tenant: t, Open: true, DueBefore: now, Limit: scheduleBatch})
		return err
	})
	errs := []error{err}
	for _, p := range policies {
		errs = append(errs, e.start(ctx, p.Object, now))
	}
	for _, t := range tasks {
		errs = append(errs, e.remind(ctx, t, now))
	}
	if len(policies) > 0 {
		e.Wake()
	}
	return errors.Join(errs...)
}

// errNotDue says that somebody else has taken the policy up.
var errNotDue = errors.New("the policy is not due any more")

// start opens the run of a policy that is due, or puts it off.
func (e *Engine) start(ctx context.Context, o vault.ObjectID, now time.Time) error {
	var v *vault.Vault
	var name string
	err := e.Store.View(ctx, func(tx store.Tx) error {
		p, err := tx.Policy(ctx, o)
		if err != nil {
			return err
		}
		name = p.NameKey
		v, err = tx.Vault(ctx, p.Vault)
		return err
	})
	if isMissing(err) {
		return nil
	}
	if err != nil {
		return err
	}
	op := store.NewOp(e.now(v.Tenant))
	id := store.RunID(vault.NewVersionID(op.At))
	need := guard.Need{Action: authz.RotationRun, Kind: vault.Secret, Name: name, Reason: fmt.Sprintf("run %s: scheduled", id)}
	err = e.Guard.Commit(ctx, e.call(v, "rotation.schedule", string(id), op.At), need, op, func(tx store.Tx) error {
		p, err := tx.Policy(ctx, o)
		if err != nil || p.DueAt.IsZero() || p.DueAt.After(now) {
			return errors.Join(guard.ErrAgain, errNotDue)
		}
		return e.open(ctx, tx, p, id, op.At)
	})
	if errors.Is(err, errNotDue) {
		return nil
	}
	return err
}

func (e *Engine) open(ctx context.Context, tx store.Tx, p *store.Policy, id store.RunID, now time.Time) error {
	doc, err := readPolicy(p)
	if err != nil {
		return err
	}
	n := *p
	n.DueAt = time.Time{} // the end of the run sets the next
	live, err := tx.Object(ctx, p.Vault, p.Kind, p.NameKey)
	switch {
	case isMissing(err), err == nil && live.ID != p.Object:
		return tx.PutPolicy(ctx, &n) // it was purged
	case err != nil:
		return err
	case live.Deleted != nil:
		n.DueAt = now.Add(retryAfter) // it may be recovered
		return tx.PutPolicy(ctx, &n)
	}
	// What was due may not be any more: somebody wrote a newer version, or the secret was recovered. And no run begins outside of its windows.
	var current *vault.Version
	if live.Current != "" {
		if current, err = tx.Version(ctx, live.ID, live.Current); err != nil {
			return err
		}
	}
	due := doc.due(p.Object, current)
	if doc.State.Cause.windowed() && !due.After(now) {
		due = clock.Micro(doc.Policy.windows(doc.State.Length).opens(now))
	}
	if due.IsZero() || due.After(now) {
		n.DueAt = due
		if n.Doc, err = json.Marshal(doc); err != nil {
			return err
		}
		return tx.PutPolicy(ctx, &n)
	}
	settled, err := settledParents(ctx, tx, p.Vault, &doc.Policy)
	if err != nil {
		return err
	}
	if !settled {
		n.DueAt = now.Add(parentWait)
		return tx.PutPolicy(ctx, &n)
	}
	_, err = tx.OpenRun(ctx, p.Object, doc.Policy.runs())
	if isMissing(err) {
		if _, err := e.enqueue(ctx, tx, p, id, Start{Cause: doc.State.Cause}, now); err != nil {
			return err
		}
	} else if err != nil {
		return err
	}
	return tx.PutPolicy(ctx, &n)
}

// settledParents reports whether no secret on which the policy depends is in the midst of a change.
func settledParents(ctx context.Context, tx store.Tx, id vault.ID, p *Policy) (bool, error) {
	if len(p.DependsOn) == 0 {
		return true, nil
	}
	v, err := tx.Vault(ctx, id)
	if err != nil {
		return false, err
	}
	for _, ref := range p.DependsOn {
		parent, err := find(ctx, tx, v, ref)
		if isMissing(err) {
			continue // it was deleted, and will not change any more
		}
		if err != nil {
			return false, err
		}
		for _, kind := range []store.RunKind{store.RotationRun, store.RevocationRun, store.AuthorityRun} {
			if _, err := tx.OpenRun(ctx, parent.ID, kind); err == nil {
				return false, nil
			} else if !isMissing(err) {
				return false, err
			}
		}
	}
	return true, nil
}

// adoptChild notes in the policies of the parents who follows them, so that a change of theirs finds its children.
func adoptChild(ctx context.Context, tx store.Tx, v *vault.Vault, child vault.ObjectID, refs []Reference, keep bool) error {
	for _, ref := range refs {
		parent, err := find(ctx, tx, v, ref)
		if isMissing(err) && !keep {
			continue
		}
		if err != nil {
			return err
		}
		p, err := tx.Policy(ctx, parent.ID)
		if isMissing(err) {
			continue // what has no policy is not changed by a run
		}
		if err != nil {
			return err
		}
		doc, err := readPolicy(p)
		if err != nil {
			return err
		}
		if doc.none() {
			continue
		}
		doc.State.Children = slices.DeleteFunc(doc.State.Children, func(o vault.ObjectID) bool { return o == child })
		if keep {
			doc.State.Children = append(doc.State.Children, child)
		}
		n := *p
		if n.Doc, err = json.Marshal(doc); err != nil {
			return err
		}
		if err := tx.PutPolicy(ctx, &n); err != nil {
			return err
		}
	}
	return nil
}

// ended is what follows for policies when a run is over: a date for the next try of one that brought no new version, and the runs of the children of
// one that has settled.
func (c *commit) ended(ctx context.Context, tx store.Tx) error {
	r := &c.next
	if r.Open() {
		return nil
	}
	p, err := tx.Policy(ctx, r.Object)
	if isMissing(err) {
		return nil
	}
	if err != nil {
		return err
	}
	doc, err := readPolicy(p)
	if err != nil {
		return err
	}
	switch {
	case r.Kind != store.RevocationRun && r.State != Done:
		return c.later(ctx, tx, p, doc)
	case r.Kind == store.AuthorityRun:
		if err := c.succeededAuthority(ctx, tx, p, doc); err != nil {
			return err
		}
	case r.State != Done, r.Kind == store.RotationRun && len(r.Plan.Revoke) > 0:
		return nil
	}
	for _, child := range doc.State.Children {
		if err := c.follow(ctx, tx, child); err != nil {
			return err
		}
	}
	return nil
}

func (c *commit) later(ctx context.Context, tx store.Tx, p *store.Policy, doc *policyDoc) error {
	var current *vault.Version
	if c.object != nil && c.object.Current != "" {
		var err error
		if current, err = tx.Version(ctx, c.object.ID, c.object.Current); err != nil {
			return err
		}
	}
	n := *p
	if n.DueAt = doc.due(p.Object, current); !n.DueAt.IsZero() || c.object == nil {
		n.DueAt = later(n.DueAt, c.op.At.Add(retryAfter)) // a deleted secret may be recovered
	}
	var err error
	if n.Doc, err = json.Marshal(doc); err != nil {
		return err
	}
	return tx.PutPolicy(ctx, &n)
}

// follow opens the run of a child, unless it has one already.
func (c *commit) follow(ctx context.Context, tx store.Tx, child vault.ObjectID) error {
	p, err := tx.Policy(ctx, child)
	if isMissing(err) {
		return nil
	}
	if err != nil {
		return err
	}
	doc, err := readPolicy(p)
	if err != nil {
		return err
	}
	if _, err := tx.OpenRun(ctx, child, doc.Policy.runs()); !isMissing(err) {
		return err
	}
	sum := sha256.Sum256([]byte(string(c.next.ID) + string(child)))
	id := store.RunID(string(c.revocation)[:16] + hex.EncodeToString(sum[:8]))
	_, err = c.d.e.enqueue(ctx, tx, p, id, Start{Cause: Dependency, Actor: c.next.Start.Actor, Parent: c.next.ID}, c.op.At)
	return err
}

// remind tells people of a task that is open.
func (e *Engine) remind(ctx context.Context, stored *store.Task, now time.Time) error {
	op := store.NewOp(e.now(stored.Tenant))
	id := string(vault.NewVersionID(op.At))
	return e.Store.Update(ctx, op, func(tx store.Tx) error {
		s, err := tx.Task(ctx, stored.ID)
		if isMissing(err) || err == nil && (!s.Open || s.NextAt.IsZero() || s.NextAt.After(now)) {
			return nil
		}
		if err != nil {
			return err
		}
		t, err := ReadTask(s)
		if err != nil {
			return err
		}
		what := t.remind(now)
		if err := emitTask(tx, id, s, t, what, op.At); err != nil {
			return err
		}
		return putTask(ctx, tx, s, t)
	})
}
