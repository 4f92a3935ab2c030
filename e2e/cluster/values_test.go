package cluster_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/keywright/keywright/e2e/history"
)

const (
	// generation is how long one secret is written: what a history costs to check grows fast with its length.
	generation = 10 * time.Second
	// searchMost is how long the order of a history is searched for.
	searchMost = time.Second
	// writePause is about what clients wait between two writes.
	writePause = 200 * time.Millisecond
)

// registers has clients at all nodes write and read one secret, and then the next.
func (r *run) registers(ctx context.Context, lane int) {
	for g := 0; ctx.Err() == nil; g++ {
		r.register(ctx, fmt.Sprintf("register-%d-%d", lane, g))
	}
}

func (r *run) register(ctx context.Context, name string) {
	ctx, cancel := context.WithTimeout(ctx, generation)
	defer cancel()
	var h history.Register
	var all sync.WaitGroup
	for i, n := range r.in.nodes {
		all.Go(func() {
			for count := 0; ctx.Err() == nil; count++ {
				r.writeRegister(ctx, &h, n, i, name, fmt.Sprint(n.name, "-", count))
				rest(ctx, rand.N(2*writePause))
			}
		})
		all.Go(func() {
			for ; ctx.Err() == nil; rest(ctx, r.pause) {
				r.readRegister(ctx, &h, n, len(r.in.nodes)+i, name)
			}
		})
	}
	all.Wait()
	judge := func(ctx context.Context) {
		if result := h.Check(bound, searchMost); result != porcupine.Ok {
			r.wrong("the history of %s, of %d operations, is %s", name, h.Len(), result)
		}
	}
	judge(context.WithoutCancel(ctx))
	r.finally(func(ctx context.Context) {
		for i, n := range r.in.nodes {
			if _, err := r.answered(ctx, n, name); err != nil {
				r.wrong("%s: reading %s at the end: %v", n.name, name, err)
			}
			r.readRegister(ctx, &h, n, i, name)
		}
		judge(ctx)
	})
}

func (r *run) writeRegister(ctx context.Context, h *history.Register, n *node, client int, name, value string) {
	began := time.Now()
	a, err := n.set(context.WithoutCancel(ctx), strict, r.token, name, value)
	switch {
	case later(a, err):
		r.figures.doubtful.Add(1)
		h.MayHaveWritten(client, value, began)
	case a.status != http.StatusOK:
		r.wrong("%s: setting %s: %d %s", n.name, name, a.status, a.code)
	default:
		h.Wrote(client, value, began, time.Now())
		r.stored(name, a, value)
	}
}

func (r *run) readRegister(ctx context.Context, h *history.Register, n *node, client int, name string) {
	began := time.Now()
	a, err := n.get(context.WithoutCancel(ctx), strict, r.token, name)
	switch {
	case later(a, err):
		r.figures.refused.Add(1)
		return
	case a.status == http.StatusNotFound:
		a.value = ""
	case a.status != http.StatusOK:
		r.wrong("%s: reading %s: %d %s", n.name, name, a.status, a.code)
		return
	}
	h.Read(client, a.value, began, time.Now())
	r.figures.reads.Add(1)
	r.reads.success()
}

// counts has one client count up, each time at another node, until a write has no clear answer, and then begin anew. Others read at all nodes.
func (r *run) counts(ctx context.Context) {
	for g := 0; ctx.Err() == nil; g++ {
		r.count(ctx, fmt.Sprint("count-", g))
	}
}

func (r *run) count(ctx context.Context, name string) {
	ctx, cancel := context.WithTimeout(ctx, generation)
	defer cancel()
	c := history.NewCount()
	var all sync.WaitGroup
	var doubtful atomic.Bool
	all.Go(func() {
		for ctx.Err() == nil {
			n, value := r.in.nodes[rand.N(len(r.in.nodes))], strconv.FormatInt(c.Begin(), 10)
			a, err := n.set(context.WithoutCancel(ctx), strict, r.token, name, value)
			if later(a, err) {
				r.figures.doubtful.Add(1)
				doubtful.Store(true)
				rest(ctx, 2*bound) // what is read now counts, too
				cancel()
				return
			}
			if a.status != http.StatusOK {
				r.wrong("%s: setting %s: %d %s", n.name, name, a.status, a.code)
				return
			}
			c.Acknowledge()
			r.stored(name, a, value)
			rest(ctx, rand.N(2*writePause/3))
		}
	})
	last := make([]int64, len(r.in.nodes))
	for i, n := range r.in.nodes {
		all.Go(func() {
			for ; ctx.Err() == nil; rest(ctx, r.pause/2) {
				r.readCount(ctx, c, n, name, &last[i])
			}
		})
	}
	all.Wait()
	r.figures.stale(c.Worst())
	r.finally(func(ctx context.Context) {
		for i, n := range r.in.nodes {
			for end := time.Now().Add(recoveryMost); !r.readCount(ctx, c, n, name, &last[i]) && time.Now().Before(end); {
				rest(ctx, 50*time.Millisecond)
			}
			if acknowledged := c.Acknowledged(); last[i] != acknowledged && (!doubtful.Load() || last[i] != acknowledged+1) {
				r.wrong("%s: %s is %d at the end, and %d was acknowledged", n.name, name, last[i], acknowledged)
			}
		}
	})
}

func (r *run) readCount(ctx context.Context, c *history.Count, n *node, name string, last *int64) (answered bool) {
	began := time.Now()
	a, err := n.get(context.WithoutCancel(ctx), strict, r.token, name)
	switch {
	case later(a, err):
		r.figures.refused.Add(1)
		return false
	case a.status == http.StatusNotFound:
		a.value = "0"
	case a.status != http.StatusOK:
		r.wrong("%s: reading %s: %d %s", n.name, name, a.status, a.code)
		return true
	}
	got, err := strconv.ParseInt(a.value, 10, 64)
	if err == nil {
		err = c.Read(got, *last, began, bound)
	}
	if err != nil {
		r.wrong("%s: %s: %v", n.name, name, err)
	}
	*last = got
	r.figures.reads.Add(1)
	r.reads.success()
	return true
}

func (f *figures) stale(d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stalest = max(f.stalest, d)
}

// available reads what nodes remember, at any node, and after a failure once more at another.
func (r *run) available(ctx context.Context) {
	for ; ctx.Err() == nil; rest(ctx, r.pause) {
		first, name := rand.N(len(r.in.nodes)), r.known[rand.N(len(r.known))]
		var why [2]string
		ok := false
		for try := 0; try < 2 && !ok; try++ {
			n := r.in.nodes[(first+try)%len(r.in.nodes)]
			a, err := n.get(context.WithoutCancel(ctx), stale, r.token, name)
			ok = err == nil && a.status == http.StatusOK && a.value == "value of "+name
			why[try] = fmt.Sprintf("%s: %v %v", n.name, failure(a, err), a.status)
		}
		if r.figures.available.Add(1); !ok {
			r.figures.unavailable.Add(1)
			r.Logf("%s [%s]: a read and its retry failed: %q", time.Now().Format("15:04:05.000"), *r.phase.Load(), why)
		}
	}
}
