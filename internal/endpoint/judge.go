package endpoint

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/keywright/keywright/internal/vault"
)

// Kind is a kind of finding.
type Kind string

// The kinds of findings.
const (
	Expired     Kind = "expired"
	NotYetValid Kind = "not-yet-valid"
	Expiring    Kind = "expiring"
	Outdated    Kind = "outdated"
	Foreign     Kind = "foreign"
	WrongName   Kind = "wrong-name"
	Incomplete  Kind = "incomplete"
	Untrusted   Kind = "untrusted"
	Unreachable Kind = "unreachable"
)

// Kinds lists them all.
var Kinds = []Kind{Expired, NotYetValid, Expiring, Outdated, Foreign, WrongName, Incomplete, Untrusted, Unreachable}

// Mismatch reports whether the kind says that another certificate is presented than the vault has.
func (k Kind) Mismatch() bool { return k == Outdated || k == Foreign }

// Level is how much an alarm matters.
type Level string

// The levels, from below: Notice is for this month, Warning for this week, Critical for today.
const (
	Notice   Level = "notice"
	Warning  Level = "warning"
	Critical Level = "critical"
)

var ranks = map[Level]int{"": 0, Notice: 1, Warning: 2, Critical: 3}

// Above reports whether the level is higher than another. No level is the lowest.
func (l Level) Above(o Level) bool { return ranks[l] > ranks[o] }

// Sight is what is known of one address.
type Sight struct {
	// Address is an address of IP with its port.
	Address string `json:"address"`
	// At is when it last presented a certificate; zero for never. The next three are from then.
	At   time.Time `json:"at,omitzero"`
	Leaf Leaf      `json:"leaf,omitzero"`
	// Version is the vault's version that the leaf is; empty for none.
	Version  vault.VersionID `json:"version,omitempty"`
	Problems []Problem       `json:"problems,omitempty"`
	// Failures counts the looks since then that showed nothing, and Error says why the last one did not.
	Failures int    `json:"failures,omitempty"`
	Error    string `json:"error,omitempty"`
}

// Seen reports whether the address ever presented a certificate.
func (s *Sight) Seen() bool { return s.Leaf.SHA256 != "" }

// Alarm is a finding that lasts, or, while Raised is zero, one of which nobody has to hear yet.
type Alarm struct {
	Kind  Kind  `json:"kind"`
	Level Level `json:"level"`
	// Stage is how many marks of its life the oldest certificate of these addresses has passed.
	Stage int `json:"stage,omitempty"`
	// Since is when it was found first, Raised when it became an alarm, Told when somebody was last told of it.
	Since  time.Time `json:"since"`
	Raised time.Time `json:"raised,omitzero"`
	Told   time.Time `json:"told,omitzero"`
	// Detail is a sentence for people, Addresses are where it is so.
	Detail    string   `json:"detail"`
	Addresses []string `json:"addresses,omitempty"`
}

// marks are what is left of a certificate's life when an alarm rises: so many days, or that share of the whole life if it is less. For a certificate of 90 days
// both are about the same.
var marks = []struct {
	left  time.Duration
	share time.Duration
}{{30 * day, 3}, {14 * day, 6}, {7 * day, 12}, {3 * day, 30}, {day, 90}}

const day = 24 * time.Hour

// stage counts the marks that a certificate has passed.
func stage(l *Leaf, now time.Time) (n int) {
	left, life := l.NotAfter.Sub(now), l.NotAfter.Sub(l.NotBefore)
	for _, m := range marks {
		if left <= min(m.left, life/m.share) {
			n++
		}
	}
	return n
}

// level is that of a countdown at a stage.
func level(stage int) Level {
	switch {
	case stage <= 1:
		return Notice
	case stage <= 3:
		return Warning
	}
	return Critical
}

// Patience: after how many looks in vain an address is an alarm, and how long after its date a renewal may come.
const (
	triesBeforeAlarm = 3
	renewalSlack     = day
)

// tellEvery is how often an alarm that stands is told again.
const tellEvery = day

// findings are collected by kind while an endpoint is judged.
type findings map[Kind]*Alarm

func (f findings) add(k Kind, l Level, stage int, address, detail string) {
	a := f[k]
	if a == nil {
		a = &Alarm{Kind: k, Level: l, Stage: stage, Detail: detail}
		f[k] = a
	}
	if address != "" {
		a.Addresses = append(a.Addresses, address)
	}
	if stage > a.Stage || l.Above(a.Level) {
		a.Detail = detail
	}
	a.Stage = max(a.Stage, stage)
	if l.Above(a.Level) {
		a.Level = l
	}
}

// judge returns the alarms of an endpoint, worst first: what was found now, with the history of the alarms before.
func judge(e *Endpoint, want *expected, now time.Time) []Alarm {
	f := findings{}
	for i := range e.Sights {
		f.sight(&e.Sights[i], want, now)
	}
	if e.Lookups > 0 {
		f.add(Unreachable, Warning, 0, "", e.LookupError)
	}
	var list []Alarm
	for _, a := range f {
		if i := slices.IndexFunc(e.Alarms, func(b Alarm) bool { return b.Kind == a.Kind }); i >= 0 {
			a.Since, a.Raised, a.Told = e.Alarms[i].Since, e.Alarms[i].Raised, e.Alarms[i].Told
		} else {
			a.Since = now
		}
		if a.Raised.IsZero() && e.lasts(a, now) {
			a.Raised = now
		}
		list = append(list, *a)
	}
	slices.SortFunc(list, func(a, b Alarm) int {
		return cmp.Or(cmp.Compare(ranks[b.Level], ranks[a.Level]), cmp.Compare(slices.Index(Kinds, a.Kind), slices.Index(Kinds, b.Kind)))
	})
	return list
}

