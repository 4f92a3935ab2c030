package nodes_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
)

// bound is how far reads of one node may be behind what another acknowledged.
const bound = time.Second

// register is a secret: input is what a write stores, or "" for a read, whose output is what it got.
type registerInput struct {
	write bool
	value string
}

var register = porcupine.Model{
	Init: func() any { return "" },
	Step: func(state, input, output any) (bool, any) {
		in := input.(registerInput)
		if in.write {
			return true, in.value
		}
		return output.(string) == state.(string), state
	},
}

// history is what happened to one secret.
type history struct {
	mu  sync.Mutex
	ops []porcupine.Operation
}

func (h *history) add(client int, in registerInput, out string, began, ended time.Time, begin time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ops = append(h.ops, porcupine.Operation{ClientId: client, Input: in, Output: out, Call: int64(began.Sub(begin)), Return: int64(ended.Sub(begin))})
}

// TestNodes is what three nodes promise while all is well.
func TestNodes(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3)
	c.with("Linearizable", linearizable)
	c.with("Monotonic", monotonic)
	c.with("Withdrawals", withdrawals)
}

// linearizable has clients write and read the same secrets at three nodes. Each secret is linearizable when a read counts from a second before it began,
// which is the staleness that is promised; and no client sees one go back at a node.
func linearizable(c *cluster) {
	t := c.T
	token := c.nodes[0].admin(c.vaultResource())
	const secrets, clients = 4, 9
	histories := make([]*history, secrets)
	begin := time.Now()
	for i := range histories {
		histories[i] = &history{}
		began := time.Now()
		must(t, c.nodes[0].set(t.Context(), token, secretName(i), "0-0"))
		histories[i].add(clients+1, registerInput{true, "0-0"}, "", began, time.Now(), begin)
	}
	var reads, writes, late atomic.Int64
	end := time.Now().Add(lasts(t, 2*time.Second))
	enough := func() bool { return reads.Load() >= 100 && writes.Load() >= 10 }
	// A slow machine takes longer for what proves something.
	going := func() bool { return time.Now().Before(end) || !enough() && time.Now().Before(end.Add(time.Minute)) }
	var all sync.WaitGroup
	for id := range clients {
		all.Go(func() {
			n := c.nodes[id%len(c.nodes)]
			for count := 1; going() && !t.Failed(); count++ {
				i := rand.N(secrets)
				h := histories[i]
				// A few writes among many reads: what a history costs to check grows with the writes that overlap.
				if rand.N(8) == 0 {
					value := fmt.Sprint(id+1, "-", count)
					began := time.Now()
					var ended time.Time
					switch err := n.set(context.WithoutCancel(t.Context()), token, secretName(i), value); {
					case errors.Is(err, errLate):
						late.Add(1)
						ended = began.Add(time.Hour) // it may be made at any time, or never
					case err != nil:
						t.Error(err)
						return
					default:
						ended = time.Now()
						writes.Add(1)
					}
					h.add(id, registerInput{true, value}, "", began, ended, begin)
					continue
				}
				began := time.Now()
				a, err := n.get(t.Context(), token, secretName(i))
				if err == nil && a.status == http.StatusServiceUnavailable {
					late.Add(1) // the machine is so busy that the node is behind: it may refuse, but not be wrong
					continue
				}
				if err != nil || a.status != http.StatusOK {
					t.Errorf("reading at %s: %d %s %v", n.address, a.status, a.code, err)
					return
				}
				h.add(id, registerInput{}, a.value, began.Add(-bound), time.Now(), begin)
				reads.Add(1)
			}
		})
	}
	all.Wait()
	for i, h := range histories {
		if result := porcupine.CheckOperationsTimeout(register, h.ops, time.Minute); result != porcupine.Ok {
			t.Errorf("the history of %s, of %d operations, is %s", secretName(i), len(h.ops), result)
		}
	}
	t.Logf("%d reads and %d writes of %d secrets; %d were refused for now", reads.Load(), writes.Load(), secrets, late.Load())
	if !enough() {
		t.Error("these are too few to prove anything")
	}
}

func secretName(i int) string { return "secret-" + strconv.Itoa(i) }

// monotonic has one client count up at a node, and others read at all nodes: nobody sees the count go back at a node, before what was acknowledged a
// second ago, or ahead of what was written.
func monotonic(c *cluster) {
	t := c.T
	token := c.nodes[0].admin(c.vaultResource())
	ctx := t.Context()
	must(t, c.nodes[0].set(ctx, token, "count", "0"))
	var begun atomic.Int64
	var mu sync.Mutex
	acknowledged := []time.Time{time.Now()} // by count
	end := time.Now().Add(lasts(t, 1500*time.Millisecond))
	var all sync.WaitGroup
	all.Go(func() {
		for n := int64(1); time.Now().Before(end) && !t.Failed(); n++ {
			begun.Store(n)
			// Each write is made at another node.
			for {
				err := c.nodes[n%3].set(context.WithoutCancel(ctx), token, "count", strconv.FormatInt(n, 10))
				if err == nil {
					break
				}
				if !errors.Is(err, errLate) {
					t.Error(err)
					return
				}
			}
			mu.Lock()
			acknowledged = append(acknowledged, time.Now())
			mu.Unlock()
		}
	})
	var reads atomic.Int64
	for i := range 6 {
		all.Go(func() {
			n, last := c.nodes[i%3], int64(0)
			for time.Now().Before(end) && !t.Failed() {
				began := time.Now()
				a, err := n.get(ctx, token, "count")
				if err == nil && a.status == http.StatusServiceUnavailable {
					continue
				}
				if err != nil || a.status != http.StatusOK {
					t.Errorf("reading at %s: %d %s %v", n.address, a.status, a.code, err)
					return
				}
				got, err := strconv.ParseInt(a.value, 10, 64)
				if err != nil || got > begun.Load() {
					t.Errorf("%s gave %q, of %d that were begun", n.address, a.value, begun.Load())
				}
				if got < last {
					t.Errorf("%s went back from %d to %d", n.address, last, got)
				}
				mu.Lock()
				if got+1 < int64(len(acknowledged)) && began.Sub(acknowledged[got+1]) > bound {
					t.Errorf("%s gave %d, %s after %d was acknowledged", n.address, got, began.Sub(acknowledged[got+1]), got+1)
				}
				mu.Unlock()
				last = got
				reads.Add(1)
			}
		})
	}
	all.Wait()
	t.Logf("%d reads of %d counts", reads.Load(), begun.Load())
}
