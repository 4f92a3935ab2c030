package rotation

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/principal"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// Candidate is the label of a pending version that consumers may try when the target refuses the current one.
const Candidate = vault.Candidate

// commit writes the run and the moves that belong to it, under the leases, in one transaction with the audit record and the events.
func (d *driver) commit(ctx context.Context, next Run, effects []Effect, reason Reason) error {
	if err := d.fail(beforeCommit(next.State)); err != nil {
		return err
	}
	next.Driver = d.e.Node
	c := &commit{d: d, next: next, effects: effects, reason: reason, op: store.NewOp(d.now())}
	c.revocation = store.RunID(vault.NewVersionID(c.op.At))
	c.task = string(vault.NewVersionID(c.op.At))
	c.event = string(vault.NewVersionID(c.op.At))
	c.alarm = string(vault.NewVersionID(c.op.At))
	err := d.e.write(ctx, c)
	if err != nil {
		return err
	}
	d.tell(c)
	d.run = c.written
	return d.fail(afterCommit(next.State))
}

// write commits through the guard whatever changes more than the journal, and everything that orders a change at a target.
func (e *Engine) write(ctx context.Context, c *commit) error {
	if !c.audited() {
		return e.Store.Update(ctx, c.op, func(tx store.Tx) error { return c.apply(ctx, tx) })
	}
	need := c.need()
	return e.Guard.Commit(ctx, c.call(), need, c.op, func(tx store.Tx) error {
		if err := c.apply(ctx, tx); err != nil {
			// Whoever lost the lease, or the object, did nothing: the record of the one who goes on tells what happened.
			return fmt.Errorf("%w: %w", guard.ErrAgain, err)
		}
		return nil
	})
}

// tell lets the log and the metrics know of a move.
func (d *driver) tell(c *commit) {
	from, r := d.run, &c.written
	d.e.Logger.Info("rotation", "run", r.ID, "kind", r.Kind, "vault", d.vault.Name, "object", r.NameKey, "from", from.State, "state", r.State,
		"reason", c.reason, "cause", r.Start.Cause, "tries", r.Tries)
	if from.State != r.State {
		d.e.Observe(Step{Kind: r.Kind, From: from.State, To: r.State, Reason: c.reason, Strategy: r.Policy.Strategy, Rotator: r.Policy.Rotator,
			Lasted: c.op.At.Sub(from.Since), Touched: len(r.Orders) > 0})
	}
}

// commit is one journal entry in the making. Ids are drawn before the transaction.
type commit struct {
	d          *driver
	next       Run
	effects    []Effect
	reason     Reason
	op         store.Op
	revocation store.RunID
	task       string
	event      string
	alarm      string
	written    Run
	object     *vault.Object
}

func (c *commit) audited() bool {
	return slices.ContainsFunc(c.effects, func(e Effect) bool { return !e.Kind.External() || e.Kind.Changes() }) || c.next.State != c.d.run.State
}

// need names the change in the audit log: which version, and in the reason the run, its step and who wanted it.
func (c *commit) need() guard.Need {
	n := guard.Need{Action: authz.RotationRun, Kind: vault.Secret, Name: c.d.run.NameKey, Version: c.next.Pending}
	if c.next.Kind == store.RevocationRun && len(c.d.run.Old) > 0 {
		n.Action, n.Version = authz.VersionRevoke, c.d.run.old()
	}
	by := c.next.Start.Actor
	if k := c.next.Obeyed; k > c.d.run.Obeyed && k <= len(c.next.Orders) {
		by = c.next.Orders[k-1].By
	}
	if by == "" {
		by = "the engine"
	}
	if s := c.next.Succession; s != nil && len(s.Line) > 0 {
		n.Detail = "authority " + s.Line[s.At].Name
	}
	n.Reason = fmt.Sprintf("run %s: %s: %s (%s by %s)", c.next.ID, c.next.State, c.reason, c.next.Start.Cause, by)
	if c.next.Kind != store.RotationRun && slices.Contains(overConsumers, c.reason) {
		n.Detail = strings.TrimLeft(n.Detail+"; "+left(c.next.Waiting), "; ")
	}
	return n
}

