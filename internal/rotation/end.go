package rotation

import (
	"slices"
	"time"

	"github.com/keywright/keywright/internal/vault"
)

// The states of a revocation. See Next.

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
	m.login(m.Foreign || m.Inherited, m.Current, m.old())
}

func (m *machine) verified() {
	m.learn()
	switch {
	case m.accepts(m.Current) && m.rejects(m.old()):
		// It is gone already, by another write perhaps: to refuse it once more could end what that write left in its place.
		if m.calm() {
			m.gone(OldRejected)
		}
	case m.accepts(m.Current) && (m.Foreign || m.Inherited) && !m.accepts(m.old()):
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
	case m.rejects(m.old()) && m.Cut && !m.Inherited:
		m.lost() // the old one went by this run's own doing, and what was to repair the current one did not arrive
	case m.rejects(m.old()):
		m.stick(Drift, neitherAccepted)
	default:
		m.unsure()
	}
}

const neitherAccepted = "the target accepts neither the current version nor the one before: run an emergency rotation, or adopt what it accepts"

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

// doubtRevoke does it once more, which ends in the same state, when the first can no longer come into force late. Who did not begin it looks before.
func (m *machine) doubtRevoke() {
	switch {
	case !m.calm():
	case m.Inherited && m.Able.Probes:
		m.enter(Verifying, Interrupted)
	default:
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
	if m.Able.Terminates && (m.cutsSessions() || m.Policy.Terminate && m.Places[m.old()].Account != m.Places[m.Current].Account) {
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
	case m.rejects(m.Current) && m.rejects(m.old()) && m.Inherited && !m.Policy.OverwriteDrift && !m.Start.Cause.Urgent():
		m.stick(Drift, neitherAccepted)
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
	m.Over = m.Places[m.old()]
	m.Old, m.Tries, m.Cut, m.Inherited = m.Old[1:], 0, false, false
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
