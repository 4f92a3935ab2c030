package rotation

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/keywright/keywright/internal/rotator"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// The model: a target, the labels of one object, consumers that hold versions, and a worker that crashes and loses answers as it likes. A
// version stands for its own value.
type model struct {
	t      *rapid.T
	now    time.Time
	policy Policy

	accepted map[Place]map[vault.VersionID]bool
	places   map[vault.VersionID]Place
	// late are statements whose caller has given up on them, and which may still come into force.
	late []statement

	current, previous, pending vault.VersionID
	stored                     map[vault.VersionID]bool
	retired                    map[vault.VersionID]bool
	next                       int

	consumers []vault.VersionID
	// excused are consumers that another writer, or a person who forced a revocation, cut off.
	excused map[int]bool

	rotation, revocation *Run
	set                  map[store.RunID]map[vault.VersionID]bool
	quiet                bool
	orders               int
	// lost is the version that the target forgot after it had acknowledged it, until it is set again; losses counts how often that happened.
	lost   vault.VersionID
	losses int
	writes int
}

type statement struct {
	at time.Time
	do func()
}

// slotted is where values exclude each other: an account, or a slot of it.
func slotted(p Place) Place { return Place{Account: p.Account, Slot: p.Slot, KeyID: p.KeyID} }

func newModel(t *rapid.T, p Policy) *model {
	m := &model{t: t, now: time.Date(2026, 11, 22, 5, 0, 0, 0, time.UTC), policy: p, accepted: map[Place]map[vault.VersionID]bool{},
		places: map[vault.VersionID]Place{}, stored: map[vault.VersionID]bool{}, retired: map[vault.VersionID]bool{}, excused: map[int]bool{},
		set: map[store.RunID]map[vault.VersionID]bool{}}
	first := m.version()
	at := Place{Account: p.Accounts[0]}
	if len(p.Slots) > 0 {
		at.Slot = p.Slots[0]
	}
	if p.Strategy == rotator.NKeys {
		at.KeyID = string(first)
	}
	m.places[first], m.current = at, first
	m.stored[first] = true
	m.put(at, first)
	m.consumers = []vault.VersionID{first, first, first}
	return m
}

func (m *model) version() vault.VersionID {
	m.next++
	return vault.VersionID(fmt.Sprintf("v%d", m.next))
}

func (m *model) put(at Place, versions ...vault.VersionID) {
	set := map[vault.VersionID]bool{}
	for _, v := range versions {
		if v != "" {
			set[v] = true
		}
	}
	m.accepted[slotted(at)] = set
}

func (m *model) accepts(v vault.VersionID) bool { return m.accepted[slotted(m.places[v])][v] }

func (m *model) run() **Run {
	for _, r := range []**Run{&m.rotation, &m.revocation} {
		if *r != nil && (*r).State == Stuck && (*r).Obeyed == len((*r).Orders) {
			continue
		}
		if *r != nil && !(*r).NextAt.After(m.now) && !(*r).NextAt.IsZero() {
			return r
		}
	}
	return nil
}

// drive makes one step of a run that is due, with whatever can go wrong.
func (m *model) drive(r **Run) {
	obs := Observation{Roll: rapid.Float64Range(0, 0.99).Draw(m.t, "roll"), Inherited: rapid.Bool().Draw(m.t, "another worker")}
	for range 40 {
		if *r == nil {
			return
		}
		if obs.Of == "" && (*r).NextAt.After(m.now) {
			return
		}
		next, effects, _ := Next(**r, obs, m.now)
		m.shape(effects)
		if m.fault("crash before commit") {
			return
		}
		if moved := m.movedUnder(*r, &next); moved != "" {
			obs = Observation{Moved: moved, Facts: &Facts{Places: maps.Clone(m.places)}, Roll: obs.Roll}
			continue
		}
		m.commit(r, next, effects)
		m.check("after the commit of " + string(next.State))
		if m.fault("crash after commit") || len(effects) == 0 {
			return
		}
		call := effects[len(effects)-1]
		if !call.Kind.External() {
			obs = Observation{Roll: obs.Roll}
			continue
		}
		roll := obs.Roll
		obs = m.perform(next, call)
		obs.Of, obs.Roll = call.Kind, roll
		m.check("after the call " + string(call.Kind))
		if m.fault("crash after call") {
			return
		}
	}
}

func (m *model) movedUnder(r, next *Run) vault.VersionID {
	if r.Kind == store.RotationRun && next.State != Queued && next.Base != m.current {
		return m.current
	}
	if r.Kind == store.RevocationRun && r.Current != m.current && next.Current != m.current {
		return m.current
	}
	return ""
}

