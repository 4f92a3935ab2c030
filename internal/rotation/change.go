package rotation

import (
	"slices"
	"time"

	"github.com/keywright/keywright/internal/rotator"
	"github.com/keywright/keywright/internal/vault"
)

// The states of a rotation up to the promotion. See Next.

func (m *machine) look() {
	if m.shut(Queued) {
		return
	}
	if m.Began.IsZero() {
		m.Began = m.now
	}
	m.reason = Began
	m.call(Effect{Kind: CallLook})
}

// shut has a run wait for its next window, in a state in which it has changed nothing at the target yet: the queue, or tries that failed, may have kept it until
// there is too little left of the one in which it was due.
func (m *machine) shut(in State) bool {
	at := m.Policy.windows(m.Need).opens(m.now)
	if !m.Start.Cause.windowed() || !at.After(m.now) {
		return false
	}
	m.Began = time.Time{} // the wait is not its own work
	m.park(in, WindowClosed, at.Sub(m.now))
	return true
}

func (m *machine) looked() {
	if m.obs.Err != nil {
		if !m.fail() {
			m.again(Queued, Retrying)
		}
		return
	}
	f := m.obs.Facts
	m.Able = ableOf(f)
	plan, refusal := MakePlan(&m.Policy, f, m.Start.Cause.Urgent())
	switch {
	case refusal != nil && refusal.Wait:
		m.Began = time.Time{} // what it waits for is not its own work
		if refusal.End != "" {
			m.Places = f.Places
			m.effects = append(m.effects, Effect{Kind: MoveRevocation, Version: f.Current, Old: []vault.VersionID{refusal.End}})
		}
		m.park(Queued, refusal.Reason, m.Pace.Look.Std())
		return
	case refusal != nil:
		m.stick(refusal.Reason, refusal.Message)
		return
	}
	m.Tries, m.Plan, m.Base, m.Previous, m.Places = 0, plan, f.Current, f.Previous, f.Places
	if strategies[m.Policy.Strategy].byHand {
		m.enter(Asked, Waiting)
		return
	}
	if m.byFunction() {
		m.toFunction()
		return
	}
	m.enter(Preflight, Began)
}

func (m *machine) preflight() {
	in := Queued
	if m.Pending != "" {
		in = Generated
	}
	if m.shut(in) {
		return
	}
	m.call(Effect{Kind: CallPreflight, Version: m.Base, Place: m.Plan.Next})
}

func (m *machine) preflown() {
	if m.obs.Err != nil {
		if !m.fail() {
			m.again(Preflight, Retrying)
		}
		return
	}
	found := m.obs.Report
	m.Tries, m.Inherited = 0, false
	m.Identities, m.System, m.Snapshot, m.Warnings = found.Identities, found.System, found.Snapshot, found.Warnings
	if m.Pending != "" {
		m.enter(Generated, PreflightPassed)
		return
	}
	if m.Policy.Approval && !m.approved() {
		m.enter(Approval, ApprovalNeeded)
		m.alert(ApprovalNeeded)
		return
	}
	m.begin(PreflightPassed)
}

// approved reports whether somebody has let the run go on.
func (m *machine) approved() bool {
	return slices.ContainsFunc(m.Orders[:m.Obeyed], func(o Order) bool { return o.Kind == ApproveOrder })
}

func (m *machine) begin(why Reason) {
	if m.byFunction() {
		m.enter(Asked, why)
		return
	}
	if m.Plan.Create {
		m.enter(Listing, why)
		return
	}
	m.enter(Generating, why)
}

func (m *machine) generate() {
	m.call(Effect{Kind: CallGenerate, Place: m.Plan.Next, Strict: m.Remade})
}

// generated: the value is sealed, and is stored with this very step. Only then may a target hear of it.
func (m *machine) generated() {
	if m.obs.Err != nil {
		if !m.fail() {
			m.again(Generating, Retrying)
		}
		return
	}
	m.Pending, m.Tries = m.obs.Version, 0
	m.Places = withPlace(m.Places, m.Pending, m.Plan.Next)
	m.move(MoveAddPending, m.Pending)
	m.enter(Generated, ValueMade)
}

// ready waits for its due date; picked up, it goes on to set.
func (m *machine) ready() {}

