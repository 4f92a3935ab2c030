package rotation

import (
	"slices"
	"time"

	"github.com/keywright/keywright/internal/rotator"
	"github.com/keywright/keywright/internal/vault"
)

// The states of a revocation. See Next.

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
	if m.Forced != "" {
		m.enter(Verifying, m.Forced)
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
	if m.Forced != "" {
		m.enter(Verifying, m.Forced)
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

// follow keeps another version than the one that was promoted: somebody else wrote it.
func (m *machine) follow(now vault.VersionID) {
	if !slices.Contains(m.Old, m.Current) {
		m.Old = append(m.Old, m.Current) // it was replaced too
	}
	m.Places = withPlace(m.Places, now, m.otherPlace())
	m.Old = slices.DeleteFunc(m.Old, func(v vault.VersionID) bool { return v == now })
	m.Current, m.Foreign, m.Promoted = now, true, m.now
	if m.Cut && len(m.Old) > 0 {
		m.park(Verifying, OtherWrite, 0)
		return
	}
	m.Cut = false
	m.park(Awaiting, OtherWrite, 0)
}

// verify proves, right before the old one goes, that the current one works: also against a target that lost what it acknowledged.
func (m *machine) verify() {
	if !m.Able.Probes {
		m.enter(Revoking, Attested)
		return
	}
	m.login(m.Foreign, m.Current, m.old())
}

func (m *machine) verified() {
	m.learn()
	switch {
	case m.accepts(m.Current) && m.rejects(m.old()):
		// It is gone already, by another write perhaps: to refuse it once more could end what that write left in its place.
		if m.calm() {
			m.gone(OldRejected)
		}
	case m.accepts(m.Current) && m.Foreign && !m.accepts(m.old()):
		m.unsure()
	case m.accepts(m.Current):
		m.Tries, m.Doubt = 0, false
		m.toRevoke(CurrentWorks)
	case !m.rejects(m.Current):
		m.unsure()
	case m.Foreign:
		m.stick(Drift, "the target does not accept the version that another write made current: whoever wrote it has to set it there; then replay")
	case m.accepts(m.old()):
		m.lost()
	case m.rejects(m.old()):
		m.stick(Drift, "the target accepts neither the current version nor the one before: run an emergency rotation, or adopt what it accepts")
	default:
		m.unsure()
	}
}

// toRevoke orders the revocation. Where the old value went when the new one was set, only the proof is left.
func (m *machine) toRevoke(why Reason) {
	m.move(MoveRetiring, m.old())
	if !m.overlap() {
		m.enter(Confirming, why)
		return
	}
	m.enter(Revoking, why)
}

// repair sets the current value again at a target that lost it.
func (m *machine) repair() {
	keep := vault.VersionID("")
	if m.overlap() && !m.Cut {
		keep = m.keeping(m.Current, m.old())
	}
	m.send(Effect{Kind: CallSet, Version: m.Current, Keep: keep})
}

func (m *machine) doubtRepair() { m.enter(Verifying, Interrupted) }

func (m *machine) repaired() {
	if m.obs.Err != nil {
		if m.fail() {
			return
		}
		m.enter(Verifying, SetInDoubt)
		return
	}
	m.enter(Verifying, SetAcknowledged)
}

func (m *machine) revoke() {
	m.Cut = true
	m.send(Effect{Kind: CallRevoke, Version: m.old(), Keep: m.keeping(m.old(), m.Current)})
}

// doubtRevoke does it once more, which ends in the same state, when the first can no longer come into force late.
func (m *machine) doubtRevoke() {
	if m.calm() {
		m.revoke()
	}
}

func (m *machine) revoked() {
	if m.obs.Err != nil {
		if !m.fail() {
			m.again(Revoking, Retrying)
		}
		return
	}
	if m.Able.Terminates && (m.Start.Cause.Urgent() || m.Policy.Terminate && m.Places[m.old()].Account != m.Places[m.Current].Account) {
		m.enter(Terminating, SafeToRevoke)
		return
	}
	m.proof()
}

func (m *machine) terminate() {
	m.call(Effect{Kind: CallTerminate, Version: m.old(), Place: m.Places[m.old()]})
}

func (m *machine) terminated() {
	if m.obs.Err != nil {
		if !m.fail() {
			m.again(Terminating, Retrying)
		}
		return
	}
	m.proof()
}

func (m *machine) proof() {
	if !m.Able.Probes {
		m.gone(Attested)
		return
	}
	m.ProbedAt = time.Time{} // what was just revoked is refused, and that is one wrong login
	m.enter(Confirming, SafeToRevoke)
}

// confirm: only a refused login with the old and an accepted one with the current version end the run.
func (m *machine) confirm() { m.login(true, m.Current, m.old()) }

func (m *machine) confirmed() {
	m.learn()
	switch {
	case m.accepts(m.Current) && m.rejects(m.old()):
		if m.calm() {
			m.gone(OldRejected)
		}
	case m.rejects(m.Current):
		m.lost()
	case m.accepts(m.old()) && m.overlap():
		m.again(Revoking, OldStillAccepted)
	default:
		m.unsure()
	}
}

// lost: the target does not accept the current version any more. It is set again.
func (m *machine) lost() {
	switch {
	case !m.calm():
	case m.Foreign || m.exhausted() || m.Policy.handsOff():
		m.halt(CurrentLost)
	default:
		m.Tries++
		m.alert(CurrentLost)
		m.enter(Repairing, CurrentLost)
	}
}

// gone ends a version, and the run with the last one.
func (m *machine) gone(why Reason) {
	m.move(MoveRetired, m.old())
	// What leaked is not always the last to go.
	if m.Start.Cause == Leaked && m.Exposure == nil && (m.old() == m.Start.Version || len(m.Old) == 1) {
		m.Exposure = &Exposure{From: m.Start.Exposed, Until: m.now}
	}
	m.Old, m.Tries, m.Cut = m.Old[1:], 0, false
	if len(m.Old) == 0 {
		m.finish(Done, why)
		return
	}
	m.rest()
	m.park(Awaiting, why, 0)
}

// rest starts the wait for the next old version anew.
func (m *machine) rest() {
	m.QuietSince, m.Disabled, m.Agreed, m.Alerted = time.Time{}, time.Time{}, false, 0
	if !m.Start.Cause.Urgent() {
		m.Forced = ""
	}
}

// comeBack returns to the version before, if it still logs in.
func (m *machine) comeBack() { m.login(true, m.old()) }

func (m *machine) cameBack() {
	m.learn()
	switch {
	case m.accepts(m.old()):
		m.move(MoveReturn, m.old())
		m.Current, m.Old[0] = m.old(), m.Current
		m.Promoted, m.Forced = m.now, ""
		m.rest()
		m.park(Awaiting, ReturnedTo, 0)
	case m.rejects(m.old()):
		m.moveTo(Awaiting, NotAccepted)
		m.lookLater(NotAccepted)
		m.alert(NotAccepted)
	default:
		m.unsure()
	}
}
