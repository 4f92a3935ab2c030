package admission

import (
	"container/heap"
	"container/list"
	"time"
)

// standing is for how long the oldest of a tenant's requests has waited when the newest goes first: so long that the oldest is about to be refused. Until
// then nobody is refused who can be served in time.
const standing = DefaultPatience * 3 / 4

// line says who of a class runs and who waits. It has no clock, no goroutines and no lock.
//
// After each call, as many run as may, or nobody waits; and a tenant with a request that waits has one that runs, unless twice as many run as should.
type line struct {
	// limit is how many should run at once, mostWaiting how many may wait.
	limit, mostWaiting int
	running, waiting   int
	// peak is the most that ran at once since the last survey, admitted how many were let in since then.
	peak, admitted int
	// flows are the tenants with a request, ready those of them with one that waits: the next one first.
	flows map[string]*flow
	ready ready
	turns uint64
}

// flow is a tenant's part of a line.
type flow struct {
	tenant  string
	running int
	waiting list.List // of *Pass, in the order in which they came
	// turn is when it was this tenant's turn last, as a count; index is its place in ready, -1 when it has none.
	turn  uint64
	index int
}

// Pass is a request's place: in the line first, then among those that run.
type Pass struct {
	gate  *gate
	flow  *flow
	place *list.Element
	// since is when the wait began.
	since time.Time
	// over is closed when the wait is over, nil when there was none; in tells whether the request may run.
	over chan struct{}
	in   bool
}

func newLine(limit, mostWaiting int) *line {
	return &line{limit: limit, mostWaiting: mostWaiting, flows: make(map[string]*flow)}
}

// enter lets a request in, or has it wait; p says which. When too many wait already, the oldest of the tenant with the most waiting makes room.
func (l *line) enter(p *Pass, tenant string, now time.Time) {
	f := l.flows[tenant]
	if f == nil {
		f = &flow{tenant: tenant, index: -1}
		l.flows[tenant] = f
	}
	p.flow = f
	if l.running < l.limit || l.first(f) {
		l.admit(p)
		return
	}
	if l.waiting >= l.mostWaiting {
		l.drop(l.longest(f))
	}
	p.over, p.since = make(chan struct{}), now
	p.place = f.waiting.PushBack(p)
	l.waiting++
	l.order(f)
}

// first reports whether the tenant has nothing running and is let in for that.
func (l *line) first(f *flow) bool { return f.running == 0 && l.running < 2*l.limit }

func (l *line) admit(p *Pass) {
	l.turns++
	p.in, p.flow.turn = true, l.turns
	p.flow.running++
	l.running++
	l.admitted++
	l.peak = max(l.peak, l.running)
	l.order(p.flow)
	if p.over != nil {
		close(p.over)
	}
}

// leave ends a request that runs.
func (l *line) leave(p *Pass, now time.Time) {
	p.flow.running--
	l.running--
	l.order(p.flow)
	l.fill(now)
	l.forget(p.flow)
}

// abandon ends the wait of a request that was not let in.
func (l *line) abandon(p *Pass) {
	l.take(p)
	l.forget(p.flow)
}

// drop ends a wait for somebody else's sake.
func (l *line) drop(p *Pass) {
	l.abandon(p)
	close(p.over)
}

// setLimit changes how many should run at once.
func (l *line) setLimit(limit int, now time.Time) {
	l.limit = limit
	l.fill(now)
}

// fill lets in whoever there is room for.
func (l *line) fill(now time.Time) {
	for len(l.ready) > 0 {
		f := l.ready[0]
		if l.running >= l.limit && !l.first(f) {
			return
		}
		p := f.next(now)
		l.take(p)
		l.admit(p)
	}
}

// next is the tenant's request whose turn it is.
func (f *flow) next(now time.Time) *Pass {
	oldest := f.waiting.Front().Value.(*Pass)
	if now.Sub(oldest.since) >= standing {
		return f.waiting.Back().Value.(*Pass)
	}
	return oldest
}

// longest is the oldest request of the tenant with the most waiting. Between equals the newcomer's own gives way.
func (l *line) longest(newcomer *flow) *Pass {
	most := newcomer
	for _, f := range l.ready {
		if f.waiting.Len() > most.waiting.Len() {
			most = f
		}
	}
	return most.waiting.Front().Value.(*Pass)
}

// take removes a request from those that wait.
func (l *line) take(p *Pass) {
	p.flow.waiting.Remove(p.place)
	p.place = nil
	l.waiting--
	l.order(p.flow)
}

// order puts the tenant in its place among those that wait.
func (l *line) order(f *flow) {
	switch {
	case f.waiting.Len() == 0 && f.index >= 0:
		heap.Remove(&l.ready, f.index)
	case f.waiting.Len() > 0 && f.index < 0:
		heap.Push(&l.ready, f)
	case f.index >= 0:
		heap.Fix(&l.ready, f.index)
	}
}

// forget removes a tenant that has nothing here any more.
func (l *line) forget(f *flow) {
	if f.running == 0 && f.waiting.Len() == 0 {
		delete(l.flows, f.tenant)
	}
}

// greedy reports whether the tenant has more than an equal part of what may run.
func (l *line) greedy(f *flow) bool { return f.running*len(l.flows) > l.limit }

// ready is a heap of the tenants that wait: fewest running first, then whose turn was longest ago.
type ready []*flow

func (r ready) Len() int { return len(r) }

func (r ready) Less(i, j int) bool {
	if r[i].running != r[j].running {
		return r[i].running < r[j].running
	}
	return r[i].turn < r[j].turn
}

func (r ready) Swap(i, j int) {
	r[i], r[j] = r[j], r[i]
	r[i].index, r[j].index = i, j
}

// Push implements heap.Interface.
func (r *ready) Push(x any) {
	f := x.(*flow)
	f.index = len(*r)
	*r = append(*r, f)
}

// Pop implements heap.Interface.
func (r *ready) Pop() any {
	last := len(*r) - 1
	f := (*r)[last]
	*r, f.index = (*r)[:last], -1
	return f
}
