package rotation

import "slices"

// The states of the change of an authority. See Next.

func (m *machine) survey() {
	if m.Began.IsZero() {
		m.Began = m.now
	}
	m.call(Effect{Kind: CallSurvey})
}

func (m *machine) surveyed() {
	if m.failed(Surveying) {
		return
	}
	switch r := m.obs.Survey.Refusal; {
	case r != nil && r.Wait:
		if m.Reason != r.Reason {
			m.alert(r.Reason)
		}
		m.LastError = &Trouble{Class: string(r.Reason), Message: r.Message, State: m.State, At: m.now}
		m.park(Surveying, r.Reason, m.Pace.Look.Std())
		return
	case r != nil:
		m.stick(r.Reason, r.Message)
		return
	}
	m.Base, m.Succession = m.obs.Survey.Current, &Succession{Line: m.obs.Survey.Line}
	m.LastError, m.Tries = nil, 0
	if m.Policy.Approval && !m.Agreed {
		m.enter(Approval, ApprovalNeeded)
		m.alert(ApprovalNeeded)
		return
	}
	m.Agreed, m.Began = false, m.now
	if m.Start.Cause.Urgent() {
		m.Forced = Reason(m.Start.Cause)
	}
	m.move(MoveClaim, "")
	m.enter(Making, Surveyed)
}

// failed comes back to a state after a call that failed.
func (m *machine) failed(to State) bool {
	if m.obs.Err == nil {
		return false
	}
	if !m.fail() {
		m.again(to, Retrying)
	}
	return true
}

// heir is the authority that changes now.
func (m *machine) heir() *Heir { return &m.Succession.Line[m.Succession.At] }

func (m *machine) makeNext() { m.call(Effect{Kind: CallMake, Version: m.heir().Old}) }

func (m *machine) madeNext() {
	if m.failed(Making) {
		return
	}
	m.Tries = 0
	if m.obs.Made.Version == "" {
		m.LastError = &Trouble{Class: string(Waiting), Message: m.obs.Made.Detail, State: m.State, At: m.now}
		m.park(Making, Waiting, m.Pace.Look.Std())
		return
	}
	m.heir().New, m.LastError = m.obs.Made.Version, nil
	m.move(MoveTrust, m.obs.Made.Version)
	m.enter(Publishing, AuthorityMade)
}

func (m *machine) publish() { m.call(Effect{Kind: CallBundle}) }

func (m *machine) published() {
	if m.failed(Publishing) {
		return
	}
	m.spreadOut()
	m.phase()
	m.enter(Trusting, Published)
}

// spreadOut stores the bundles with this very step.
func (m *machine) spreadOut() {
	m.Succession.Bundles, m.Tries = m.obs.Bundles, 0
	for _, b := range m.obs.Bundles {
		if b.Object == m.Object {
			m.Base, m.Pending = b.Version, b.Version
		}
	}
	m.move(MovePublish, m.Base)
}

// phase begins another wait: its deadline counts from here, and who was overridden before is not now.
func (m *machine) phase() {
	m.Promoted, m.Alerted, m.Agreed, m.Succession.Held, m.Tries = m.now, 0, false, false, 0
	if !m.Start.Cause.Urgent() || m.Undo != "" {
		m.Forced = ""
	}
}

func (m *machine) trust() {
	if m.Forced != "" {
		m.trusted(m.Forced)
		return
	}
	m.call(Effect{Kind: CallTrust})
}

func (m *machine) trustSeen() {
	if !m.sawHolders() {
		return
	}
	m.judgeHolders(len(m.Succession.Bundles) == 0, m.trusted, BundleHeld)
}

// trusted: everybody has the bundle with the successor, or somebody answers for those who have not. From here on the successor signs.
func (m *machine) trusted(why Reason) {
	s := m.Succession
	if m.Undo != "" {
		m.phase()
		m.enter(Reissuing, why)
		return
	}
	m.heir().Issues = true
	m.move(MoveIssue, m.heir().New)
	m.phase()
	if s.At+1 < len(s.Line) {
		s.At++
		m.enter(Making, why)
		return
	}
	m.enter(Reissuing, why)
}

func (m *machine) reissue() { m.call(Effect{Kind: CallReissue}) }

func (m *machine) reissued() {
	if m.failed(Reissuing) {
		return
	}
	before := withoutNew(m.Succession.Children)
	first := len(m.Succession.Children) == 0
	m.Succession.Children, m.Tries = m.obs.Children, 0
	waiting, last := m.withoutSuccessor(), withoutNew(m.obs.Children)
	m.Waiting = waiting
	switch {
	case last == 0:
		m.issuedAnew(Reissued)
	case m.Forced != "" && last == len(waiting):
		m.issuedAnew(m.Forced) // somebody answers for those that nobody can make
	case m.obs.Begun > 0 && (first || last < before):
		m.reason, m.NextAt = Waiting, m.now // to see what came of it, or there were too many for one call
	default:
		m.notYetHeld(Waiting, m.issuedAnew)
	}
}

func (m *machine) issuedAnew(why Reason) {
	m.phase()
	m.enter(Deploying, why)
}

// withoutNew counts the certificates that have no successor.
func withoutNew(list []Child) (n int) {
	for _, c := range list {
		if c.New == "" {
			n++
		}
	}
	return n
}

// withoutSuccessor names the certificates that cannot be made anew.
func (m *machine) withoutSuccessor() (list []Holder) {
	for _, c := range m.Succession.Children {
		if c.New == "" && c.Problem != "" {
			list = append(list, Holder{Principal: "certificate " + c.text(), Why: "it is not made anew: " + c.Problem})
		}
	}
	return list
}

func (m *machine) deploy() {
	if m.Forced != "" {
		m.deployed(m.Forced)
		return
	}
	m.call(Effect{Kind: CallDeployed})
}

func (m *machine) deploySeen() {
	if !m.sawHolders() {
		return
	}
	m.Succession.Children = m.obs.Children
	if slices.ContainsFunc(m.obs.Children, func(c Child) bool { return c.New == "" && c.Problem == "" }) {
		m.enter(Reissuing, Waiting) // somebody put one of the old authority in its place
		return
	}
	m.judgeHolders(len(m.obs.Children) == 0, m.deployed, CertificatesHeld)
}

func (m *machine) deployed(why Reason) { m.enter(Dropping, why) }

func (m *machine) drop() { m.call(Effect{Kind: CallBundle}) }

func (m *machine) dropped() {
	if m.failed(Dropping) {
		return
	}
	m.spreadOut()
	m.effects = append(m.effects, Effect{Kind: MoveSettle, Reason: Dropped})
	m.Succession.Cut, m.Waiting = true, nil
	if m.Undo == "" && m.Start.Cause == Leaked {
		m.Exposure = &Exposure{From: m.Start.Exposed, Until: m.now}
		m.enter(Withdrawing, Dropped)
		return
	}
	m.over(Dropped)
}

func (m *machine) over(why Reason) {
	if m.Undo != "" {
		m.finish(m.Undo, why)
		return
	}
	m.finish(Done, why)
}

func (m *machine) withdraw() { m.call(Effect{Kind: CallWithdraw}) }

func (m *machine) withdrawn() {
	if m.failed(Withdrawing) {
		return
	}
	m.over(Dropped)
}
