package ledger

import (
	"fmt"
	"math"
	"runtime"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// remembering makes a ledger that has a memory and a queue alone.
func remembering(most int) *Ledger {
	l := &Ledger{Config: Config{MaxConsumers: most, Clock: clock.NewManual(t0)}, queued: make(map[store.HoldingKey]*change)}
	l.forget()
	return l
}

// deliver takes in a delivery as a record of a read is taken in.
func (l *Ledger) deliver(k groupKey, v vault.VersionID, at time.Time, address string) (told bool) {
	if l.memory.again(&k, v, at) {
		return false
	}
	var s said
	s.facts.HoldingKey, s.facts.First, s.facts.Last = k.row(v), at, at
	s.facts.Via, s.facts.Address, s.facts.AddressAt = []string{"azure"}, address, at
	l.queue(k, &s)
	return true
}

func nth(i int) groupKey {
	return groupKey{vault: "v", kind: vault.Secret, name: fmt.Sprintf("secret-%05d", i), principal: "11111111-1111-4111-8111-111111111111", instance: fmt.Sprint("pod-", i%500)}
}

// TestWhoComesAgainIsRemembered fills the memory with consumers of which some read again, and makes room.
func TestWhoComesAgainIsRemembered(t *testing.T) {
	const all = 40
	for _, c := range []struct{ again, stay int }{{0, 0}, {10, 10}, {all, all / 2}} {
		l := remembering(all)
		for i := range all {
			l.deliver(nth(i), v1, t0, "")
		}
		l.stored(l.pending)
		for i := range c.again {
			if l.deliver(nth(i), v1, t0.Add(time.Second), "") {
				t.Fatal("a version that is read again is told to the store")
			}
		}
		l.shrink()
		if n := l.memory.pairs(); n != c.stay {
			t.Errorf("of %d consumers, of which %d came again, %d are remembered: want %d", all, c.again, n, c.stay)
		}
		// What the store has only roughly of those that go is written, and nothing else.
		if want := c.again - c.stay; len(l.pending) != want {
			t.Errorf("with %d that came again, %d rows are queued: want %d", c.again, len(l.pending), want)
		}
		for i := range all {
			k := nth(i)
			if last, _ := l.memory.last(&k, v1); c.stay < all/2 && last.IsZero() != (i >= c.stay) {
				t.Errorf("consumer %d was last heard of at %v", i, last)
			}
		}
		l.stored(l.pending)
		if l.shrink(); l.memory.pairs() != 0 {
			t.Error("who did not come again since is still remembered")
		}
	}
}

// TestWhoIsWrittenAnewIsRemembered: a consumer that reads again so late that the store hears of it has come again too.
func TestWhoIsWrittenAnewIsRemembered(t *testing.T) {
	l := remembering(4)
	for i, told := range []bool{true, true, true} {
		if l.deliver(nth(i/2), v1, t0.Add(time.Duration(i)*Coarse), "") != told {
			t.Errorf("delivery %d: told is %t", i, !told)
		}
		l.stored(l.pending)
	}
	l.deliver(nth(0), v1, t0.Add(2*Coarse), "")
	l.stored(l.pending)
	l.shrink()
	k := nth(0)
	if last, _ := l.memory.last(&k, v1); l.memory.pairs() != 1 || !last.Equal(t0.Add(2*Coarse)) {
		t.Errorf("%d are remembered, the one that came again as of %v", l.memory.pairs(), last)
	}
}

// TestRoomIsMadeInPortions: of many that the store has only roughly no more are queued than the queue takes.
func TestRoomIsMadeInPortions(t *testing.T) {
	const all = 2*rowsQueued + 100
	l := remembering(10)
	for i := range all {
		l.deliver(nth(i), v1, t0, "")
	}
	l.stored(l.pending)
	for i := range all {
		l.deliver(nth(i), v1, t0.Add(time.Second), "")
	}
	for want := all; want > 0; {
		l.shrink()
		if want = max(0, want-rowsQueued); l.memory.pairs() != want || len(l.pending) > rowsQueued {
			t.Fatalf("%d are remembered and %d queued, want %d", l.memory.pairs(), len(l.pending), want)
		}
		l.stored(l.pending)
	}
}

// TestTextsThatDoNotRepeat: a dictionary that is full keeps nobody from being remembered, and is made anew with the room.
func TestTextsThatDoNotRepeat(t *testing.T) {
	const all = maxTexts + 1000
	l := remembering(all)
	key := func(i int) groupKey {
		k := nth(i)
		k.instance = fmt.Sprint("pod-", i)
		return k
	}
	for i := range all {
		l.deliver(key(i), v1, t0, "")
	}
	l.stored(l.pending)
	for i := range all {
		if l.deliver(key(i), v1, t0.Add(time.Second), "") && i > 0 {
			t.Fatalf("consumer %d is not remembered", i)
		}
	}
	l.stored(l.pending)
	if l.shrink(); l.memory.settled.texts.full() || l.memory.pairs() == 0 {
		t.Errorf("%d are remembered by %d texts", l.memory.pairs(), len(l.memory.settled.texts.texts))
	}
	l.stored(l.pending)
	for i := range all {
		k := key(i)
		if last, _ := l.memory.last(&k, v1); !last.IsZero() && !last.Equal(t0.Add(time.Second)) {
			t.Fatalf("consumer %d was last heard of at %v", i, last)
		}
	}
	// A record that is longer than any slot has no compact form.
	long := nth(0)
	long.instance = fmt.Sprintf("%05000d", 1)
	for i := range 3 {
		if told := l.deliver(long, v1, t0.Add(time.Duration(i)*time.Second), ""); told != (i == 0) {
			t.Errorf("delivery %d of a consumer with a long name: told is %t", i, told)
		}
		l.stored(l.pending)
	}
}

// simple is the memory as one would write it without regard to its size: the rows in truth, as the store has them, and as of which change.
type simple struct {
	pairs   map[store.HoldingKey]*simplePair
	changes map[groupKey]int
	truth   map[store.HoldingKey]time.Time
	store   map[store.HoldingKey]time.Time
}

type simplePair struct {
	last, stored time.Time
	changes      int
	queued       *change
	// way and whole are those of the delivery by which the row was last written whole.
	way   uint32
	whole time.Time
}

// TestMemory drives the memory beside a simple model of it, with hashes that collide and a dictionary that is soon full.
func TestMemory(t *testing.T) { rapid.Check(t, checkMemory) }

func checkMemory(t *rapid.T) {
	l := remembering(1 << 20)
	l.memory.settled.bits = rapid.SampledFrom([]uint32{1, 7, math.MaxUint32}).Draw(t, "bits of the hash")
	if rapid.Bool().Draw(t, "a full dictionary") {
		for i := range maxTexts - 3 {
			l.memory.settled.texts.append(nil, fmt.Sprint("text ", i))
		}
	}
	m := &simple{pairs: map[store.HoldingKey]*simplePair{}, changes: map[groupKey]int{}, truth: map[store.HoldingKey]time.Time{}, store: map[store.HoldingKey]time.Time{}}
	versions := []vault.VersionID{v1, v1, v1, v2, v3, "A0000000000000000000000000000001", "short", ""}
	consumers := []groupKey{{"v", vault.Secret, "n", "p", "i"}, {"w", vault.Secret, "n", "p", "i"}, {"v", vault.Secret, "00000000000000000000000000000001", "p", "i"},
		{"v", vault.Secret, "0000000000000000000000000000000F", "p", "@10.0.0.1"}, {"v", vault.Secret, "", "p", "j"}}
	now := t0
	consumer := func() groupKey { return rapid.SampledFrom(consumers).Draw(t, "consumer") }
	commit := func(rows []*change) {
		for _, c := range rows {
			if !c.facts.Last.IsZero() {
				m.store[c.facts.HoldingKey] = later(m.store[c.facts.HoldingKey], c.facts.Last)
			}
			if p := m.pairs[c.facts.HoldingKey]; p != nil && p.queued == c {
				p.queued, p.stored = nil, later(p.stored, c.facts.Last)
			}
		}
		l.stored(rows)
	}
	rough := func(of func(groupKey) bool) (n int) {
		for k, p := range m.pairs {
			if of(keyOf(&k)) && p.queued == nil && p.last.After(p.stored) {
				p.queued, p.changes = l.queued[k], m.changes[keyOf(&k)]
				n++
			}
		}
		return n
	}
	deliver := func(k groupKey, v vault.VersionID) {
		now = now.Add(rapid.SampledFrom([]time.Duration{time.Microsecond, time.Second, 20 * time.Second, Coarse - 1000, Coarse, 40 * time.Minute}).Draw(t, "time"))
		at := now.Add(-rapid.SampledFrom([]time.Duration{0, 0, 0, time.Second, 2 * Coarse}).Draw(t, "late"))
		address := rapid.SampledFrom([]string{"10.0.0.1", "10.0.0.2"}).Draw(t, "address")
		row := k.row(v)
		m.truth[row] = later(m.truth[row], at)
		way := l.way(&Holding{Holding: store.Holding{HoldingKey: row, Last: at}, More: More{Address: address, Via: []string{"azure"}}})
		p, tell, touch := m.pairs[row], true, false
		if p != nil {
			p.last = later(p.last, at)
			if p.queued != nil {
				p.changes, tell = m.changes[k], false
			} else {
				same := p.changes == m.changes[k]
				tell = !same || at.Sub(p.stored) >= Coarse
				touch = same && p.way == way && l.queued[row] == nil
			}
		}
		if told := l.deliver(k, v, at, address); told != tell {
			t.Fatalf("the store is told of the delivery: %t, want %t", told, tell)
		}
		if !tell {
			return
		}
		if p == nil {
			m.changes[k]++
			p = &simplePair{last: at}
			m.pairs[row] = p
		}
		c := l.queued[row]
		if c == nil || c.touch != touch || touch && at.Sub(p.whole) > wholeEvery {
			t.Fatalf("queued is %+v, want a touch: %t, and it was written whole at %v", c, touch, p.whole)
		}
		p.queued, p.changes, p.way = c, m.changes[k], way
		if !touch {
			p.whole = at
		}
	}
	k, v := consumers[0], v1
	t.Repeat(map[string]func(*rapid.T){
		"deliver": func(t *rapid.T) {
			k, v = consumer(), rapid.SampledFrom(versions).Draw(t, "version")
			deliver(k, v)
		},
		"deliver again":      func(*rapid.T) { deliver(k, v) },
		"deliver once more":  func(*rapid.T) { deliver(k, v) },
		"deliver and commit": func(*rapid.T) { deliver(k, v); commit(l.pending) },
		"acknowledge": func(t *rapid.T) {
			k := rapid.SampledFrom([]groupKey{k, consumer()}).Draw(t, "whose")
			now = now.Add(time.Second)
			var s said
			s.facts.HoldingKey, s.facts.Loaded = k.row(v1), now
			l.queue(k, &s)
			m.changes[k]++
			if c := l.queued[k.row(v1)]; c.touch {
				t.Fatal("a row that was acknowledged is only touched")
			}
		},
		"commit":     func(*rapid.T) { commit(l.pending) },
		"commit one": func(*rapid.T) { commit(l.pending[:min(1, len(l.pending))]) },
		"rough": func(t *rapid.T) {
			asked := consumer()
			o := asked.object()
			was := len(l.pending)
			if all := l.queueRough([]objectKey{o}); !all {
				t.Fatal("the queue is full")
			}
			if want := rough(func(k groupKey) bool { return k.object() == o }); len(l.pending)-was != want {
				t.Fatalf("%d rows are queued, want %d", len(l.pending)-was, want)
			}
		},
		"shrink": func(t *rapid.T) {
			commit(l.pending)
			l.MaxConsumers = rapid.IntRange(0, 60).Draw(t, "room")
			l.shrink()
			if n := l.memory.pairs(); n > l.MaxConsumers/2 {
				t.Fatalf("%d are remembered, want %d at most", n, l.MaxConsumers/2)
			}
			for row, p := range m.pairs {
				k := keyOf(&row)
				if last, _ := l.memory.last(&k, row.Version); !last.IsZero() {
					continue
				}
				if c := l.queued[row]; p.last.After(p.stored) != (c != nil) || c != nil && !c.facts.Last.Equal(p.last) {
					t.Fatalf("%v was forgotten, the store has it as of %v, in truth %v, and queued is %v", row, p.stored, p.last, c)
				}
				delete(m.pairs, row)
			}
			commit(l.pending)
		},
		"renew": func(*rapid.T) {
			l.memory.settled.renew(func(k groupKey, g *group) { l.memory.groups[k] = g })
		},
		"": func(t *rapid.T) {
			pairs := 0
			for row, p := range m.pairs {
				pairs++
				k := keyOf(&row)
				heard := time.Time{}
				for other, o := range m.pairs {
					if keyOf(&other) == k {
						heard = later(heard, o.last)
					}
				}
				if last, at := l.memory.last(&k, row.Version); !last.Equal(p.last) || !at.Equal(heard) {
					t.Fatalf("%v: last is %v, want %v; heard of at %v, want %v", row, last, p.last, at, heard)
				}
			}
			if got := l.memory.pairs(); got != pairs {
				t.Fatalf("%d pairs are remembered, want %d", got, pairs)
			}
			for row, truth := range m.truth {
				k := keyOf(&row)
				last, _ := l.memory.last(&k, row.Version)
				if c := l.queued[row]; c != nil {
					last = later(last, c.facts.Last)
				}
				if last = later(last, m.store[row]); !last.Equal(truth) {
					t.Fatalf("%v: nobody knows more than %v, in truth it was delivered at %v", row, last, truth)
				}
			}
		},
	})
}

// BenchmarkMemory is what a delivery that is known already costs, and how many bytes a pair takes.
func BenchmarkMemory(b *testing.B) {
	const pairs = 200_000
	heap := func() uint64 {
		var s runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&s)
		return s.HeapAlloc
	}
	keys := make([]groupKey, pairs)
	for i := range keys {
		keys[i] = nth(i)
	}
	before := heap()
	l := remembering(1 << 18)
	for i, k := range keys {
		l.deliver(k, vault.VersionID(fmt.Sprintf("%032x", i)), t0, "10.0.0.1")
		if len(l.pending) == rowsQueued {
			l.stored(l.pending)
			l.pending = nil
		}
	}
	l.stored(l.pending)
	l.pending, l.queued, l.memory.groups = nil, nil, nil // whose size is that of the queue
	bytes := float64(heap()-before) / pairs
	versions := make([]vault.VersionID, pairs)
	for i := range versions {
		versions[i] = vault.VersionID(fmt.Sprintf("%032x", i))
	}
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		n := i * 7919 % pairs
		if !l.memory.again(&keys[n], versions[n], t0.Add(time.Second)) {
			b.Fatal("it is not known")
		}
	}
	b.ReportMetric(bytes, "B/pair")
	runtime.KeepAlive(l)
}