// lasts reports whether a finding is one of which somebody has to hear.
func (e *Endpoint) lasts(a *Alarm, now time.Time) bool {
	switch a.Kind {
	case Outdated:
		return now.Sub(a.Since) >= e.Grace || a.Stage > 1
	case Unreachable:
		return e.Lookups >= triesBeforeAlarm || slices.ContainsFunc(e.Sights, func(s Sight) bool { return s.Failures >= triesBeforeAlarm })
	}
	return true
}

func (f findings) sight(s *Sight, want *expected, now time.Time) {
	if s.Failures > 0 {
		f.add(Unreachable, Warning, 0, s.Address, s.Error)
	}
	if !s.Seen() {
		return
	}
	n := stage(&s.Leaf, now)
	over := now.After(s.Leaf.NotAfter)
	switch {
	case over:
		f.add(Expired, Critical, n, s.Address, "the certificate that is presented has expired at "+s.Leaf.NotAfter.Format(time.RFC3339))
	case now.Before(s.Leaf.NotBefore):
		f.add(NotYetValid, Critical, n, s.Address, "the certificate that is presented is valid from "+s.Leaf.NotBefore.Format(time.RFC3339)+" on")
	}
	switch {
	case want.current != "" && s.Version == "":
		l := level(n)
		if !l.Above(Warning) {
			l = Warning
		}
		f.add(Foreign, l, n, s.Address, fmt.Sprintf("a certificate is presented that the vault does not know: serial number %s by %s", s.Leaf.Serial, s.Leaf.Issuer))
	case want.current != "" && s.Version != want.current:
		f.add(Outdated, level(n), n, s.Address, fmt.Sprintf("the certificate was made anew, and the one before is still presented: it ends at %s", s.Leaf.NotAfter.Format(time.RFC3339)))
	case n > 0 && !over && !want.renews(s.Version, now):
		f.add(Expiring, level(n), n, s.Address, "the certificate that is presented ends at "+s.Leaf.NotAfter.Format(time.RFC3339))
	}
	for _, p := range s.Problems {
		l := Critical
		if p.Kind == Incomplete {
			l = Warning
		}
		f.add(p.Kind, l, 0, s.Address, p.Detail)
	}
}

// renews reports whether the version will be made anew by its policy, in time and by itself.
func (e *expected) renews(v vault.VersionID, now time.Time) bool {
	return v != "" && v == e.current && !e.renewAt.IsZero() && now.Before(e.renewAt.Add(renewalSlack))
}

// Oldest returns the sight whose certificate ends first of all that are still presented; nil when none was seen.
func (e *Endpoint) Oldest() (oldest *Sight) {
	for i := range e.Sights {
		if s := &e.Sights[i]; s.Seen() && (oldest == nil || s.Leaf.NotAfter.Before(oldest.Leaf.NotAfter)) {
			oldest = s
		}
	}
	return oldest
}

// Level is that of the worst alarm that was raised; empty while all is well.
func (e *Endpoint) Level() (worst Level) {
	for _, a := range e.Alarms {
		if !a.Raised.IsZero() && a.Level.Above(worst) {
			worst = a.Level
		}
	}
	return worst
}

// Raised returns the alarms of which somebody has to hear.
func (e *Endpoint) Raised() (list []Alarm) {
	for _, a := range e.Alarms {
		if !a.Raised.IsZero() {
			list = append(list, a)
		}
	}
	return list
}

// news says what is to be told after a look: that there is an alarm which is new or has risen, one that was not told for a day, or that none is left.
func news(before, after []Alarm, now time.Time) (risen, again, clear bool) {
	was, is := false, false
	for _, b := range before {
		was = was || !b.Raised.IsZero()
	}
	for _, a := range after {
		if a.Raised.IsZero() {
			continue
		}
		is = true
		i := slices.IndexFunc(before, func(b Alarm) bool { return b.Kind == a.Kind && !b.Told.IsZero() })
		switch {
		case i < 0, a.Level.Above(before[i].Level), a.Stage > before[i].Stage:
			risen = true
		case now.Sub(a.Told) >= tellEvery:
			again = true
		}
	}
	return risen, again, was && !is
}

// told notes of alarms that somebody is told of them now.
func told(list []Alarm, now time.Time) {
	for i := range list {
		if !list[i].Raised.IsZero() {
			list[i].Told = now
		}
	}
}

// summary is one line for people about the alarms that were raised.
func (e *Endpoint) summary() string {
	var list []string
	for _, a := range e.Raised() {
		list = append(list, string(a.Kind)+": "+a.Detail)
	}
	return strings.Join(list, "\n")
}