// overConsumers are the reasons of moves that are made although consumers are left: the audit log names those.
var overConsumers = []Reason{DeadlineHolds, DeadlineForces, DeadlineDisables, ApprovalNeeded, ByOrder}

// maxLeft bounds the consumers that one audit record names.
const maxLeft = 10

// left names the consumers that still need the old version.
func left(waiting []Holder) string {
	if len(waiting) == 0 {
		return ""
	}
	var names []string
	for _, h := range waiting[:min(len(waiting), maxLeft)] {
		names = append(names, strings.TrimSpace(h.Principal+" "+h.Instance))
	}
	text := fmt.Sprintf("consumers left: %d: %s", len(waiting), strings.Join(names, ", "))
	if len(waiting) > maxLeft {
		text += " and more"
	}
	return text
}

func (c *commit) call() *guard.Call {
	return c.d.e.call(c.d.vault, "rotation."+string(c.next.State), string(c.next.ID), c.op.At)
}

// call is the engine's own: no principal of the tenant has its id.
func (e *Engine) call(v *vault.Vault, operation, correlation string, now time.Time) *guard.Call {
	caller := &guard.Caller{Principal: EngineID, Tenant: v.Tenant, Kind: principal.Service, Name: "rotation engine", Expires: now.Add(time.Hour)}
	return &guard.Call{Caller: caller, Vault: &guard.View{Vault: v}, Door: "engine", Operation: operation, Correlation: correlation, Instance: e.Node, Started: now}
}

// old is the version that a revocation ends next.
func (r *Run) old() vault.VersionID { return r.Old[0] }

// apply is the transaction. It may run more than once.
func (c *commit) apply(ctx context.Context, tx store.Tx) error {
	if err := c.d.leases.check(ctx, tx); err != nil {
		return err
	}
	c.written = c.next.clone()
	stored, err := tx.Run(ctx, c.next.ID)
	if err != nil {
		return err
	}
	journal, err := ReadRun(stored)
	if err != nil {
		return err
	}
	// Orders are added by people while the run is driven. They are kept, and heeded at the next look.
	c.written.Revision, c.written.Orders, c.written.Incident = journal.Revision, journal.Orders, journal.Incident
	if len(journal.Orders) > len(c.next.Orders) && c.written.Open() {
		c.written.NextAt = c.op.At
	}
	if !c.written.Open() && slices.ContainsFunc(journal.Orders[len(c.next.Orders):], func(o Order) bool { return o.Kind == SubmitOrder }) {
		return fmt.Errorf("a version was handed in while the run was about to end: it is looked at anew")
	}
	if err := c.check(ctx, tx); err != nil {
		return err
	}
	if err := c.moves(ctx, tx); err != nil {
		return err
	}
	if c.d.run.State == Asked && c.next.State != Asked {
		if err := closeTasks(ctx, tx, &c.next, c.op.At); err != nil {
			return err
		}
	}
	if err := c.ended(ctx, tx); err != nil {
		return err
	}
	if err := c.tell(tx); err != nil {
		return err
	}
	record, err := c.written.Record()
	if err != nil {
		return err
	}
	record.NextAt = clock.Micro(record.NextAt)
	if c.written.NextAt.IsZero() {
		record.NextAt = time.Time{}
	}
	return tx.PutRun(ctx, record)
}

