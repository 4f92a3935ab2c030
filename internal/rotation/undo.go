package rotation

import (
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// How a run that fails, is aborted or is superseded leaves the target: as it found it, or as the other write wants it.

// The verbs by which a target is put back.
const (
	bySet    = "set"
	byRevoke = "revoke"
)

// undoAs ends the run as aborted or superseded once nothing of it is left at the target.
func (m *machine) undoAs(end State, why Reason) {
	m.dropCalls()
	m.Undo, m.Tries, m.Stuck, m.Began = end, 0, "", m.now
	switch {
	case !m.Sent:
		m.undone(why)
	case m.Pending == "":
		m.enter(Finding, why) // the target may have made a value
	default:
		m.enter(Undoing, why)
	}
}

func (m *machine) undone(why Reason) {
	for _, v := range []vault.VersionID{m.Pending, m.Written} {
		if v != "" {
			m.move(MoveDropPending, v)
		}
	}
	m.finish(m.Undo, why)
}

// undo looks which credential is in force. Where old and new are accepted together the order makes it one login.
func (m *machine) undo() {
	m.login(m.Before != "" || m.Inherited, m.Base, m.Pending, m.Before)
}

func (m *machine) undoSeen() {
	m.learn()
	switch {
	case m.accepts(m.Base) && m.rejects(m.Pending):
		m.settled()
	case m.byFunction() && m.Undo == Aborted && m.accepts(m.Pending) && !m.overlap():
		// The function came late, and nothing else is accepted: to give its version up would leave everybody without one.
		m.Undo = ""
		m.works(PendingWorks)
	case m.Base == "" && m.Inherited && m.rejects(m.Pending):
		m.settled()
	case m.accepts(m.Base) && m.overlap() && (m.Before != "" || m.Inherited) && !m.accepts(m.Pending):
		m.unsure() // to refuse what may not be there could end what consumers still hold
	case m.accepts(m.Base) && m.overlap(), m.Base == "" && m.overlap():
		m.back(byRevoke)
	case m.accepts(m.Base):
		m.settled()
	case m.Base != "" && !m.rejects(m.Base):
		m.unsure()
	case m.Base == "" && m.accepts(m.Pending):
		m.stick(NothingToReturnTo, "the target accepts the new value and there is none before it: replay to go on, or adopt it")
	case m.accepts(m.Pending):
		m.back(bySet)
	case !m.rejects(m.Pending):
		m.unsure()
	case m.Base == "":
		m.settled()
	case m.Undo == Superseded && m.accepts(m.Before):
		// Nothing of this run is in force, and what another write stored was not set by us: its writer may be about to.
		m.settled()
	case m.Policy.OverwriteDrift:
		m.back(bySet)
	default:
		m.stick(Drift, "the target accepts neither the new value nor the one before: somebody changed it there; find out who, then replay or adopt")
	}
}

// settled ends the run when the new value is not in force, and cannot come into force late.
func (m *machine) settled() {
	if m.calm() {
		m.undone(TargetPutBack)
	}
}

func (m *machine) back(by string) {
	if by == bySet && m.Policy.handsOff() {
		m.stick(Drift, "the target does not accept the current version, and nobody but the function may change it: set it there, then replay, or adopt what it accepts")
		return
	}
	if m.calm() {
		m.Back = by
		m.enter(Restoring, TargetPutBack)
	}
}

func (m *machine) restore() {
	if m.Back == byRevoke {
		m.send(Effect{Kind: CallRevoke, Version: m.Pending, Keep: m.keeping(m.Pending, m.Base)})
		return
	}
	keep := vault.VersionID("")
	if m.overlap() {
		keep = m.keeping(m.Base, m.Before)
	}
	m.send(Effect{Kind: CallSet, Version: m.Base, Keep: keep})
}

func (m *machine) doubtRestore() { m.enter(Undoing, Interrupted) }

func (m *machine) restoredBy() {
	switch {
	case m.obs.Err == nil:
		m.enter(Restored, TargetPutBack)
	case m.fail():
	default:
		m.again(Undoing, Retrying)
	}
}

func (m *machine) proveRestored() { m.login(true, m.Base, m.Pending) }

func (m *machine) restoredSeen() {
	m.learn()
	switch {
	case (m.Base == "" || m.accepts(m.Base)) && m.rejects(m.Pending):
		m.undone(TargetPutBack)
	case m.accepts(m.Pending):
		m.again(Undoing, OldStillAccepted)
	case m.rejects(m.Base):
		m.again(Undoing, CurrentLost)
	default:
		m.unsure()
	}
}

// moved: somebody else made another version current. That write wins.
func (m *machine) moved(now vault.VersionID) {
	switch m.Kind {
	case store.RevocationRun:
		m.follow(now)
		return
	case store.AuthorityRun:
		m.overwritten(now)
		return
	}
	if m.State == Stuck && m.Undo == "" && m.Sent {
		m.Base, m.Before = now, m.Base
		m.reason = OtherWrite
		return
	}
	m.Before, m.Base = m.Base, now
	if _, ok := m.Places[now]; !ok && len(m.Policy.Accounts) > 0 {
		m.Places = withPlace(m.Places, now, m.otherPlace())
	}
	m.undoAs(Superseded, OtherWrite)
}

// otherPlace is where the value of another write sits, as far as can be told without it. The look of the worker corrects it.
func (m *machine) otherPlace() Place {
	if p, ok := m.obs.Facts.place(m.obs.Moved); ok {
		return p
	}
	return Place{Account: m.Policy.Accounts[0]}
}

func (f *Facts) place(v vault.VersionID) (Place, bool) {
	if f == nil {
		return Place{}, false
	}
	p, ok := f.Places[v]
	return p, ok
}

// objectGone: there is nothing to change any more. What may be at the target stays there, and people are told.
func (m *machine) objectGone() {
	if m.Sent || m.Kind != store.RotationRun {
		m.alert(Misconfigured)
	}
	if m.Succession != nil {
		m.move(MoveSettle, "") // who signs stays so, and the claims end
	}
	m.finish(Aborted, objectDeleted)
}
