package admission

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// model is a line with what it is to be compared with: who runs, and who waits in the order of coming.
type model struct {
	t       *rapid.T
	line    *line
	now     time.Time
	runs    []*Pass
	waits   []*Pass
	tenants []string
}

// settle moves those that the line let in or dropped, and looks at every promise of the line.
func (m *model) settle(before map[string]int, came *Pass) {
	l := m.line
	m.waits = slices.DeleteFunc(m.waits, func(p *Pass) bool {
		if p.in {
			m.runs = append(m.runs, p)
		}
		return p.in || p.place == nil
	})
	running, waiting := map[*flow]int{}, map[*flow]int{}
	for _, p := range m.runs {
		running[p.flow]++
	}
	for _, p := range m.waits {
		waiting[p.flow]++
	}
	if l.running != len(m.runs) || l.waiting != len(m.waits) {
		m.t.Fatalf("the line counts %d and %d, but %d run and %d wait", l.running, l.waiting, len(m.runs), len(m.waits))
	}
	if l.waiting > l.mostWaiting {
		m.t.Fatalf("%d wait: %d at most", l.waiting, l.mostWaiting)
	}
	if l.running < l.limit && l.waiting > 0 {
		m.t.Fatalf("%d of %d run while %d wait", l.running, l.limit, l.waiting)
	}
	for name, f := range l.flows {
		switch {
		case f.tenant != name || f.running != running[f] || f.waiting.Len() != waiting[f]:
			m.t.Fatalf("tenant %s is counted as %d and %d: %d run and %d wait", name, f.running, f.waiting.Len(), running[f], waiting[f])
		case f.running == 0 && f.waiting.Len() == 0:
			m.t.Fatalf("tenant %s is kept without a request", name)
		case f.running == 0 && l.running < 2*l.limit:
			m.t.Fatalf("tenant %s has nothing running while %d of %d run", name, l.running, l.limit)
		case (f.index >= 0) != (f.waiting.Len() > 0) || f.index >= 0 && l.ready[f.index] != f:
			m.t.Fatalf("tenant %s is at the wrong place among those that wait", name)
		}
	}
	// Whoever was let in did not pass a tenant that waits and has fewer running: one place more would still not be more than that one has, but for the
	// one that left.
	for _, p := range m.runs {
		was, ok := before[p.flow.tenant]
		if !ok || p == came || p.flow.running <= was {
			continue
		}
		for _, f := range l.ready {
			if f.running < p.flow.running-1 {
				m.t.Fatalf("tenant %s has %d running and was let in before %s with %d", p.flow.tenant, p.flow.running, f.tenant, f.running)
			}
		}
	}
}

func (m *model) counts() map[string]int {
	c := map[string]int{}
	for name, f := range m.line.flows {
		c[name] = f.running
	}
	return c
}

func (m *model) enter(t *rapid.T) {
	tenant := rapid.SampledFrom(m.tenants).Draw(t, "tenant")
	before, full := m.counts(), m.line.waiting == m.line.mostWaiting
	p := &Pass{}
	m.line.enter(p, tenant, m.now)
	if p.in {
		if full && m.line.running > 2*m.line.limit {
			t.Fatal("let in beyond twice the limit")
		}
		m.runs = append(m.runs, p)
	} else {
		m.waits = append(m.waits, p)
	}
	m.settle(before, p)
}

func (m *model) leave(t *rapid.T) {
	if len(m.runs) == 0 {
		t.Skip("nobody runs")
	}
	i := rapid.IntRange(0, len(m.runs)-1).Draw(t, "who")
	p, before := m.runs[i], m.counts()
	m.runs = slices.Delete(m.runs, i, i+1)
	m.line.leave(p, m.now)
	before[p.flow.tenant]--
	m.settle(before, nil)
}

func (m *model) abandon(t *rapid.T) {
	if len(m.waits) == 0 {
		t.Skip("nobody waits")
	}
	before := m.counts()
	m.line.abandon(rapid.SampledFrom(m.waits).Draw(t, "who"))
	m.settle(before, nil)
}

