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

	"github.com/keywright/keywright/e2e/history"
)

// bound is how far reads of one node may be behind what another acknowledged.
const bound = time.Second

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
	histories := make([]history.Register, secrets)
	for i := range histories {
		began := time.Now()
		must(t, c.nodes[0].set(t.Context(), token, secretName(i), "0-0"))
		histories[i].Wrote(clients+1, "0-0", began, time.Now())
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
				h := &histories[i]
				// A few writes among many reads: what a history costs to check grows with the writes that overlap.
				if rand.N(8) == 0 {
					value := fmt.Sprint(id+1, "-", count)
					began := time.Now()
					switch err := n.set(context.WithoutCancel(t.Context()), token, secretName(i), value); {
					case errors.Is(err, errLate):
						late.Add(1)
						h.MayHaveWritten(id, value, began)
					case err != nil:
						t.Error(err)
						return
					default:
						h.Wrote(id, value, began, time.Now())
						writes.Add(1)
					}
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
				h.Read(id, a.value, began, time.Now())
				reads.Add(1)
			}
		})
	}
	all.Wait()
	for i := range histories {
		if result := histories[i].Check(bound, time.Minute); result != porcupine.Ok {
			t.Errorf("the history of %s, of %d operations, is %s", secretName(i), histories[i].Len(), result)
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
	count := history.NewCount()
	end := time.Now().Add(lasts(t, 1500*time.Millisecond))
	var all sync.WaitGroup
	all.Go(func() {
		for time.Now().Before(end) && !t.Failed() {
			n := count.Begin()
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
			count.Acknowledge()
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
				if err != nil {
					t.Errorf("%s gave %q", n.address, a.value)
				}
				if err := count.Read(got, last, began, bound); err != nil {
					t.Errorf("the count at %s: %v", n.address, err)
				}
				last = got
				reads.Add(1)
			}
		})
	}
	all.Wait()
	t.Logf("%d reads of %d counts, at most %s behind", reads.Load(), count.Acknowledged(), count.Worst())
}
