package ledger

import (
	"time"

	"github.com/keywright/keywright/internal/principal"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// What the projection remembers of consumers, so that reads that repeat cost no transaction.

// groupKey names a consumer and an object.
type groupKey struct {
	vault     vault.ID
	kind      vault.Kind
	name      string
	principal principal.ID
	instance  string
}

// group is what is remembered of a consumer and an object.
type group struct {
	// used says that a version was delivered again since room was made last.
	used bool
	// changes counts what the consumer did besides reading a version again.
	changes int
	held    []held
}

// held is a version that was delivered to the consumer.
type held struct {
	version vault.VersionID
	// last is exact; stored is what the store has of it, as of the group's changes.
	last, stored time.Time
	changes      int
	queued       *change
}

// change is a row with facts that the store does not have.
type change struct {
	facts   Holding
	refused bool
	// known says that the store has the row already.
	known bool
	// of is the group that remembers the row; nil when none does.
	of *group
}

// again notes that a version was delivered once more. It reports false when the store has to hear of it.
func (g *group) again(v vault.VersionID, at time.Time) bool {
	for i := range g.held {
		h := &g.held[i]
		if h.version != v {
			continue
		}
		g.used = true
		if at.After(h.last) {
			h.last = at
		}
		if h.queued != nil {
			h.queued.facts.Last = later(h.queued.facts.Last, at)
			h.changes = g.changes
			return true
		}
		return h.changes == g.changes && at.Sub(h.stored) < Coarse
	}
	return false
}

// queue adds facts to what the next transaction stores.
func (l *Ledger) queue(key groupKey, s *said) {
	f := &s.facts
	c := l.queued[f.HoldingKey]
	if c == nil {
		c = &change{facts: *f, refused: s.refused}
		l.queued[f.HoldingKey] = c
		l.pending = append(l.pending, c)
		if len(l.pending) == 1 {
			l.since = l.Clock.Now()
		}
	} else {
		c.facts.join(f)
		c.refused = c.refused && s.refused
	}
	g := l.groups[key]
	if f.Last.IsZero() || s.refused { // no delivery
		if g != nil {
			g.changes++
		}
		return
	}
	if g == nil {
		g = &group{}
		l.groups[key] = g
		l.known++
	}
	c.of = g
	for i := range g.held {
		if h := &g.held[i]; h.version == f.Version {
			c.known = c.known || !h.stored.IsZero()
			h.queued, h.changes = c, g.changes
			return
		}
	}
	g.changes++
	if len(g.held) == maxHeld {
		g.evict()
	} else {
		l.known++
	}
	g.held = append(g.held, held{version: f.Version, last: f.Last, changes: g.changes, queued: c})
}

// maxHeld bounds the versions of an object that are remembered of one consumer: few are in use at a time.
const maxHeld = 8

// evict forgets the version that was delivered longest ago. What the store lacks of it is older than what it will have of the others, and the
// next delivery of it is written at once.
func (g *group) evict() {
	oldest := 0
	for i := range g.held {
		if g.held[i].last.Before(g.held[oldest].last) {
			oldest = i
		}
	}
	if c := g.held[oldest].queued; c != nil {
		c.of = nil
	}
	g.held = append(g.held[:oldest], g.held[oldest+1:]...)
}

// shrink makes room. It forgets the consumers that read nothing again since it did so last, so that those who do are not written anew because of others that
// come once; when more than half would stay, it forgets all. What the store has only roughly of them is queued. The caller holds mu, and nothing is queued.
func (l *Ledger) shrink() {
	stay := 0
	for _, g := range l.groups {
		if g.used {
			stay += 1 + len(g.held)
		}
	}
	goes := everyGroup
	if stay <= l.MaxConsumers/2 {
		goes = func(k groupKey) bool { return !l.groups[k].used }
	}
	l.queueRough(goes)
	for _, c := range l.pending {
		c.of = nil
	}
	stayed, known := make(map[groupKey]*group), 0
	for k, g := range l.groups {
		if !goes(k) {
			stayed[k], known = g, known+1+len(g.held)
		}
	}
	l.forget()
	l.groups, l.known = stayed, known
	for _, g := range stayed {
		g.used = false
	}
}

// queueRough queues the last deliveries that are exact in memory alone, of the groups that are asked for. The caller holds mu.
func (l *Ledger) queueRough(of func(groupKey) bool) {
	for key, g := range l.groups {
		if !of(key) {
			continue
		}
		for i := range g.held {
			h := &g.held[i]
			if h.queued != nil || !h.last.After(h.stored) {
				continue
			}
			f := Holding{}
			f.HoldingKey = store.HoldingKey{Vault: key.vault, Kind: key.kind, NameKey: key.name, Version: h.version, Principal: key.principal, Instance: key.instance}
			f.First, f.Last = h.last, h.last
			c := &change{facts: f, of: g, known: true}
			h.queued, h.changes = c, g.changes
			l.queued[f.HoldingKey] = c
			l.pending = append(l.pending, c)
		}
	}
	if len(l.pending) > 0 {
		l.since = l.Clock.Now()
	}
}
