package rotation

import "time"

// sawHolders takes what the ledger said. Without evidence nothing is safe.
func (m *machine) sawHolders() bool {
	if m.obs.Err != nil {
		t := *m.obs.Err
		t.State, t.At = m.State, m.now
		m.LastError = &t
		m.lookForHolders(Retrying)
		return false
	}
	w := m.obs.Evidence
	m.Looks++
	m.Waiting, m.Tries, m.LastError = w.Waiting, 0, nil
	if w.Whole.After(m.WholeSince) {
		m.WholeSince = w.Whole
	}
	return true
}

// judgeHolders goes on when nobody is left who needs what goes, and the grace is over. Where there is nobody at all there is no grace.
func (m *machine) judgeHolders(nobody bool, on func(Reason), why Reason) {
	switch {
	case m.Forced != "":
		on(m.Forced)
	case !m.obs.Evidence.Safe:
		m.notYetHeld(ConsumersLeft, on)
	case !nobody && m.now.Before(m.heldFrom()):
		m.lookForHolders(GracePeriod)
	default:
		on(why)
	}
}

// heldFrom is the end of the grace of the present wait.
func (m *machine) heldFrom() time.Time {
	return m.Policy.Grace.after(later(m.waited(), m.WholeSince))
}

// notYetHeld waits on, or does what the policy wants at the deadline.
func (m *machine) notYetHeld(why Reason, on func(Reason)) {
	m.warn()
	end, ok := m.deadline()
	if !ok || m.now.Before(end) {
		m.lookForHolders(why)
		return
	}
	m.overdueHolders(on)
}

func (m *machine) overdueHolders(on func(Reason)) {
	then := m.Policy.overdue()
	if then != Hold && (!m.Policy.Overdue.Approval || m.Agreed) {
		m.Forced = DeadlineForces
		m.alert(DeadlineForces)
		on(DeadlineForces)
		return
	}
	why := DeadlineHolds
	if then != Hold {
		why = ApprovalNeeded
	}
	if !m.Succession.Held {
		m.Succession.Held = true
		m.alert(why)
	}
	m.lookForHolders(why)
}

func (m *machine) lookForHolders(why Reason) {
	next := m.now.Add(m.Pace.Look.Std())
	if end := m.heldFrom(); m.now.Before(end) {
		next = earlier(next, end)
	}
	if end, ok := m.deadline(); ok && m.now.Before(end) {
		next = earlier(next, end)
	}
	m.reason, m.NextAt = why, next
}
