package ledger

import (
	"hash/maphash"
	"net/netip"
	"slices"
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

func keyOf(k *store.HoldingKey) groupKey {
	return groupKey{k.Vault, k.Kind, k.NameKey, k.Principal, k.Instance}
}

func (k *groupKey) row(v vault.VersionID) store.HoldingKey {
	return store.HoldingKey{Vault: k.vault, Kind: k.kind, NameKey: k.name, Version: v, Principal: k.principal, Instance: k.instance}
}

// objectKey names an object.
type objectKey struct {
	vault vault.ID
	kind  vault.Kind
	name  string
}

func (k *groupKey) object() objectKey { return objectKey{k.vault, k.kind, k.name} }

// memory is what is remembered of consumers. The groups of which something is queued stand as they are, of the others as many as there is room for in
// a compact form: between two reads of a consumer nearly all are.
type memory struct {
	groups  map[groupKey]*group
	settled *settled
}

func newMemory() memory { return memory{groups: make(map[groupKey]*group), settled: newSettled()} }

// pairs counts the versions that are held, each by each of its consumers.
func (m *memory) pairs() int {
	n := m.settled.pairs
	for _, g := range m.groups {
		n += len(g.held)
	}
	return n
}

// open returns a group as it is; nil when there is none.
func (m *memory) open(k *groupKey) *group {
	if g := m.groups[*k]; g != nil {
		return g
	}
	g := m.settled.unpack(k)
	if g != nil {
		m.groups[*k] = g
	}
	return g
}

// settle puts a group of which nothing is queued any more into its compact form, if it has one.
func (m *memory) settle(k *groupKey, g *group) {
	if m.groups[*k] == g && m.settled.pack(k, g) {
		delete(m.groups, *k)
	}
}

// again notes that a version was delivered once more. It reports false when the store has to hear of it.
func (m *memory) again(k *groupKey, v vault.VersionID, at time.Time) bool {
	if g := m.groups[*k]; g != nil {
		return g.again(v, at)
	}
	r, versions, _ := m.settled.find(k)
	i := r.version(versions, v)
	if i < 0 {
		return false
	}
	last, rough := r.last(i)
	now := at.UnixMicro()
	if behind := now - (last - rough); !r.agrees(i) || behind >= Coarse.Microseconds() {
		return m.open(k).again(v, at)
	}
	r.setAgain(true)
	if now > last {
		r.setLast(i, now, now-(last-rough))
	}
	return true
}

// disagree notes that a consumer did something besides reading a version again.
func (m *memory) disagree(k *groupKey) {
	if g := m.groups[*k]; g != nil {
		g.changes++
		return
	}
	r, _, _ := m.settled.find(k)
	r.disagree()
}

// last returns when a version was last delivered to a consumer, and when any of the object was; zero instants when that is not remembered.
func (m *memory) last(k *groupKey, v vault.VersionID) (last, heard time.Time) {
	if g := m.groups[*k]; g != nil {
		for i := range g.held {
			heard = later(heard, g.held[i].last)
			if g.held[i].version == v {
				last = g.held[i].last
			}
		}
		return last, heard
	}
	r, versions, _ := m.settled.find(k)
	is := r.version(versions, v)
	for i := range r.held() {
		at, _ := r.last(i)
		heard = later(heard, time.UnixMicro(at).UTC())
		if i == is {
			last = time.UnixMicro(at).UTC()
		}
	}
	return last, heard
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
	// way is that of the delivery by which the row was last written whole.
	way    uint32
	queued *change
}

// change is a row with facts that the store does not have.
type change struct {
	facts   Holding
	refused bool
	// known says that the store has the row already, touch that it lacks nothing but the last delivery.
	known, touch bool
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

// wholeEvery is how often a row of which only the last delivery moves is written whole all the same. What is then older than that moves along: when the
// consumer came from its address. Only another node can have written another address meanwhile, and it stands for so long at most.
const wholeEvery = time.Hour

// way sums up by which way a version was delivered: the address, the door, and the time in steps of wholeEvery, which begin at another moment for each
// row. Two that are the same by chance leave an older address in the row for that long, and no delivery out.
func (l *Ledger) way(f *Holding) uint32 {
	via := ""
	if len(f.Via) > 0 {
		via = f.Via[0] // a delivery has one
	}
	seed := l.memory.settled.seed
	phase := maphash.Comparable(seed, f.HoldingKey) % uint64(wholeEvery/time.Second)
	return uint32(maphash.Comparable(seed, struct {
		address, via string
		step         uint64
	}{f.Address, via, (uint64(f.Last.Unix()) + phase) / uint64(wholeEvery/time.Second)}))
}

// queue adds facts to what the next transaction stores.
func (l *Ledger) queue(key groupKey, s *said) {
	f := &s.facts
	c := l.queued[f.HoldingKey]
	fresh := c == nil
	if fresh {
		c = &change{facts: *f, refused: s.refused}
		l.add(c)
	} else {
		c.facts.join(f)
		c.refused, c.touch = c.refused && s.refused, false
	}
	if f.Last.IsZero() || s.refused { // no delivery
		l.memory.disagree(&key)
		return
	}
	g := l.memory.open(&key)
	if g == nil {
		g = &group{}
		l.memory.groups[key] = g
	}
	c.of = g
	way := l.way(f)
	for i := range g.held {
		if h := &g.held[i]; h.version == f.Version {
			there := !h.stored.IsZero()
			c.known = c.known || there
			c.touch = fresh && there && h.changes == g.changes && h.way == way
			h.last = later(h.last, f.Last)
			h.queued, h.changes, h.way = c, g.changes, way
			return
		}
	}
	g.changes++
	if len(g.held) == maxHeld {
		g.evict()
	}
	g.held = append(g.held, held{version: f.Version, last: f.Last, changes: g.changes, queued: c, way: way})
}

func (l *Ledger) add(c *change) {
	l.queued[c.facts.HoldingKey] = c
	l.pending = append(l.pending, c)
	if len(l.pending) == 1 {
		l.since = l.Clock.Now()
	}
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
// come once; when more than half would stay, it forgets of them too. What the store has only roughly of those that go is queued first, as much as the
// queue takes: the others go the next time. The caller holds mu, and nothing is queued.
func (l *Ledger) shrink() {
	l.addresses, l.resources = make(map[netip.Addr]string), make(map[principal.ID]string)
	l.leave(func(used bool) bool { return !used })
	q := l.memory.settled
	if most := l.MaxConsumers / 2; l.memory.pairs() > most {
		others := l.memory.pairs() - q.pairs
		l.leave(func(bool) bool { return others+q.pairs > most })
	}
	if q.texts.full() {
		q.renew(func(k groupKey, g *group) { l.memory.groups[k] = g })
	}
}

// leave forgets groups of which nothing is queued; goes is asked by whether they were used, and those that stay are not used any more.
func (l *Ledger) leave(goes func(used bool) bool) {
	m := &l.memory
	for k, g := range m.groups {
		if g.queued() {
			continue
		}
		if goes(g.used) && l.queueLeft(&k, g) {
			delete(m.groups, k)
		}
		g.used = false
	}
	m.settled.each(func(r record) bool {
		switch {
		case !goes(r.again()):
		case !r.rough():
			k, _ := m.settled.key(r)
			m.settled.drop(&k)
			return true
		case len(l.pending) < rowsQueued:
			k, g := m.settled.open(r)
			l.queueLeft(&k, g)
			m.settled.drop(&k)
			return true
		}
		r.setAgain(false)
		return true
	})
}

// queueLeft queues what the store has only roughly of a group that is to be forgotten. It reports false when there is no room.
func (l *Ledger) queueLeft(k *groupKey, g *group) bool {
	if g.rough() && len(l.pending) >= rowsQueued {
		return false
	}
	l.queueGroup(k, g)
	for i := range g.held {
		if c := g.held[i].queued; c != nil {
			c.of = nil
		}
	}
	return true
}

// queued reports whether something of the group waits for the store.
func (g *group) queued() bool {
	return slices.ContainsFunc(g.held, func(h held) bool { return h.queued != nil })
}

// rough reports whether the store has a last delivery only roughly.
func (g *group) rough() bool {
	return slices.ContainsFunc(g.held, func(h held) bool { return h.queued == nil && h.last.After(h.stored) })
}

// queueGroup queues the last deliveries of a group that are exact in memory alone.
func (l *Ledger) queueGroup(k *groupKey, g *group) {
	for i := range g.held {
		h := &g.held[i]
		if h.queued != nil || !h.last.After(h.stored) {
			continue
		}
		f := Holding{}
		f.HoldingKey, f.First, f.Last = k.row(h.version), h.last, h.last
		h.queued, h.changes = &change{facts: f, of: g, known: true, touch: true}, g.changes
		l.add(h.queued)
	}
}

// queueRough queues the last deliveries that are exact in memory alone, of the objects that are asked for; nil stands for all. It reports false when the
// queue did not take them all. The caller holds mu.
func (l *Ledger) queueRough(of []objectKey) (all bool) {
	m := &l.memory
	for k, g := range m.groups {
		if of != nil && !slices.Contains(of, k.object()) || !g.rough() {
			continue
		}
		if len(l.pending) >= rowsQueued {
			return false
		}
		l.queueGroup(&k, g)
	}
	hashes := make(map[uint32]bool, len(of))
	for _, o := range of {
		hashes[m.settled.object(o)] = true
	}
	all = true
	m.settled.each(func(r record) bool {
		if of != nil && !hashes[r.object()] || !r.rough() {
			return true
		}
		k, g := m.settled.open(r)
		if of != nil && !slices.Contains(of, k.object()) {
			return true
		}
		if all = len(l.pending) < rowsQueued; all {
			m.settled.drop(&k)
			m.groups[k] = g
			l.queueGroup(&k, g)
		}
		return all
	})
	return all
}
