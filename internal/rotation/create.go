package rotation

import (
	"time"

	"github.com/keywright/keywright/internal/rotator"
)

// Values that the target makes.

func (m *machine) list() {
	if m.State == Listing && m.Inherited && !m.Sent {
		m.enter(Preflight, Interrupted)
		return
	}
	m.call(Effect{Kind: CallSlots, Place: m.Plan.Next})
}

// listed: what the target has before is journaled with the intent, so that what it makes can be told from it.
func (m *machine) listed() {
	if m.obs.Err != nil {
		if !m.fail() {
			m.again(Listing, Retrying)
		}
		return
	}
	if !m.Sent {
		m.Slots = m.obs.Slots
	}
	m.enter(Creating, SlotsListed)
}

func (m *machine) create() {
	m.Sent = true
	m.send(Effect{Kind: CallCreate, Place: m.Plan.Next, Keep: m.Plan.Keep})
}

func (m *machine) doubtCreate() { m.enter(Finding, Interrupted) }

// created: the value is sealed and stored with this very step.
func (m *machine) created() {
	if m.obs.Err != nil {
		if m.fail() {
			return
		}
		switch {
		case m.obs.Of == CallTake:
			m.again(Finding, Retrying)
		case m.obs.Class == rotator.NotApplied || m.obs.Class == rotator.Busy:
			m.again(Listing, Retrying)
		default:
			m.again(Finding, SetInDoubt)
		}
		return
	}
	m.Pending, m.Tries, m.Doubt = m.obs.Version, 0, false
	m.Places = withPlace(m.Places, m.Pending, m.obs.Place)
	m.move(MoveAddPending, m.Pending)
	m.enter(Testing, ValueMade)
}

// found looks for what a lost answer made: a key that is newer than the intent and of which no version holds the value. A target that shows
// values gives it back; otherwise it is removed, and made again.
func (m *machine) found() {
	if m.obs.Err != nil {
		if !m.fail() {
			m.again(Finding, Retrying)
		}
		return
	}
	orphan, ok := orphan(m.Slots, m.obs.Slots, m.Plan.Next)
	switch {
	case !ok && !m.calm(): // what was asked for may still be made
	case !ok && m.Undo != "":
		m.finish(m.Undo, TargetPutBack)
	case !ok:
		m.again(Listing, NotApplied)
	case m.stranger(orphan):
		m.stick(Drift, "the target has a key that was made long after this run asked for one: find out who did, and who uses it; then replay, or abort")
	case m.Undo == "" && orphan.Shown:
		m.Plan.Next = orphan.Place
		m.enter(Taking, OrphanFound)
	case orphan.Slot != "" && m.Undo != "":
		// The slot was nobody's before: what it holds now is known to nobody.
		m.finish(m.Undo, TargetPutBack)
	case orphan.Slot != "":
		m.again(Listing, OrphanFound) // regenerated once more
	default:
		m.Plan.Next = orphan.Place
		m.enter(Discarding, OrphanFound)
	}
}

// stranger reports whether a key cannot be what a lost answer of this run made: it was made later than a call can last.
func (m *machine) stranger(s Seen) bool {
	return m.Inherited && s.Created.After(m.Pace.Call.after(m.SetAt).Add(maxSkew))
}

// maxSkew is how far the clock of a target may be from this server's: what Kerberos takes, too (RFC 4120, section 7.5.2).
const maxSkew = 5 * time.Minute

// orphan finds a credential that was not there before.
func orphan(before, after []Seen, next Place) (Seen, bool) {
	for _, s := range after {
		if s.Known || next.Slot != "" && s.Slot != next.Slot {
			continue
		}
		if !had(before, s) {
			return s, true
		}
	}
	return Seen{}, false
}

func had(before []Seen, s Seen) bool {
	for _, b := range before {
		if b.KeyID == s.KeyID && b.Slot == s.Slot && b.Created.Equal(s.Created) {
			return true
		}
	}
	return false
}

func (m *machine) take() { m.call(Effect{Kind: CallTake, Place: m.Plan.Next}) }

func (m *machine) discard() { m.call(Effect{Kind: CallDiscard, Place: m.Plan.Next, Keep: m.Plan.Keep}) }

func (m *machine) discarded() {
	if m.obs.Err != nil {
		if !m.fail() {
			m.again(Discarding, Retrying)
		}
		return
	}
	m.Plan.Next.KeyID = ""
	m.enter(Finding, OrphanFound)
}
