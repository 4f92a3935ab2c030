package secret_test

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard/guardtest"
	"github.com/keywright/keywright/internal/secret"
)

// TestReadsSeeEveryAcknowledgedWrite: one writer changes a few secrets in all ways and notes, before and after each
// change, what a read may find. A read that began after a change was acknowledged, and ended before the next one began,
// finds exactly that.
func TestReadsSeeEveryAcknowledgedWrite(t *testing.T) {
	// A small cache and a small keyring, so that records and keys come and go all the time.
	w := newWorld(t, guardtest.Options{}, func(c *secret.Config) { c.CacheBytes = 64 * 3000 })
	const names = 4
	type truth struct {
		value string // of a live, enabled secret
		kind  fault.Kind
		epoch int64 // odd while a change is under way
	}
	var states [names]atomic.Pointer[truth]
	for i := range states {
		states[i].Store(&truth{kind: fault.NotFound})
	}
	stop := make(chan struct{})
	var group sync.WaitGroup
	var checked atomic.Int64
	for range 4 {
		group.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				i := rand.IntN(names)
				before := states[i].Load()
				_, value, err := w.get(named("n" + strconv.Itoa(i)))
				if before.epoch%2 == 1 || states[i].Load() != before {
					continue
				}
				checked.Add(1)
				switch {
				case before.kind == 0 && (err != nil || value != before.value):
					t.Errorf("read %q, %v; want %q", value, err, before.value)
					return
				case before.kind != 0 && !fault.Is(err, before.kind):
					t.Errorf("read %q, %v; want %v", value, err, before.kind)
					return
				}
			}
		})
	}
	var writers sync.WaitGroup
	for i := range names {
		writers.Go(func() {
			name, deleted, exists := "n"+strconv.Itoa(i), false, false
			r := rand.New(rand.NewPCG(uint64(i), 1))
			value := ""
			for n := range 20 {
				old := *states[i].Load()
				states[i].Store(&truth{epoch: old.epoch + 1})
				next := truth{epoch: old.epoch + 2}
				var err error
				switch what := r.IntN(8); {
				case deleted && what < 4:
					_, err = w.svc.Recover(w.Ctx, w.call(), name)
					deleted, next.value = false, value
				case deleted:
					err = w.svc.Purge(w.Ctx, w.call(), name)
					deleted, exists, next.kind = false, false, fault.NotFound
				case exists && what == 0:
					_, err = w.svc.Delete(w.Ctx, w.call(), name)
					deleted, next.kind = true, fault.NotFound
				case exists && what == 1:
					off := false
					_, err = w.svc.Update(w.Ctx, w.call(), named(name), secret.Change{Enabled: &off})
					next.kind = fault.Forbidden
					value = "" // recovering it would find it disabled: set it first
					if err == nil {
						disabled := next // what readers hold is not changed
						states[i].Store(&disabled)
						states[i].Store(&truth{epoch: next.epoch + 1})
						next = truth{epoch: next.epoch + 2}
						value = fmt.Sprintf("%d again", n)
						_, err = w.svc.Set(w.Ctx, w.call(), name, secret.Input{Value: []byte(value), Enabled: true})
						next.value = value
					}
				default:
					value = fmt.Sprintf("%d/%d %s", i, n, strings.Repeat("x", r.IntN(2000)))
					_, err = w.svc.Set(w.Ctx, w.call(), name, secret.Input{Value: []byte(value), Enabled: true})
					exists, next.value = true, value
				}
				if err != nil {
					t.Errorf("change %d of %s: %v", n, name, err)
				}
				states[i].Store(&next)
			}
		})
	}
	writers.Wait()
	close(stop)
	group.Wait()
	if checked.Load() < 100 {
		t.Errorf("only %d reads fell between two changes", checked.Load())
	}
}

// TestWhatWasSetIsReadFromMemory: the first read after a write does not ask the store, and finds what the store would tell.
func TestWhatWasSetIsReadFromMemory(t *testing.T) {
	w := newWorld(t, guardtest.Options{}, nil)
	other := newService(t, w, nil) // it has nothing in memory
	for i, in := range []secret.Input{
		{Value: []byte("one"), Enabled: true},
		{Value: []byte("two"), Enabled: true, ContentType: "text/plain", Tags: map[string]string{"a": "b"}, Expires: w.Clock.Now().Add(time.Hour).Truncate(time.Second)},
	} {
		if _, err := w.svc.Set(w.Ctx, w.call(), "Name", in); err != nil {
			t.Fatal(err)
		}
		before := w.svc.CacheStats()
		got, value, err := w.get(named("name"))
		if err != nil || value != string(in.Value) {
			t.Fatalf("set %d: read %q, %v", i, value, err)
		}
		if after := w.svc.CacheStats(); after.Misses != before.Misses || after.Hits != before.Hits+1 {
			t.Errorf("set %d: the read asked the store: %+v, then %+v", i, before, after)
		}
		want, _, err := other.Get(w.Ctx, w.call(), named("name"), nil)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("set %d: memory differs from the store (-store +memory):\n%s", i, diff)
		}
	}
	if _, err := w.svc.Delete(w.Ctx, w.call(), "name"); err != nil {
		t.Fatal(err)
	}
	if _, _, err := w.get(named("name")); !fault.Is(err, fault.NotFound) {
		t.Errorf("after the deletion: %v", err)
	}
}

func TestOpenersThatWentStaleAreMadeAgain(t *testing.T) {
	w := newWorld(t, guardtest.Options{}, nil)
	item := w.set("a", "one")
	w.reads(named("a"), "one")
	w.Keys.Flush()
	w.reads(named("a"), "one")
	w.Keys.Lock()
	if _, value, err := w.get(named("a")); !fault.Is(err, fault.Unavailable) || value != "" {
		t.Errorf("locked: %q, %v", value, err)
	}
	w.do(w.Keys.Unlock(w.Ctx))
	w.reads(named("a"), "one")
	if _, err := w.Keys.RotateVaultKey(w.Ctx, w.World.Vault.Tenant, w.World.Vault.ID, nil); err != nil {
		t.Fatal(err)
	}
	w.reads(named("a"), "one")
	if _, err := w.Keys.ResealVault(w.Ctx, w.World.Vault.Tenant, w.World.Vault.ID); err != nil {
		t.Fatal(err)
	}
	w.reads(secret.Selector{Name: "a", Version: item.Version.ID}, "one")
}

// TestReadsGoOnWhileKeysComeAndGo flushes the keyring all the time.
func TestReadsGoOnWhileKeysComeAndGo(t *testing.T) {
	w := newWorld(t, guardtest.Options{CachedKeys: 1}, nil)
	for i := range 5 {
		w.set(fmt.Sprint("n", i), fmt.Sprint("value-", i))
	}
	stop := make(chan struct{})
	var flusher, group sync.WaitGroup
	flusher.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				w.Keys.Flush()
			}
		}
	})
	for range 4 {
		group.Go(func() {
			for range 200 {
				i := rand.IntN(5)
				if _, value, err := w.get(named(fmt.Sprint("n", i))); err != nil || value != fmt.Sprint("value-", i) {
					t.Errorf("%q, %v", value, err)
					return
				}
			}
		})
	}
	group.Wait()
	close(stop)
	flusher.Wait()
}
