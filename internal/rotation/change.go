package rotation

import (
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
	if m.shut(Queued) {
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
	m.Tries = 0
	m.Identities, m.System, m.Snapshot, m.Warnings = found.Identities, found.System, found.Snapshot, found.Warnings
	if m.Policy.Approval {
		m.enter(Approval, ApprovalNeeded)
		m.alert(ApprovalNeeded)
		return
	}
	m.begin(PreflightPassed)
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
	m.enter(Setting, ValueMade)
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

// probe asks in the order in which the answers are likely to end it.
func (m *machine) probe() { m.login(false, m.Pending, m.Base, m.Previous) }

// probed holds the table of what follows from which login.
func (m *machine) probed() {
	m.learn()
	switch {
	case m.accepts(m.Pending):
		m.Tries, m.Refused, m.Doubt = 0, false, false
		m.works(PendingWorks)
	case !m.rejects(m.Pending):
		m.unsure()
	case m.accepts(m.Base), m.Base == "":
		m.notApplied()
	case !m.rejects(m.Base):
		m.unsure()
	case m.accepts(m.Previous):
		m.resend(TargetRestored)
	case m.Previous != "" && !m.rejects(m.Previous):
		m.unsure()
	case m.Policy.OverwriteDrift || m.Start.Cause.Urgent():
		m.resend(Drift)
	default:
		m.stick(Drift, "the target accepts no value that this server knows: somebody changed it there; find out who, then replay or adopt")
	}
}

// unsure proves nothing: the run asks again later.
func (m *machine) unsure() { m.again(m.State, Waiting) }

// notApplied: the new value is not in force, and the one before it is. A statement that is still under way could change that, so a second look
// after the longest time that one can take has to agree.
func (m *machine) notApplied() {
	switch {
	case !m.calm():
	case m.Refused && m.Remade:
		m.giveUp(ValueRefused)
	case m.Refused:
		m.Refused, m.Remade = false, true
		m.move(MoveDropPending, m.Pending)
		m.Pending, m.Sent = "", false
		m.enter(Generating, ValueRefused)
	default:
		m.resend(NotApplied)
	}
}

// resend asks the target again to take the very same value.
func (m *machine) resend(why Reason) {
	switch {
	case !m.calm():
	case m.exhausted():
		m.giveUp(m.givenUp())
	default:
		m.Tries++
		m.enter(Setting, why)
	}
}

// giveUp returns to the version before when the target accepts it, and halts otherwise.
func (m *machine) giveUp(why Reason) {
	if m.accepts(m.Base) {
		m.undoAs(Aborted, why)
		return
	}
	m.halt(why)
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
	m.Tries = 0
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

// Values that the target makes.

func (m *machine) list() { m.call(Effect{Kind: CallSlots, Place: m.Plan.Next}) }

// listed: what the target has before is journaled with the intent, so that what it makes can be told from it.
func (m *machine) listed() {
	if m.obs.Err != nil {
		if !m.fail() {
			m.again(Listing, Retrying)
		}
		return
	}
	if !m.Sent {
		m.Slots = m.obs.Slots
	}
	m.enter(Creating, SlotsListed)
}

func (m *machine) create() {
	m.Sent = true
	m.send(Effect{Kind: CallCreate, Place: m.Plan.Next, Keep: m.Plan.Keep})
}

func (m *machine) doubtCreate() { m.enter(Finding, Interrupted) }

// created: the value is sealed and stored with this very step.
func (m *machine) created() {
	if m.obs.Err != nil {
		if m.fail() {
			return
		}
		switch {
		case m.obs.Of == CallTake:
			m.again(Finding, Retrying)
		case m.obs.Class == rotator.NotApplied || m.obs.Class == rotator.Busy:
			m.again(Listing, Retrying)
		default:
			m.again(Finding, SetInDoubt)
		}
		return
	}
	m.Pending, m.Tries, m.Doubt = m.obs.Version, 0, false
	m.Places = withPlace(m.Places, m.Pending, m.obs.Place)
	m.move(MoveAddPending, m.Pending)
	m.enter(Testing, ValueMade)
}

// found looks for what a lost answer made: a key that is newer than the intent and of which no version holds the value. A target that shows
// values gives it back; otherwise it is removed, and made again.
func (m *machine) found() {
	if m.obs.Err != nil {
		if !m.fail() {
			m.again(Finding, Retrying)
		}
		return
	}
	orphan, ok := orphan(m.Slots, m.obs.Slots, m.Plan.Next)
	switch {
	case !ok && !m.calm(): // what was asked for may still be made
	case !ok && m.Undo != "":
		m.finish(m.Undo, TargetPutBack)
	case !ok:
		m.again(Listing, NotApplied)
	case m.Undo == "" && orphan.Shown:
		m.Plan.Next = orphan.Place
		m.enter(Taking, OrphanFound)
	case orphan.Slot != "" && m.Undo != "":
		// The slot was nobody's before: what it holds now is known to nobody.
		m.finish(m.Undo, TargetPutBack)
	case orphan.Slot != "":
		m.again(Listing, OrphanFound) // regenerated once more
	default:
		m.Plan.Next = orphan.Place
		m.enter(Discarding, OrphanFound)
	}
}

// orphan finds a credential that was not there before.
func orphan(before, after []Seen, next Place) (Seen, bool) {
	for _, s := range after {
		if s.Known || next.Slot != "" && s.Slot != next.Slot {
			continue
		}
		if !had(before, s) {
			return s, true
		}
	}
	return Seen{}, false
}

func had(before []Seen, s Seen) bool {
	for _, b := range before {
		if b.KeyID == s.KeyID && b.Slot == s.Slot && b.Created.Equal(s.Created) {
			return true
		}
	}
	return false
}

func (m *machine) take() { m.call(Effect{Kind: CallTake, Place: m.Plan.Next}) }

func (m *machine) discard() { m.call(Effect{Kind: CallDiscard, Place: m.Plan.Next, Keep: m.Plan.Keep}) }

func (m *machine) discarded() {
	if m.obs.Err != nil {
		if !m.fail() {
			m.again(Discarding, Retrying)
		}
		return
	}
	m.Plan.Next.KeyID = ""
	m.enter(Finding, OrphanFound)
}

// A person, or a function, changes the target.

func (m *machine) ask() {
	m.Tries = 0
	if m.byFunction() {
		m.callFunction()
		return
	}
	m.effects = append(m.effects, Effect{Kind: MoveAsk})
	m.NextAt = time.Time{}
}