func (m *model) limit(t *rapid.T) {
	before := m.counts()
	m.line.setLimit(rapid.IntRange(1, 12).Draw(t, "limit"), m.now)
	m.settle(before, nil)
}

func (m *model) pass(t *rapid.T) {
	m.now = m.now.Add(time.Duration(rapid.IntRange(0, 300).Draw(t, "ms")) * time.Millisecond)
}

func TestLine(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &model{t: t, line: newLine(rapid.IntRange(1, 8).Draw(t, "limit"), rapid.IntRange(1, 20).Draw(t, "waiting")), now: noon}
		for i := range rapid.IntRange(1, 5).Draw(t, "tenants") {
			m.tenants = append(m.tenants, fmt.Sprint("t", i))
		}
		t.Repeat(map[string]func(*rapid.T){"enter": m.enter, "enter too": m.enter, "leave": m.leave, "abandon": m.abandon, "limit": m.limit, "time": m.pass})
		for len(m.runs)+len(m.waits) > 0 { // everybody gets through
			before := m.counts()
			if len(m.runs) == 0 {
				t.Fatal("nobody runs while somebody waits")
			}
			p := m.runs[0]
			m.runs = m.runs[1:]
			m.line.leave(p, m.now)
			before[p.flow.tenant]--
			m.settle(before, nil)
		}
		if len(m.line.flows)+len(m.line.ready) > 0 {
			t.Fatalf("at the end %d tenants are kept", len(m.line.flows))
		}
	})
}

// A tenant that floods the line gets what the others leave, and no more.
func TestFloodLeavesTheOthersTheirPart(t *testing.T) {
	l := newLine(8, 1000)
	for range 500 {
		l.enter(&Pass{}, "flood", noon)
	}
	if l.running != 8 {
		t.Errorf("%d run: a tenant alone gets every place", l.running)
	}
	modest := &Pass{}
	if l.enter(modest, "modest", noon); !modest.in {
		t.Error("the first request of a tenant waits behind a flood")
	}
	var runs, waits []*Pass
	for range 20 {
		p := &Pass{}
		if l.enter(p, "busy", noon); p.in {
			runs = append(runs, p)
		} else {
			waits = append(waits, p)
		}
	}
	flood := l.flows["flood"]
	for range 100 { // requests of the flood end, one after the other, and others take their places
		l.leave(&Pass{flow: flood}, noon)
	}
	for _, p := range waits {
		if p.in {
			runs = append(runs, p)
		}
	}
	if got := len(runs); got < 3 || got > 4 || flood.running < 3 || flood.running > 4 {
		t.Errorf("of 8 places, of which another tenant has one, the flood has %d and a busy tenant %d", flood.running, got)
	}
}

func TestNewestGoesFirstWhenTheOldestIsAboutToBeRefused(t *testing.T) {
	l := newLine(1, 10)
	var p [6]Pass
	for i := range 4 {
		l.enter(&p[i], "t", noon)
	}
	l.leave(&p[0], noon.Add(standing-1))
	if !p[1].in {
		t.Error("the first to come is not the first to go")
	}
	l.leave(&p[1], noon.Add(standing))
	if !p[3].in || p[2].in {
		t.Error("behind a request that has waited for long the newest is not the first to go")
	}
	l.abandon(&p[2])
	l.enter(&p[4], "t", noon.Add(standing))
	l.enter(&p[5], "t", noon.Add(2*standing-1))
	if l.leave(&p[3], noon.Add(2*standing-1)); !p[4].in {
		t.Error("once those are gone who waited for long, the first to come is not the first to go again")
	}
}

func TestOldestOfTheLongestMakesRoom(t *testing.T) {
	l := newLine(1, 3)
	var long [4]Pass
	for i := range long {
		l.enter(&long[i], "long", noon)
	}
	l.enter(&Pass{}, "short", noon) // its first
	var second Pass
	l.enter(&second, "short", noon)
	select {
	case <-long[1].over:
	default:
		t.Fatal("the oldest that waits was not dropped")
	}
	if long[1].in || second.place == nil || l.waiting != 3 {
		t.Errorf("dropped is in: %t, the newcomer waits: %t, %d wait", long[1].in, second.place != nil, l.waiting)
	}
}