func (m *model) shape(effects []Effect) {
	for i, e := range effects {
		if e.Kind.External() && i != len(effects)-1 {
			m.t.Fatalf("a call is followed by more: %v", effects)
		}
	}
}

func (m *model) fault(what string) bool {
	return !m.quiet && rapid.IntRange(0, 19).Draw(m.t, what) == 0
}

func (m *model) commit(r **Run, next Run, effects []Effect) {
	old := *r
	*r = &next
	for _, e := range effects {
		switch e.Kind {
		case MoveAddPending:
			m.pending = e.Version
			m.stored[e.Version] = true
			m.places[e.Version] = next.Places[e.Version]
		case MovePromote:
			if old.Base != m.current {
				m.t.Fatalf("promoted over %s, which is not the base %s", m.current, old.Base)
			}
			m.previous, m.current, m.pending = m.current, e.Version, ""
			if !m.accepts(e.Version) {
				m.t.Fatalf("promoted %s, which the target does not accept", e.Version)
			}
		case MoveReturn:
			m.previous, m.current = m.current, e.Version
		case MoveDropPending:
			if m.accepts(e.Version) {
				m.t.Fatalf("dropped %s, which the target accepts", e.Version)
			}
			if m.pending == e.Version {
				m.pending = ""
			}
		case MoveRetired:
			m.retired[e.Version] = true
			if m.accepts(e.Version) {
				m.t.Fatalf("retired %s, which the target accepts", e.Version)
			}
		case MoveRevocation:
			n := next.Revocation(store.RunID("rev-"+string(next.ID)), e, m.now)
			m.revocation = &n
		}
	}
	if !next.Open() {
		*r = nil
		if next.Kind == store.RevocationRun && next.State == Done && len(next.Old) > 0 {
			m.t.Fatalf("done with %v left", next.Old)
		}
	}
}

// perform lets a call happen, or not, or later, and tells of it or not.
func (m *model) perform(r Run, e Effect) Observation {
	switch e.Kind {
	case CallLook:
		f := &Facts{Current: m.current, Previous: m.previous, Pending: m.pending, Places: maps.Clone(m.places), Probes: true, Observes: true,
			Creates: m.policy.Strategy == rotator.NKeys,
			Rotator: &rotator.Description{Name: "model", Strategies: []rotator.Strategy{m.policy.Strategy}, Evidence: rotator.AccountEvidence}}
		f.PreviousGone = m.retired[m.previous]
		if m.revocation != nil {
			f.Revoking = m.revocation.Old
		}
		return Observation{Facts: f}
	case CallPreflight:
		if o, bad := m.broken(); bad {
			return o
		}
		return Observation{Report: &Found{Identities: map[string]string{r.Plan.Next.Account: "id"}}}
	case CallGenerate:
		return Observation{Version: m.version()}
	case CallSet:
		if !m.stored[e.Version] {
			m.t.Fatalf("set %s, which is not stored", e.Version)
		}
		if e.Version == r.Pending {
			m.note(r.ID, e.Version)
		}
		return m.doing(func() {
			at := slotted(m.places[e.Version])
			if slotted(m.places[e.Keep]) != at {
				e.Keep = ""
			}
			m.put(at, e.Version, e.Keep)
		})
	case CallRevoke:
		return m.doing(func() {
			if at := slotted(m.places[e.Version]); slotted(m.places[e.Keep]) == at {
				m.put(at, e.Keep)
			} else {
				m.put(at)
			}
		})
	case CallCreate:
		return m.make(e)
	case CallSlots:
		return m.slots()
	case CallDiscard:
		return m.doing(func() { delete(m.accepted, slotted(e.Place)) })
	case CallProbe:
		return m.login(e)
	case CallWitness:
		w := &Witness{Safe: true, Told: true}
		for i, c := range m.consumers {
			if c == e.Version && !m.excused[i] {
				w.Safe = false
				w.Sessions++
			}
		}
		return Observation{Evidence: w}
	case CallTerminate:
		return Observation{}
	}
	m.t.Fatalf("an unknown call %s", e.Kind)
	return Observation{}
}

func (m *model) note(id store.RunID, v vault.VersionID) {
	if m.set[id] == nil {
		m.set[id] = map[vault.VersionID]bool{}
	}
	m.set[id][v] = true
}

func (m *model) broken() (Observation, bool) {
	if !m.fault("not reached") {
		return Observation{}, false
	}
	return Observation{Err: &Trouble{Class: "not applied", Message: "not reached"}, Class: rotator.NotApplied}, true
}

