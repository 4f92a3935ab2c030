package ledger

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/keywright/keywright/internal/vault"
)

// State is what the ledger thinks of a consumer and an old version.
type State string

// The states. Only Moved and Gone let the version go.
const (
	// Live: it may sign in with the version at any moment.
	Live State = "live"
	// Moved: it proved that it uses another one.
	Moved State = "moved"
	// Gone: it is not there any more, or somebody vouched for that.
	Gone State = "gone"
	// Silent: nobody has heard of it for long, and nothing proves that it is gone.
	Silent State = "silent"
)

// Policy is what people say about the consumers of an object.
type Policy struct {
	// Poll is how often a consumer that declared nothing reads the object at least; 0 is not known.
	Poll time.Duration
	// MaxConnectionLife is how long a consumer may live on a connection, and so on a value that it read, before it reads or signs in again; 0 is not
	// known. It is what makes silence at the target a proof.
	MaxConnectionLife time.Duration
	// Grace is how long an old version stays after the promotion in any case.
	Grace time.Duration
	// Window is for how long the target must have shown no use.
	Window time.Duration
	// Observed says that the target shows who uses the old version: then nothing is safe before it has shown that nobody does.
	Observed bool
}

// Question is whether an old version may go.
type Question struct {
	Policy
	Old, New vault.VersionID
	// Since is when New was promoted, Whole since when the ledger misses nothing.
	Since, Whole, Now time.Time
	// Up is since when polls could be heard: who polls in vain while the server is away is not gone.
	Up time.Time
	// Holdings are the rows of the object: those of Old and New, and of what was delivered since the promotion.
	Holdings []*Holding
}

// Holder is a consumer of the old version, with what the ledger thinks of it and why.
type Holder struct {
	Holding
	State State
	// Reason is a sentence for people.
	Reason string
	// near says how sure it is that the consumer breaks: those for which it is surest are named first.
	near int
}

// Verdict is the answer.
type Verdict struct {
	// Safe is true when the old version may go.
	Safe bool
	// Holders are all consumers to which the old version was delivered, WaitingFor those that are neither moved nor gone.
	Holders, WaitingFor []Holder
	// Reason says what is waited for, as a sentence for people.
	Reason string
	// Whole is since when the ledger misses nothing that was delivered.
	Whole time.Time
}

// granularity is by how much instants of a target and of the log may differ and still be the same: targets tell whole seconds.
const granularity = time.Second

// missedPolls is after how many polls that did not come a consumer is gone.
const missedPolls = 3

// quiet is after how long a consumer that declared nothing, of an object for which nobody declared anything, is called silent.
const quiet = time.Hour

// Judge decides, from what is given alone. Doubt answers no.
func Judge(q *Question) Verdict {
	v := Verdict{Whole: q.Whole}
	rows := make(map[Consumer][]*Holding)
	var target *Target
	for _, h := range q.Holdings {
		c := Consumer{Principal: h.Principal, Instance: h.Instance}
		switch {
		case c == Consumer{}:
			if h.Version == q.Old {
				target = h.Target
			}
		case h.Version != "": // a sealed copy of all versions uses none
			rows[c] = append(rows[c], h)
		}
	}
	for _, h := range q.Holdings {
		c := Consumer{Principal: h.Principal, Instance: h.Instance}
		if h.Version != q.Old || c == (Consumer{}) || !h.Delivered() {
			continue
		}
		o := Holder{Holding: *h}
		o.State, o.Reason = q.consumer(h, rows[c], target)
		o.near = q.near(h, rows[c], target)
		v.Holders = append(v.Holders, o)
		if o.State != Moved && o.State != Gone {
			v.WaitingFor = append(v.WaitingFor, o)
		}
	}
	sortHolders(v.Holders)
	sortHolders(v.WaitingFor)
	v.Reason = q.waits(&v, target)
	v.Safe = v.Reason == ""
	if v.Safe {
		v.Reason = fmt.Sprintf("all of the %d consumers of the version have moved or are gone", len(v.Holders))
	}
	return v
}

