package rotation

import (
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/rollout"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// What people tell a run, and what it does about it.

// Take adds an order, or says why the run cannot follow it now. The run obeys when a worker next looks at it.
func (r *Run) Take(o Order) (Run, error) {
	if !r.Open() {
		return *r, refused(r, "is over: there is nothing to %s", o.Kind)
	}
	if err := r.allows(o); err != nil {
		return *r, err
	}
	c := r.clone()
	c.Orders = append(c.Orders, o)
	c.NextAt = o.At
	return c, nil
}

// gated reports whether the latest ring of a rollout asks for a person.
func (r *Run) gated() bool {
	return r.State == Rollout && r.Spread != nil && r.Spread.State == rollout.Open && r.Spread.Rings[r.Spread.Opened-1].Gate.Approval
}

func (r *Run) allows(o Order) error {
	if r.Kind == store.AuthorityRun {
		return r.allowsAuthority(o)
	}
	rotation := r.Kind == store.RotationRun
	switch o.Kind {
	case ApproveOrder:
		if r.State != Approval && !r.gated() && (r.State != Held || r.Forced != "" || r.Policy.overdue() == Hold) {
			return refused(r, "waits for nobody's approval")
		}
	case AbortOrder:
		if !rotation && r.State != Awaiting && r.State != Held && r.State != Stuck {
			return refused(r, "has begun to revoke, and goes only forward: run another rotation instead")
		}
		if r.Undo != "" {
			return refused(r, "is being undone already")
		}
	case ForceOrder:
		if rotation || r.State != Awaiting && r.State != Held {
			return refused(r, "is not waiting for consumers")
		}
	case ReplayOrder:
		if r.State != Stuck {
			return refused(r, "is not stuck: it goes on by itself")
		}
	case AdoptOrder:
		if !rotation || r.State != Stuck {
			return refused(r, "is not a stuck rotation")
		}
		if o.Version == "" {
			return fault.New(fault.Invalid, "name the version that the target accepts")
		}
	case HurryOrder:
		if !rotation {
			return refused(r, "is no rotation")
		}
	case LeakOrder:
		if rotation {
			return refused(r, "is no revocation")
		}
	case SubmitOrder:
		if r.State != Asked && !r.mayBeWritten() {
			return refused(r, "does not ask for a value")
		}
	default:
		return fault.New(fault.Invalid, "%q is not an order", clip(string(o.Kind)))
	}
	return nil
}

// mayBeWritten reports whether a function can hand in its version before it was asked.
func (r *Run) mayBeWritten() bool {
	if r.Policy.Function == nil || r.Written != "" || r.Pending != "" {
		return false
	}
	return r.State == Queued || r.State == Preflight || r.State == Stuck
}

func refused(r *Run, what string, args ...any) error {
	return fault.New(fault.Conflict, "the "+string(r.Kind)+" run "+string(r.ID)+" stands at "+string(r.State)+" and "+what, args...).Because("RunState")
}

func (m *machine) pendingOrder() bool { return m.Obeyed < len(m.Orders) }

// obey carries out the next order. It returns true when that decided this step.
func (m *machine) obey() bool {
	for m.pendingOrder() {
		o := m.Orders[m.Obeyed]
		m.Obeyed++
		// The run may have moved on since the order was taken.
		if r := m.Run; r.allows(o) != nil {
			continue
		}
		if o.Kind == LeakOrder {
			m.leaked(o)
			continue
		}
		if o.Kind == HurryOrder {
			m.Rank = urgentRank
			m.Start.Cause, m.Start.Note, m.Start.Version, m.Start.Exposed = o.Cause, o.Note, o.Version, o.Exposed
			if m.Kind == store.AuthorityRun {
				m.Forced = Reason(o.Cause)
			}
			continue
		}
		m.carryOut(o)
		return true
	}
	return false
}

func (m *machine) carryOut(o Order) {
	if m.Kind == store.AuthorityRun {
		m.carryOutAuthority(o)
		return
	}
	switch o.Kind {
	case ApproveOrder:
		if m.State == Rollout {
			m.enter(Rollout, Approved)
			return
		}
		if m.Kind == store.RotationRun {
			m.Began = m.now
			m.begin(Approved)
			return
		}
		m.Agreed = true
		m.overdue()
	case AbortOrder:
		if m.Kind == store.RotationRun {
			m.undoAs(Aborted, ByOrder)
			return
		}
		m.Tries = 0
		m.enter(Returning, ByOrder)
	case ForceOrder:
		m.Forced, m.Tries = ByOrder, 0
		m.enter(Verifying, ByOrder)
	case ReplayOrder:
		m.replay()
	case AdoptOrder:
		m.adoptOrder(o)
	case SubmitOrder:
		m.submitted(o)
	}
}

// replay goes on where the run got stuck; where a call to the target may have happened it asks the target first.
func (m *machine) replay() {
	m.Tries, m.Wrong, m.Began = 0, nil, m.now
	from := m.Stuck
	m.Stuck = ""
	m.Inherited = false // people have looked
	switch {
	case from == Preflight && m.Pending != "":
	case from == "" || from == Queued || from == Preflight:
		from = Queued
	case m.Undo != "" && m.Pending != "":
		from = Undoing
	case m.byFunction() && m.Pending != "":
		from, m.Until = Testing, m.Policy.Function.within().after(m.now)
	case from == Setting || from == Probing || from == Testing || from == Generated:
		if m.Sent {
			from = Probing
		}
	case from == Creating || from == Taking || from == Discarding:
		from = Finding
	case m.Kind == store.RevocationRun:
		from = Awaiting
	}
	m.enter(from, ByOrder)
}

// adoptOrder trusts the target, not the person: the version has to log in, unless nothing can look.
func (m *machine) adoptOrder(o Order) {
	m.Stuck, m.Tries, m.Wrong = "", 0, nil
	if o.Attested && !m.Able.Probes {
		m.adopted(o.Version, Attested)
		return
	}
	m.Current = o.Version
	m.enter(Adopting, ByOrder)
}

func (m *machine) adopt() { m.login(true, m.Current) }

func (m *machine) adoptSeen() {
	m.learn()
	switch {
	case m.accepts(m.Current):
		m.adopted(m.Current, Adopted)
	case m.rejects(m.Current):
		m.stick(NotAccepted, "the target does not accept the version that was to be adopted: try another")
	default:
		m.unsure()
	}
}

func (m *machine) adopted(v vault.VersionID, why Reason) {
	switch {
	case v == m.Pending:
		m.promote(why)
		return
	case v != m.Base:
		m.move(MoveReturn, v)
	}
	if m.Pending != "" {
		m.move(MoveDropPending, m.Pending)
	}
	m.finish(Done, why)
}

func (m *machine) submitted(o Order) {
	if m.byFunction() {
		m.written(o.Version)
		return
	}
	m.Pending, m.Sent = o.Version, false
	m.Places = withPlace(m.Places, o.Version, m.Plan.Next)
	m.Began = m.now
	if o.Attested || !m.Able.Probes {
		m.promote(Attested)
		return
	}
	m.enter(Testing, Submitted)
}