func (m *model) doing(do func()) Observation {
	doubt := Observation{Err: &Trouble{Class: "doubt", Message: "connection lost"}, Class: rotator.Doubt}
	if m.quiet {
		do()
		return Observation{}
	}
	switch rapid.IntRange(0, 11).Draw(m.t, "outcome") {
	case 0:
		return Observation{Err: &Trouble{Class: "not applied", Message: "refused"}, Class: rotator.NotApplied}
	case 1:
		do()
		return doubt
	case 2:
		return doubt
	case 3:
		after := time.Duration(rapid.IntRange(1, 29).Draw(m.t, "late")) * time.Second
		m.late = append(m.late, statement{m.now.Add(after), do})
		return doubt
	default:
		do()
		return Observation{}
	}
}

func (m *model) make(e Effect) Observation {
	v := m.version()
	at := Place{Account: e.Place.Account, KeyID: string(v)}
	answer := m.doing(func() { m.places[v] = at; m.put(at, v) })
	if answer.Err == nil {
		answer.Version, answer.Place = v, at
	}
	return answer
}

func (m *model) slots() Observation {
	if o, bad := m.broken(); bad {
		return o
	}
	var list []Seen
	for p, set := range m.accepted {
		for v := range set {
			list = append(list, Seen{Place: p, Known: m.stored[v]})
		}
	}
	return Observation{Slots: list}
}

func (m *model) login(e Effect) Observation {
	o := Observation{Matrix: map[vault.VersionID]rotator.Verdict{}}
	for _, v := range e.Probe {
		if m.fault("no answer") {
			o.Matrix[v] = rotator.Unknown
			continue
		}
		o.Matrix[v] = rotator.Rejected
		if m.accepts(v) {
			o.Matrix[v] = rotator.Accepted
			if !e.All {
				break
			}
		}
	}
	return o
}

// check is safety: what a consumer would log in with, the target accepts. Under single it accepts what is current or is offered beside it.
func (m *model) check(when string) {
	if !strategies[m.policy.Strategy].overlap {
		if !m.accepts(m.current) && (m.pending == "" || !m.accepts(m.pending)) && !m.excused[0] {
			m.t.Fatalf("%s: the target accepts neither current %s nor pending %s: %v", when, m.current, m.pending, m.accepted)
		}
		return
	}
	if m.lost != "" && m.accepts(m.lost) {
		m.lost = ""
	}
	for i, c := range m.consumers {
		if c == m.lost {
			continue
		}
		if !m.accepts(c) && !m.excused[i] {
			m.t.Fatalf("%s: consumer %d holds %s, which the target refuses (current %s): %v", when, i, c, m.current, m.accepted)
		}
	}
}

func (m *model) fresh(i int) {
	m.consumers[i] = m.current
	delete(m.excused, i)
}

// advance lets time pass to whatever comes next.
func (m *model) advance() {
	next := m.now.Add(time.Minute)
	for _, r := range []*Run{m.rotation, m.revocation} {
		if r != nil && r.NextAt.After(m.now) && r.NextAt.Before(next) {
			next = r.NextAt
		}
	}
	for _, s := range m.late {
		if s.at.Before(next) {
			next = s.at
		}
	}
	m.now = next
	slices.SortStableFunc(m.late, func(a, b statement) int { return a.at.Compare(b.at) })
	for len(m.late) > 0 && !m.late[0].at.After(m.now) {
		m.late[0].do()
		m.late = m.late[1:]
		m.check("after a late statement")
	}
}

func (m *model) order(k OrderKind) {
	for _, r := range []**Run{&m.rotation, &m.revocation} {
		if *r == nil {
			continue
		}
		if n, err := (*r).Take(Order{Kind: k, At: m.now, By: "a person"}); err == nil {
			*r = &n
			return
		}
	}
}

// forget is a target that loses what it acknowledged, as after a failover, while the version before is still accepted there.
func (m *model) forget() {
	r := m.revocation
	if r == nil || m.rotation != nil || r.State != Awaiting || r.Cut || m.writes > 0 || len(m.late) > 0 || !m.accepts(m.current) ||
		!strategies[m.policy.Strategy].overlap || m.policy.Strategy == rotator.NKeys || !m.accepts(r.Old[0]) {
		return
	}
	delete(m.accepted[slotted(m.places[m.current])], m.current)
	m.lost = m.current
	m.losses++
}

// write is another writer, who changes the target first and the object then.
func (m *model) write() {
	v := m.version()
	m.stored[v] = true
	m.places[v] = m.places[m.current]
	if m.policy.Strategy == rotator.Single {
		m.put(m.places[v], v)
	} else {
		m.put(m.places[v], v, m.current)
	}
	m.previous, m.current = m.current, v
	for i, c := range m.consumers {
		if !m.accepts(c) {
			m.excused[i] = true
		}
	}
}

