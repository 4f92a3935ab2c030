package rotation

import (
	"slices"
	"time"

	"github.com/keywright/keywright/internal/vault"
)

// Succession is what the change of an authority has come to. The authority and those below it change one after the other, each after the one that signs it; only when
// all of them have successors that everybody trusts are certificates made anew.
type Succession struct {
	// Line are the authorities, parents first, and At is the one that changes now.
	Line []Heir `json:"line"`
	At   int    `json:"at,omitempty"`
	// Bundles are the trust bundles as they were published last.
	Bundles []Bundle `json:"bundles,omitempty"`
	// Children are the certificates that stand, or stood, under what goes.
	Children []Child `json:"children,omitempty"`
	// Held is true after people heard that a deadline holds the change.
	Held bool `json:"held,omitempty"`
	// Cut is true once what goes has left the trust bundles: from there on the run goes only forward.
	Cut bool `json:"cut,omitempty"`
}

// Heir is one authority of a change: Old signed at its beginning, New is its successor, and Issues says that it is New that signs.
type Heir struct {
	Name    string          `json:"name"`
	Subject string          `json:"subject,omitempty"`
	Object  vault.ObjectID  `json:"object"`
	Old     vault.VersionID `json:"old"`
	New     vault.VersionID `json:"new,omitempty"`
	Issues  bool            `json:"issues,omitempty"`
}

// Bundle is a trust bundle: the secret, its version that was published at an instant, and the one before.
type Bundle struct {
	Name    string          `json:"name"`
	Object  vault.ObjectID  `json:"object"`
	Version vault.VersionID `json:"version"`
	Base    vault.VersionID `json:"base,omitempty"`
	At      time.Time       `json:"at"`
}

// Child is a certificate below the authorities: its versions that go, and the one that came in their place at an instant; empty while there is none.
type Child struct {
	Name    string            `json:"name"`
	Old     []vault.VersionID `json:"old"`
	New     vault.VersionID   `json:"new,omitempty"`
	At      time.Time         `json:"at,omitzero"`
	Problem string            `json:"problem,omitempty"`
}

// Survey is what is found before a change.
type Survey struct {
	// Current is the version of the trust bundle, Line the authorities with the versions that sign.
	Current vault.VersionID
	Line    []Heir
	// Refusal says why the change cannot begin now; nil when it can.
	Refusal *Refusal
}

// Made is how far the making of an authority's next version is.
type Made struct {
	Version vault.VersionID
	Detail  string
}

func (s *Succession) clone() *Succession {
	if s == nil {
		return nil
	}
	c := *s
	c.Line, c.Bundles, c.Children = slices.Clone(s.Line), slices.Clone(s.Bundles), slices.Clone(s.Children)
	return &c
}

// keep is the version of each authority that is to stay, by its object: the successor, or the one before when the change goes back.
func (r *Run) keep() map[vault.ObjectID]vault.VersionID {
	kept := make(map[vault.ObjectID]vault.VersionID)
	for _, h := range r.Succession.Line {
		kept[h.Object] = h.Old
		if r.Undo == "" && h.New != "" {
			kept[h.Object] = h.New
		}
	}
	return kept
}

// waits reports whether the run waits for consumers.
func (r *Run) waits() bool {
	return r.State == Trusting || r.State == Reissuing || r.State == Deploying
}

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
			list = append(list, Holder{Principal: "certificate " + c.Name, Why: "it is not made anew: " + c.Problem})
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
