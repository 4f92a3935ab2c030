package rotation

import (
	"maps"
	"slices"
	"time"

	"github.com/keywright/keywright/internal/rotator"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// Next is the state machine. It takes a run, what was observed and the present instant, and returns the run as it stands then, the effects
// that follow and the reason. It does nothing by itself and draws nothing at random.
//
// The caller writes the returned run and the moves among the effects in one transaction, then makes the call among them, if there is one (it
// is the last), and comes back with the outcome. With no call it comes back with an empty observation when NextAt has come.
func Next(r Run, o Observation, now time.Time) (Run, []Effect, Reason) {
	m := &machine{Run: r.clone(), obs: o, now: now}
	if !m.Open() {
		return m.Run, nil, ""
	}
	m.reason = ""
	m.Inherited = m.Inherited || m.obs.Inherited
	m.count()
	m.step()
	m.Reason = m.reason
	return m.Run, m.effects, m.reason
}

// machine is one step of a run in the making.
type machine struct {
	Run
	obs     Observation
	now     time.Time
	effects []Effect
	reason  Reason
}

func (m *machine) step() {
	if m.obs.Gone {
		m.objectGone()
		return
	}
	m.doubt()
	if m.obs.Moved != "" {
		m.moved(m.obs.Moved)
		return
	}
	if m.obs.Held {
		m.reason = AccountHeld
		m.NextAt = m.now.Add(m.jitter(0))
		return
	}
	// A value that was just made must reach the journal before anything else happens.
	makes := m.obs.Of == CallGenerate || m.obs.Of == CallCreate || m.obs.Of == CallTake || m.obs.Of == CallMake || m.obs.Of == CallUnmake
	if !makes && m.obey() {
		return
	}
	s := stepOf(m.State)
	if s == nil {
		m.stick(Misconfigured, "this version of the program does not know the state "+string(m.State))
		return
	}
	switch {
	case m.obs.Of != "":
		s.result(m)
	case s.resume != nil:
		s.resume(m)
	default:
		s.enter(m)
	}
	if makes && m.Open() && m.pendingOrder() {
		m.dropCalls()
		m.obey()
	}
}

// count makes the instants from which waits are counted fit the clock. One that lies ahead was written by a clock that has been set back: from then until now
// nothing counts, so that it is taken for now, and nobody waits for the clock to come by once more.
func (m *machine) count() {
	m.Trusted = later(m.Trusted, m.obs.Trusted)
	for _, at := range []*time.Time{&m.Trusted, &m.Promoted, &m.Began, &m.SetAt, &m.ProbedAt, &m.QuietSince, &m.WholeSince, &m.Disabled} {
		if at.After(m.now) {
			*at = m.now
		}
	}
}

// doubt notes that a change at the target may have happened, or may yet: the run was picked up in a state that is entered to make one, or the call
// ended without an answer.
func (m *machine) doubt() {
	s := stepOf(m.State)
	switch {
	case s == nil || !s.call.Changes():
	case m.obs.Of == "", m.obs.Err != nil && m.obs.Class == rotator.Doubt:
		m.Doubt = true
	}
}

// enter moves to a state and makes its call.
func (m *machine) enter(to State, why Reason) {
	m.moveTo(to, why)
	m.NextAt = m.now
	if s := stepOf(to); s != nil && s.enter != nil {
		s.enter(m)
	}
}

// park moves to a state without making its call, until it is due.
func (m *machine) park(to State, why Reason, delay time.Duration) {
	m.moveTo(to, why)
	m.NextAt = m.now.Add(delay)
}

func (m *machine) moveTo(to State, why Reason) {
	m.reason = why
	if m.State == to {
		return
	}
	m.History = append(m.History, Move{At: m.now, From: m.State, To: to, Reason: why})
	if len(m.History) > maxHistory {
		m.History = append(m.History[:maxHistory/2:maxHistory/2], m.History[len(m.History)-maxHistory/2:]...)
	}
	m.State, m.Since = to, m.now
}

// call makes an effect the one call of this step.
func (m *machine) call(e Effect) {
	m.dropCalls()
	m.effects = append(m.effects, e)
}

func (m *machine) dropCalls() {
	kept := m.effects[:0]
	for _, e := range m.effects {
		if !e.Kind.External() {
			kept = append(kept, e)
		}
	}
	m.effects = kept
}

// move adds a part of the transaction, before the call.
func (m *machine) move(k EffectKind, v vault.VersionID) {
	m.effects = append(m.effects, Effect{Kind: k, Version: v})
}

func (m *machine) alert(why Reason) {
	m.effects = append(m.effects, Effect{Kind: MoveAlert, Reason: why})
}

// wait stands still until a person does something.
func (m *machine) wait() {
	m.reason = Waiting
	m.NextAt = time.Time{}
}

// jitter is the sleep before try n: a random part of min(cap, base*2^n), which spreads those who failed together.
func (m *machine) jitter(n int) time.Duration {
	most := m.Pace.Cap.Std()
	if d := m.Pace.Base.Std() << min(n, 30); d > 0 && d < most {
		most = d
	}
	return time.Duration(m.obs.Roll * float64(most))
}

// fail records what went wrong. It returns true when only a person can help, and the run is stuck.
func (m *machine) fail() bool {
	t := *m.obs.Err
	t.State, t.At = m.State, m.now
	m.LastError = &t
	switch m.obs.Class {
	case rotator.Denied:
		m.halt(Denied)
		return true
	case rotator.Misconfigured:
		m.halt(Misconfigured)
		return true
	}
	return false
}

// again comes back to a state after a sleep, or gives up.
func (m *machine) again(to State, why Reason) {
	if m.exhausted() {
		m.halt(m.givenUp())
		return
	}
	n := m.Tries
	m.Tries++
	m.park(to, why, m.jitter(n))
}

func (m *machine) exhausted() bool { return m.Tries+1 >= m.Pace.Tries || m.late() }

// late reports whether a rotation has taken longer than it may. A revocation has all the time that its consumers need.
func (m *machine) late() bool {
	return m.Kind == store.RotationRun && !m.Began.IsZero() && m.now.After(m.Pace.Attempt.after(later(m.Began, m.Trusted)))
}

func (m *machine) givenUp() Reason {
	if m.late() {
		return DeadlinePassed
	}
	return TriesExhausted
}

// halt makes the run stuck where it is.
func (m *machine) halt(why Reason) {
	m.Stuck = m.State
	m.dropCalls()
	m.moveTo(Stuck, why)
	m.NextAt = time.Time{}
	m.alert(why)
}

// stick makes the run stuck for something that the engine itself found.
func (m *machine) stick(why Reason, message string) {
	m.LastError = &Trouble{Class: string(why), Message: message, State: m.State, At: m.now}
	m.halt(why)
}

// finish ends the run.
func (m *machine) finish(as State, why Reason) {
	m.dropCalls()
	m.moveTo(as, why)
	m.NextAt, m.Ended = time.Time{}, m.now
}

// login plans a probe, unless it has to wait: wrong logins count towards a lockout.
func (m *machine) login(all bool, versions ...vault.VersionID) {
	if !m.Able.Probes {
		m.stick(CannotLook, "nobody can look what the target accepts: find it out there, then adopt that version or replay")
		return
	}
	if due := m.Pace.Probe.after(m.ProbedAt); !m.ProbedAt.IsZero() && m.now.Before(due) {
		m.reason, m.NextAt = Waiting, due
		return
	}
	list := m.harmless(versions)
	switch {
	case len(list) > 0:
		m.call(Effect{Kind: CallProbe, Probe: list, All: all})
	case len(m.Wrong) > 0:
		m.stick(LockoutNear, "one more wrong login could lock the account: wait until the target forgets the others, then replay")
	default:
		m.stick(CannotLook, "there is no credential to log in with")
	}
}

// send makes a call that changes the target.
func (m *machine) send(e Effect) {
	m.SetAt, m.Doubt, m.Inherited = m.now, false, false
	m.call(e)
}

// calm reports whether the last change at the target can no longer come into force late. Otherwise the run comes back to its state when that is
// so: two changes are never under way at once, and no run ends over one.
func (m *machine) calm() bool {
	due := m.Pace.Call.after(later(m.SetAt, m.Trusted))
	if m.Doubt && m.now.Before(due) {
		m.park(m.State, NotAppliedYet, due.Sub(m.now))
		return false
	}
	m.Doubt = false
	return true
}

// harmless leaves out the logins that could lock an account if they were refused. A first one is always allowed.
func (m *machine) harmless(versions []vault.VersionID) []vault.VersionID {
	var list []vault.VersionID
	risk := make(map[string]int)
	for _, v := range versions {
		if v == "" || slices.Contains(list, v) {
			continue
		}
		account := m.Places[v].Account
		wrong := m.Wrong[account] + risk[account]
		if m.Able.Lockout > 0 && wrong > 0 && wrong+1 >= m.Able.Lockout {
			continue
		}
		risk[account]++
		list = append(list, v)
	}
	return list
}

// learn keeps what a probe showed.
func (m *machine) learn() {
	m.ProbedAt = m.now
	if m.Matrix == nil {
		m.Matrix = make(map[vault.VersionID]string)
	}
	if m.Wrong == nil {
		m.Wrong = make(map[string]int)
	}
	for v, verdict := range m.obs.Matrix {
		m.Matrix[v] = verdict.String()
		switch account := m.Places[v].Account; verdict {
		case rotator.Rejected:
			m.Wrong[account]++
		case rotator.Accepted:
			delete(m.Wrong, account)
		}
	}
	for account, id := range m.obs.Identities {
		if m.Identities[account] == "" {
			m.Identities = maps.Clone(m.Identities)
			if m.Identities == nil {
				m.Identities = make(map[string]string)
			}
			m.Identities[account] = id
		}
	}
	if m.obs.Err != nil {
		t := *m.obs.Err
		t.State, t.At = m.State, m.now
		m.LastError = &t
	}
}

func (m *machine) accepts(v vault.VersionID) bool {
	return v != "" && m.obs.Matrix[v] == rotator.Accepted
}
func (m *machine) rejects(v vault.VersionID) bool {
	return v != "" && m.obs.Matrix[v] == rotator.Rejected
}
