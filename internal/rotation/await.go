package rotation

import (
	"time"

	"github.com/keywright/keywright/internal/rotator"
)

// How long a revocation waits, and for whom. See Next.

// earliest is when the old version may go: after the grace, counted from the promotion or, when evidence was lost or the clock was moved since, from then; and
// after the target can no longer lose what it acknowledged.
func (m *machine) earliest() time.Time {
	start := later(m.waited(), m.WholeSince)
	durable := (m.Policy.ReplicationLag + m.Pace.Settle).after(m.waited())
	if !m.overlap() {
		return durable // it went when the new value was set
	}
	return later(m.Policy.Grace.after(start), durable)
}

// waited is since when consumers are waited for.
func (m *machine) waited() time.Time { return later(m.Promoted, m.Trusted) }

func (m *machine) await() {
	if why := m.forced(); why != "" {
		m.enter(Verifying, why)
		return
	}
	// Who has not moved is looked at during the grace too, so that people can act before it ends; where the old value went when the new one was set, nobody can hold it.
	first := m.Pace.Look.after(m.waited())
	if e := m.earliest(); m.State == Awaiting && m.now.Before(e) && (!m.overlap() || m.now.Before(first)) {
		m.warn()
		m.reason, m.NextAt = GracePeriod, e
		if m.overlap() {
			m.NextAt = earlier(e, first)
		}
		return
	}
	m.reason = m.Reason // which stays until the look is over
	m.call(Effect{Kind: CallWitness, Version: m.old()})
}

func (m *machine) witnessed() {
	if m.obs.Err != nil {
		// Without evidence nothing is safe; what there was starts anew.
		t := *m.obs.Err
		t.State, t.At = m.State, m.now
		m.LastError, m.QuietSince = &t, time.Time{}
		m.lookLater(Retrying)
		return
	}
	w := m.obs.Evidence
	m.Looks++
	m.Waiting = w.Waiting
	if w.Whole.After(m.WholeSince) {
		m.WholeSince = w.Whole
	}
	switch {
	case w.Sessions > 0 || !w.Told:
		m.QuietSince = time.Time{}
	case m.QuietSince.IsZero():
		m.QuietSince = m.now
	}
	m.Tries = 0
	m.judge(w)
}

// judge applies the rule of when an old version may go. What is unknown is not safe.
func (m *machine) judge(w *Witness) {
	if why := m.forced(); why != "" {
		m.enter(Verifying, why)
		return
	}
	tells := m.tells()
	switch {
	case m.now.Before(m.earliest()) && m.State == Awaiting:
		m.warn()
		m.lookLater(GracePeriod)
	case m.now.Before(m.earliest()):
		m.notYet(GracePeriod)
	case !m.overlap():
		m.enter(Verifying, SafeToRevoke) // nobody can hold what the target refuses since the promotion
	case !w.Safe:
		m.notYet(ConsumersLeft)
	case tells && w.Sessions > 0:
		m.notYet(SessionsLeft)
	case tells && (m.QuietSince.IsZero() || m.now.Before(m.Policy.Observation.after(later(m.QuietSince, m.Trusted)))):
		m.notYet(ObservationWindow)
	default:
		m.enter(Verifying, SafeToRevoke)
	}
}

// tells reports whether the target shows who still uses the old version.
func (m *machine) tells() bool {
	if !m.Able.Observes {
		return false
	}
	switch m.Able.Tells {
	case rotator.CredentialEvidence:
		return true
	case rotator.AccountEvidence:
		return m.Places[m.old()].Account != m.Places[m.Current].Account
	default:
		return false
	}
}

// notYet waits on, or does what the policy wants at the deadline.
func (m *machine) notYet(why Reason) {
	m.warn()
	if end, ok := m.deadline(); ok && !m.now.Before(end) {
		m.overdue()
		return
	}
	m.lookLater(why)
}

// lookLater looks again after the usual time; during the grace ever more rarely, each time after as long as they have been waited for.
func (m *machine) lookLater(why Reason) {
	next := m.now.Add(m.Pace.Look.Std())
	if e := m.earliest(); m.now.Before(e) {
		next = earlier(e, m.now.Add(max(m.Pace.Look.Std(), m.now.Sub(m.waited()))))
	}
	if end, ok := m.deadline(); ok && m.now.Before(end) && end.Before(next) {
		next = end
	}
	m.reason, m.NextAt = why, next
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

func (m *machine) deadline() (time.Time, bool) {
	if m.Policy.Deadline == 0 {
		return time.Time{}, false
	}
	return m.Policy.Deadline.after(m.waited()), true
}

// warn tells people at half and at nine tenths of the deadline.
func (m *machine) warn() {
	if m.Policy.Deadline == 0 {
		return
	}
	passed := int(m.now.Sub(m.waited()) * 100 / m.Policy.Deadline.Std())
	for _, share := range []int{50, 90} {
		if passed >= share && m.Alerted < share {
			m.Alerted = share
			m.alert(ConsumersLeft)
		}
	}
}

// overdue does what the policy wants of a deadline. With an approval it first waits for the second person, and looks on meanwhile.
func (m *machine) overdue() {
	then := m.Policy.overdue()
	if then == Hold || m.Policy.Overdue.Approval && !m.Agreed {
		why := DeadlineHolds
		if then != Hold {
			why = ApprovalNeeded
		}
		if m.State != Held {
			m.alert(why)
		}
		m.park(Held, why, m.Pace.Look.Std())
		return
	}
	if then == DisableThenDelete && m.Disabled.IsZero() {
		m.Disabled = m.now
		m.move(MoveDisable, m.old())
		m.alert(DeadlineDisables)
		m.park(Held, DeadlineDisables, m.Policy.Grace.Std())
		return
	}
	if then == DisableThenDelete && m.now.Before(m.Policy.Grace.after(later(m.Disabled, m.Trusted))) {
		m.park(Held, DeadlineDisables, min(m.Pace.Look.Std(), m.Policy.Grace.after(later(m.Disabled, m.Trusted)).Sub(m.now)))
		return
	}
	m.Forced = DeadlineForces
	m.alert(DeadlineForces)
	m.enter(Verifying, DeadlineForces)
}