// check compares the object with what the run counts on.
func (c *commit) check(ctx context.Context, tx store.Tx) error {
	was, next := &c.d.run, &c.next
	o, err := c.d.moves.Find(ctx, tx)
	switch {
	case isMissing(err) && next.Reason != objectDeleted:
		return errGone
	case isMissing(err):
		return nil
	case err != nil:
		return err
	}
	c.object = o
	switch {
	case was.Kind == store.AuthorityRun && was.Base != "" && o.Current != was.Base && o.Current != next.Base:
		return &movedError{o.Current}
	case was.Kind == store.RevocationRun && o.Current != was.Current && o.Current != next.Current,
		was.Kind == store.RotationRun && was.State != Queued && o.Current != next.Base:
		return &movedError{o.Current}
	case was.Kind == store.RotationRun && was.State == Queued && next.State != Queued && next.Open() && o.Current != next.Base:
		return fmt.Errorf("the secret %q got the version %s while its rotation was planned: it is planned anew", o.Name, o.Current)
	}
	return nil
}

func (c *commit) moves(ctx context.Context, tx store.Tx) error {
	for _, e := range c.effects {
		if e.Kind.External() {
			continue
		}
		if err := c.move(ctx, tx, e); err != nil {
			return fmt.Errorf("%s of version %s: %w", e.Kind, e.Version, err)
		}
	}
	return nil
}

func (c *commit) move(ctx context.Context, tx store.Tx, e Effect) error {
	m := c.d.moves
	switch e.Kind {
	case MoveAddPending:
		ver := c.d.sealed[e.Version]
		if ver == nil {
			return fmt.Errorf("its value was not made by this worker")
		}
		if err := m.Pend(ctx, tx, ver); err != nil || !c.next.Plan.Candidate {
			return err
		}
		return c.label(ctx, tx, Candidate, e.Version)
	case MovePromote:
		if err := c.label(ctx, tx, Candidate, ""); err != nil {
			return err
		}
		if err := m.Promote(ctx, tx, e.Version, c.d.run.Base); err != nil {
			return err
		}
		return c.succeeded(ctx, tx, e.Version)
	case MoveReturn:
		return m.Return(ctx, tx, c.object.Current, e.Version, c.op)
	case MoveDropPending:
		if err := c.label(ctx, tx, Candidate, ""); err != nil {
			return err
		}
		if c.object != nil && c.object.Rollout != nil {
			if err := m.Offer(ctx, tx, nil); err != nil {
				return err
			}
		}
		return m.Abandon(ctx, tx, e.Version, c.op)
	case MoveOffer:
		return m.Offer(ctx, tx, c.next.Spread)
	case MoveRetiring:
		return m.Retire(ctx, tx, e.Version, vault.Retiring, c.op)
	case MoveRetired:
		if err := c.contained(ctx, tx, e.Version); err != nil {
			return err
		}
		return m.Retire(ctx, tx, e.Version, vault.Retired, c.op)
	case MoveDisable:
		return disable(ctx, tx, c.next.Object, e.Version, c.op)
	case MoveRevocation:
		return c.revoke(ctx, tx, e)
	case MoveAsk:
		return c.ask(ctx, tx)
	case MoveCall:
		return m.Ask(ctx, tx, c.op)
	case MoveAlert:
		return c.emit(tx, c.alarm, RunAlert, e.Reason)
	case MovePublish:
		return c.publish(ctx, tx)
	case MoveClaim, MoveTrust, MoveIssue, MoveSettle:
		return c.authorityMove(ctx, tx, e)
	}
	return fmt.Errorf("%q is not a part of a journal entry", e.Kind)
}

// label moves a label of the object within the transaction; "" takes it away.
func (c *commit) label(ctx context.Context, tx store.Tx, l vault.Label, v vault.VersionID) error {
	o, err := c.d.moves.Find(ctx, tx)
	if err != nil || o.LabelOf(l) == v {
		return err
	}
	return tx.PutObject(ctx, o.With(l, v))
}

// disable takes a version out of use in the vault without saying that it is gone at the target.
func disable(ctx context.Context, tx store.Tx, o vault.ObjectID, v vault.VersionID, op store.Op) error {
	stored, err := tx.Version(ctx, o, v)
	if err != nil {
		return err
	}
	ver := *stored
	ver.Attributes.Enabled, ver.Attributes.Updated = false, op.At
	return tx.PutVersion(ctx, &ver)
}