// waits says what stands against the end of the old version; "" for nothing.
func (q *Question) waits(v *Verdict, t *Target) string {
	if q.Old == "" || q.New == "" || q.Old == q.New || q.Since.IsZero() || q.Now.Before(q.Since) {
		return "no other version has taken the place of this one"
	}
	if n := len(v.WaitingFor); n > 0 {
		return fmt.Sprintf("%s not proved to have left the version, the first being %s: %s", count(n, "consumer has", "consumers have"),
			v.WaitingFor[0].name(), v.WaitingFor[0].Reason)
	}
	if until := q.Since.Add(q.Grace); q.Now.Before(until) {
		return "the grace after the promotion lasts until " + instant(until)
	}
	if until := q.Whole.Add(q.Grace); q.Whole.After(q.Since) && q.Now.Before(until) {
		return "a power loss may have taken records of deliveries, so the grace began again and lasts until " + instant(until)
	}
	return q.targetWaits(t)
}

// targetWaits says what the target has against it. A target that was looked at counts, also when nobody asked for it.
func (q *Question) targetWaits(t *Target) string {
	switch {
	case t == nil && q.Observed:
		return "the target has not been looked at yet"
	case t == nil:
		return ""
	case t.Open > 0:
		return fmt.Sprintf("the target shows %s of the version", count(t.Open, "session", "sessions"))
	case q.stale(t):
		return "the target was last looked at " + instant(t.Sampled) + ", which proves nothing about now"
	case t.Clean.IsZero() || t.Sampled.Sub(later(t.Clean, q.Since)) < q.Window:
		return fmt.Sprintf("the target has to show no use of the version for %s", q.Window)
	}
	return ""
}

func (q *Question) stale(t *Target) bool { return q.Now.Sub(t.Sampled) > SampleGap }

// signedIn reports whether the last look at the target showed a session of the consumer.
func (t *Target) signedIn(old *Holding) bool {
	return t != nil && t.Open > 0 && !old.Seen.IsZero() && !old.Seen.Before(t.Sampled)
}

// near is 0 for a consumer that is signed in with the old version, 1 for one that took no newer one, 2 for one that did.
func (q *Question) near(old *Holding, all []*Holding, t *Target) int {
	switch {
	case t.signedIn(old):
		return 0
	case len(q.newer(old, all)) == 0:
		return 1
	}
	return 2
}

// consumer judges one consumer by its row of the old version and by all of its rows.
func (q *Question) consumer(old *Holding, all []*Holding, t *Target) (State, string) {
	if t.signedIn(old) {
		if old.Login.IsZero() {
			return Live, "the target shows a session of it"
		}
		return Live, "the target shows a session of it that signed in at " + instant(old.Login)
	}
	if vouched := old.Cleared; !vouched.IsZero() && vouched.After(old.Last) && !old.Seen.After(vouched) {
		return Gone, fmt.Sprintf("cleared at %s by %s: %s", instant(vouched), old.By, old.Why)
	}
	newer := q.newer(old, all)
	if !old.Weak {
		if reason := q.moved(old, newer, all); reason != "" {
			return Moved, reason
		}
	}
	heard, poll := heard(all)
	if !old.Weak && poll > 0 {
		if after := later(heard, q.Up).Add(missedPolls*poll + Coarse); q.Now.After(after) && q.Now.After(later(old.Seen, old.Login).Add(missedPolls*poll+granularity)) {
			return Gone, fmt.Sprintf("it declared to poll every %s and was last heard of at %s", poll, instant(heard))
		}
	}
	if until, ok := q.shownGone(old, t); ok {
		return Gone, fmt.Sprintf("the target has shown no session of the version until %s, longer than a connection lives", instant(until))
	}
	return q.remaining(old, newer, heard, poll)
}

// newer lists the consumer's rows of New and of what was delivered since the promotion, the one that it took last first.
func (q *Question) newer(old *Holding, all []*Holding) (list []*Holding) {
	for _, h := range all {
		if h.Version != q.Old && !h.First.IsZero() && (h.Version == q.New || !q.Since.IsZero() && !h.First.Before(q.Since)) {
			list = append(list, h)
		}
	}
	slices.SortFunc(list, func(a, b *Holding) int { return b.First.Compare(a.First) })
	return list
}