var modelled = []Policy{
	{Strategy: rotator.Single, Accounts: []string{"a"}, AcceptGap: true},
	{Strategy: rotator.Dual, Accounts: []string{"a"}, Grace: Duration(time.Minute)},
	{Strategy: rotator.Alternating, Accounts: []string{"a", "b"}, Grace: Duration(time.Minute), Observation: Duration(time.Minute)},
	{Strategy: rotator.TwoKey, Accounts: []string{"a"}, Slots: []string{"key1", "key2"}, Grace: Duration(time.Minute)},
	{Strategy: rotator.NKeys, Accounts: []string{"a"}, Grace: Duration(time.Minute)},
}

// Whatever is lost, delayed, interrupted or aborted: no consumer is cut off, no attempt sets two values, and when all is over exactly one
// version is current, it logs in, and what came before is refused.
func TestNobodyIsCutOff(t *testing.T) {
	for _, p := range modelled {
		p.Rotator, p.Format = "model", Format{Kind: Raw}
		t.Run(string(p.Strategy), func(t *testing.T) {
			var promoted, revoked, aborted, losses int
			rapid.Check(t, func(rt *rapid.T) {
				m := newModel(rt, p)
				var all []vault.VersionID
				for turn := range 3 {
					m.rotate(turn)
				}
				m.quiet = true
				m.settle()
				for v := range m.places {
					all = append(all, v)
				}
				m.atEnd(all)
				promoted += m.next
				revoked += len(m.retired)
				aborted += m.orders
				losses += m.losses
			})
			if p.Strategy == rotator.Alternating && losses == 0 {
				t.Error("the target never lost anything")
			}
			if promoted == 0 || revoked == 0 || aborted == 0 {
				t.Errorf("%d versions, %d revocations, %d orders: the test went nowhere", promoted, revoked, aborted)
			}
		})
	}
}

func (m *model) rotate(turn int) {
	if m.rotation == nil {
		r := newRotation(store.RunID(fmt.Sprintf("r%d", turn)), m.now, Start{Cause: OnDemand}, m.policy, DefaultPace)
		m.rotation = &r
	}
	for range rapid.IntRange(5, 60).Draw(m.t, "steps") {
		switch rapid.IntRange(0, 29).Draw(m.t, "what") {
		case 0:
			m.order(AbortOrder)
			m.orders++
		case 1:
			if len(m.late) == 0 && (m.policy.Strategy == rotator.Single || m.policy.Strategy == rotator.Dual) {
				m.write()
				m.writes++
			}
		case 2, 3, 4, 5:
			m.fresh(rapid.IntRange(0, len(m.consumers)-1).Draw(m.t, "consumer"))
		case 6:
			m.order(ReplayOrder)
		case 7:
			m.forget()
		default:
			if r := m.run(); r != nil {
				m.drive(r)
			} else {
				m.advance()
			}
		}
	}
}

// settle lets everything end without further faults.
func (m *model) settle() {
	for range 2000 {
		if m.rotation == nil && m.revocation == nil && len(m.late) == 0 {
			return
		}
		for i := range m.consumers {
			m.fresh(i)
		}
		switch r := m.run(); {
		case r != nil:
			m.drive(r)
		case m.rotation != nil && m.rotation.State == Stuck, m.revocation != nil && m.revocation.State == Stuck:
			m.order(ReplayOrder)
			m.advance()
		default:
			m.advance()
		}
	}
	m.t.Fatalf("it never ends: rotation %v, revocation %v", describe(m.rotation), describe(m.revocation))
}

func describe(r *Run) string {
	if r == nil {
		return "none"
	}
	return fmt.Sprintf("%s in %s (%s), stuck in %s, next %s, tries %d, matrix %v, pending %s base %s, old %v current %s, error %v", r.ID, r.State, r.Reason, r.Stuck,
		r.NextAt.Format(time.TimeOnly), r.Tries, r.Matrix, r.Pending, r.Base, r.Old, r.Current, r.LastError)
}

func (m *model) atEnd(all []vault.VersionID) {
	if !m.accepts(m.current) {
		m.t.Fatalf("the current version %s does not log in: %v", m.current, m.accepted)
	}
	if m.pending != "" {
		m.t.Fatalf("%s is pending and no run is open", m.pending)
	}
	for _, v := range all {
		if v != m.current && m.accepts(v) && m.writes == 0 {
			m.t.Fatalf("the target still accepts %s: %v", v, m.accepted)
		}
	}
	for id, values := range m.set {
		if len(values) > 1 {
			m.t.Fatalf("run %s set %v", id, values)
		}
	}
}
