package rotation

import "github.com/keywright/keywright/internal/vault"

// What people tell the change of an authority.

func (r *Run) allowsAuthority(o Order) error {
	switch o.Kind {
	case ApproveOrder:
		held := r.waits() && r.Succession.Held && r.Forced == "" && r.Policy.overdue() != Hold
		if r.State != Approval && !held {
			return refused(r, "waits for nobody's approval")
		}
	case AbortOrder:
		if r.Succession != nil && r.Succession.Cut {
			return refused(r, "has taken the old authority out of the trust bundles, and goes only forward: change the authority once more instead")
		}
		if r.Undo != "" {
			return refused(r, "is being undone already")
		}
	case ForceOrder:
		if !r.waits() {
			return refused(r, "is not waiting for consumers")
		}
	case ReplayOrder:
		if r.State != Stuck {
			return refused(r, "is not stuck: it goes on by itself")
		}
	case HurryOrder:
		if r.Undo != "" {
			return refused(r, "is being undone")
		}
	default:
		return refused(r, "has no use for the order %s", o.Kind)
	}
	return nil
}

func (m *machine) carryOutAuthority(o Order) {
	switch o.Kind {
	case ApproveOrder:
		m.Agreed = true
		if m.State == Approval {
			m.enter(Surveying, Approved) // what was found may be old by now
			return
		}
		m.enter(m.State, Approved)
	case AbortOrder:
		m.turnBack(ByOrder)
	case ForceOrder:
		m.Forced, m.Tries = ByOrder, 0
		m.enter(m.State, ByOrder)
	case ReplayOrder:
		from := m.Stuck
		m.Tries, m.Began, m.Stuck = 0, m.now, ""
		m.enter(from, ByOrder)
	}
}

// turnBack returns to the authorities as they were: what the successors have signed is made anew by the old ones, which everybody still trusts, and then the
// successors leave the bundles.
func (m *machine) turnBack(why Reason) {
	at := m.State
	if at == Stuck {
		at = m.Stuck
	}
	m.dropCalls()
	m.Undo, m.Stuck, m.Tries, m.Forced = Aborted, "", 0, ""
	switch at {
	case Surveying, Approval:
		m.finish(Aborted, why)
	case Making:
		m.enter(Unmaking, why)
	default:
		m.turned(why)
	}
}

func (m *machine) unmake() { m.call(Effect{Kind: CallUnmake, Version: m.heir().Old}) }

func (m *machine) unmade() {
	if m.failed(Unmaking) {
		return
	}
	if v := m.obs.Made.Version; v != "" {
		m.heir().New = v
		m.move(MoveTrust, v) // so that it is retired with the others
	}
	m.turned(ByOrder)
}

func (m *machine) turned(why Reason) {
	for i := range m.Succession.Line {
		m.Succession.Line[i].Issues = false
	}
	m.move(MoveIssue, "")
	m.phase()
	m.enter(Reissuing, why)
}

// overwritten: somebody else wrote the trust bundle. It is written over, unless the run has not begun or is as good as over.
func (m *machine) overwritten(now vault.VersionID) {
	m.Base = now
	s := m.Succession
	switch {
	case m.State == Stuck:
		m.reason = OtherWrite
	case s == nil || s.Cut || len(s.Bundles) == 0:
		m.reason, m.NextAt = OtherWrite, m.now
	default:
		m.enter(Publishing, OtherWrite)
	}
}