// moved says how a consumer proved that it left the old version; "" when it did not.
func (q *Question) moved(old *Holding, newer, all []*Holding) string {
	for _, h := range newer {
		if h.Used.After(old.Last) && !old.Login.After(h.Used.Add(granularity)) {
			return fmt.Sprintf("it acknowledged at %s that it uses version %s", instant(h.Used), h.Version)
		}
	}
	_, poll := heard(all)
	if poll = max(poll, q.Poll); poll <= 0 || q.MaxConnectionLife <= 0 {
		return ""
	}
	for _, h := range newer {
		read := h.First
		if !read.After(old.Last) {
			read = h.Last // it read the two in turns; when it began to read this one alone is not known
		}
		until := later(read, old.Login.Add(granularity)).Add(poll + q.MaxConnectionLife)
		if read.After(old.Last) && !q.Now.Before(until) {
			return fmt.Sprintf("it has read version %s, and what it had from before has outlived its longest time at %s", h.Version, instant(until))
		}
	}
	return ""
}

// shownGone reports whether the target has shown no use of the version for longer than whoever read it last could hide.
func (q *Question) shownGone(old *Holding, t *Target) (time.Time, bool) {
	if t == nil || t.Clean.IsZero() || q.stale(t) || q.MaxConnectionLife <= 0 {
		return time.Time{}, false
	}
	from := later(later(t.Clean, old.Seen), q.Since)
	if !old.Last.IsZero() {
		from = later(from, old.Last.Add(Coarse))
	}
	return t.Sampled, t.Sampled.Sub(from) >= max(q.MaxConnectionLife, q.Window)+granularity
}

// heard is when the consumer was last heard of, and how often it said that it polls.
func heard(all []*Holding) (at time.Time, poll time.Duration) {
	var said time.Time
	for _, h := range all {
		at = later(later(at, h.heard), later(h.Last, later(h.Loaded, h.Used)))
		if h.PollAt.After(said) {
			said, poll = h.PollAt, h.Poll
		}
	}
	return at, poll
}

// remaining tells a consumer that was heard of lately from one that was not, and says what would settle it.
func (q *Question) remaining(old *Holding, list []*Holding, heard time.Time, poll time.Duration) (State, string) {
	var newer *Holding
	if len(list) > 0 {
		newer = list[0]
	}
	awake := quiet
	if p := max(poll, q.Poll); p > 0 {
		awake = missedPolls*p + Coarse
	}
	last := "it read the version last at " + instant(old.Last)
	if old.Principal == "" {
		last = "somebody whom the ledger does not know used the version at " + instant(old.Seen)
	}
	if newer != nil && newer.Last.After(old.Last) {
		last = fmt.Sprintf("it read version %s at %s", newer.Version, instant(newer.Last))
	}
	switch {
	case old.Weak && newer != nil:
		last += ", but several processes may stand behind its address"
	case newer != nil && !newer.Loaded.IsZero() && !newer.Used.After(old.Last):
		last += ", which it has loaded and not acknowledged as used"
	case newer != nil:
		last += " and has not acknowledged its use"
	}
	if q.Now.Sub(later(heard, old.Seen)) <= awake {
		return Live, last
	}
	return Silent, last + "; nothing proves that it is gone: that takes an acknowledgement, evidence from the target, or somebody who clears it"
}

// name names the consumer for people.
func (h *Holder) name() string {
	if h.Principal == "" {
		return "somebody at " + strings.TrimPrefix(h.Instance, byAddress)
	}
	return string(h.Principal) + " " + h.Instance
}

func instant(t time.Time) string { return t.UTC().Format(time.RFC3339) }

func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprint(n, " ", many)
}

// sortHolders puts those first that are waited for, of them those that break for sure, and then the ones last heard of.
func sortHolders(list []Holder) {
	rank := map[State]int{Live: 0, Silent: 1, Moved: 2, Gone: 3}
	slices.SortStableFunc(list, func(a, b Holder) int {
		if d := cmp.Or(rank[a.State]-rank[b.State], a.near-b.near); d != 0 {
			return d
		}
		return later(b.Last, b.Seen).Compare(later(a.Last, a.Seen))
	})
}