func (m *machine) goSet() {
	if !m.Sent && m.shut(Generated) {
		return
	}
	if m.Began.IsZero() {
		m.Began = m.now
	}
	switch {
	case m.Inherited && !m.Sent:
		m.enter(Preflight, Interrupted) // what it found may be long over
	case m.Inherited && m.Able.Probes:
		m.enter(Probing, Interrupted)
	default:
		m.enter(Setting, ValueMade)
	}
}

func (m *machine) set() {
	m.Sent = true
	m.send(Effect{Kind: CallSet, Version: m.Pending, Keep: m.Plan.Keep})
}

// doubtSet: the run was interrupted between the journal and the answer. The target alone knows.
func (m *machine) doubtSet() { m.enter(Probing, Interrupted) }

func (m *machine) wasSet() {
	if m.obs.Err == nil && !m.Able.Probes {
		m.works(SetAcknowledged) // nobody can look: the target's word is the only proof
		return
	}
	if m.obs.Err == nil {
		// Tries go on counting: a target that acknowledges and does nothing must not be asked for ever.
		m.enter(Testing, SetAcknowledged)
		return
	}
	if m.fail() {
		return
	}
	switch m.obs.Class {
	case rotator.NotApplied, rotator.Busy:
		m.again(Generated, Retrying)
	case rotator.Refused:
		m.Refused = true
		m.enter(Probing, ValueRefused)
	default:
		m.enter(Probing, SetInDoubt)
	}
}

func (m *machine) test() {
	if m.Since.Equal(m.now) {
		m.ProbedAt = time.Time{} // the first login with a value that was acknowledged is right, unless the target lost it
	}
	if m.byFunction() {
		m.watch()
		return
	}
	m.login(true, m.Pending)
}

func (m *machine) tested() {
	if m.byFunction() {
		m.watched()
		return
	}
	m.learn()
	switch {
	case m.accepts(m.Pending):
		m.works(PendingWorks)
	case m.rejects(m.Pending) && strategies[m.Policy.Strategy].byHand:
		m.move(MoveDropPending, m.Pending)
		m.Pending = ""
		m.enter(Asked, NotAccepted)
	case m.exhausted():
		m.undoAs(Aborted, TestFailed)
	case m.rejects(m.Pending) && m.Sent && !m.Plan.Create:
		m.enter(Probing, NotAccepted)
	default:
		// An endpoint that lags behind, or that cannot be reached.
		m.again(Testing, Waiting)
	}
}

// works: the new value logs in everywhere.
func (m *machine) works(why Reason) {
	m.Tries, m.Inherited = 0, false
	if len(m.Policy.Rollout) > 0 && !m.Start.Cause.Urgent() {
		m.enter(Rollout, why)
		return
	}
	m.promote(why)
}

func (m *machine) promote(why Reason) {
	m.move(MovePromote, m.Pending)
	if len(m.Plan.Revoke) > 0 {
		m.effects = append(m.effects, Effect{Kind: MoveRevocation, Version: m.Pending, Old: m.Plan.Revoke})
	}
	m.finish(Done, Promoted)
}

func (m *machine) spread() { m.call(Effect{Kind: CallRollout, Version: m.Pending}) }

func (m *machine) spreadSeen() {
	if m.obs.Err != nil {
		if !m.fail() {
			m.park(Rollout, Retrying, m.Pace.Look.Std())
		}
		return
	}
	s := m.obs.Rollout
	if s.Done && m.Inherited && m.Able.Probes {
		m.enter(Testing, Interrupted) // and then here again, with the rollout as it was
		return
	}
	if m.Spread == nil || m.Spread.Opened != s.Rollout.Opened {
		m.move(MoveOffer, m.Pending)
	}
	m.Spread = &s.Rollout
	switch {
	case s.Return:
		m.undoAs(Aborted, RolloutReturned)
	case s.Done:
		m.promote(PendingWorks)
	default:
		m.park(Rollout, Waiting, m.Pace.Look.Std())
	}
}

// ask waits for who changes the target: a person, or a registered function.
func (m *machine) ask() {
	m.Tries = 0
	if m.byFunction() {
		m.callFunction()
		return
	}
	m.effects = append(m.effects, Effect{Kind: MoveAsk})
	m.NextAt = time.Time{}
}
