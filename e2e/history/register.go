package history

import (
	"sync"
	"time"

	"github.com/anishathalye/porcupine"
)

// Register is the history of one value, which is empty at first. No two writes have the same value. Its methods may be called from several goroutines.
type Register struct {
	mu  sync.Mutex
	ops []operation
}

type operation struct {
	client       int
	write        bool
	value        string
	began, ended time.Time // a write without an end is one whose outcome nobody knows
}

// Wrote records a write that was acknowledged.
func (r *Register) Wrote(client int, value string, began, ended time.Time) {
	r.add(operation{client, true, value, began, ended})
}

// MayHaveWritten records a write that was neither acknowledged nor refused.
func (r *Register) MayHaveWritten(client int, value string, began time.Time) {
	r.add(operation{client, true, value, began, time.Time{}})
}

// Read records a read.
func (r *Register) Read(client int, value string, began, ended time.Time) {
	r.add(operation{client, false, value, began, ended})
}

func (r *Register) add(o operation) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ops = append(r.ops, o)
}

// Len is how many operations were recorded.
func (r *Register) Len() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.ops)
}

// input of the model's operations; the output of a read is what it got.
type input struct {
	write bool
	value string
}

var model = porcupine.Model{
	Init: func() any { return "" },
	Step: func(state, in, out any) (bool, any) {
		if i := in.(input); i.write {
			return true, i.value
		}
		return out.(string) == state.(string), state
	},
}

// Check says whether the history is linearizable, with reads that count from a staleness before they began. Where the search takes longer than the limit, the intervals
// decide in which each value has to have been there.
func (r *Register) Check(staleness, limit time.Duration) porcupine.CheckResult {
	list := r.operations(staleness)
	result := porcupine.CheckOperationsTimeout(model, list, limit)
	if result == porcupine.Unknown {
		return zones(list)
	}
	return result
}

// operations are those that matter. Of the reads of one value these are two: the one that ended first, by when it had been written, and the one that began last, when it was
// still there.
func (r *Register) operations(staleness time.Duration) (list []porcupine.Operation) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.ops) == 0 {
		return nil
	}
	begin := r.ops[0].began
	since := func(t time.Time) int64 { return int64(t.Sub(begin)) }
	first, last := make(map[string]operation), make(map[string]operation)
	for _, o := range r.ops {
		if o.write {
			continue
		}
		if f, ok := first[o.value]; !ok || o.ended.Before(f.ended) {
			first[o.value] = o
		}
		if l, ok := last[o.value]; !ok || o.began.After(l.began) {
			last[o.value] = o
		}
	}
	for value := range first {
		for _, o := range []operation{first[value], last[value]} {
			list = append(list, porcupine.Operation{ClientId: o.client, Input: input{false, value}, Output: value, Call: since(o.began) - int64(staleness), Return: since(o.ended)})
		}
	}
	for _, o := range r.ops {
		if !o.write {
			continue
		}
		p := porcupine.Operation{ClientId: o.client, Input: input{true, o.value}, Output: "", Call: since(o.began), Return: since(o.ended)}
		if o.ended.IsZero() {
			// Nobody can tell a write that was never read from one that was never made. One that was read had been made by then, if it was not read before it began.
			f, read := first[o.value]
			if !read {
				continue
			}
			p.Return = max(since(f.ended), p.Call)
		}
		list = append(list, p)
	}
	return list
}
