package object

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

func sealed(name string, version vault.VersionID, bytes int) *Record {
	r, err := newRecord(vault.Secret, &vault.Vault{}, &vault.Object{Name: name, Current: version},
		&vault.Version{ID: version, Value: vault.Envelope{Ciphertext: make([]byte, bytes)}})
	if err != nil {
		panic(err) // there is no rollout to decode
	}
	return r
}

// read has a record read so often that it is there as it is served.
func (c *cache) read(k cacheKey, r *Record) {
	for range 4 {
		if got, ticket := c.get(k, r.Version.ID, ""); got == nil {
			c.put(k, r, ticket)
		}
	}
}

// served is the current version as readers get it, or none.
func (c *cache) served(k cacheKey) vault.VersionID {
	if r, _ := c.get(k, "", ""); r != nil {
		return r.Version.ID
	}
	return ""
}

// held counts the bytes of what is cached, by looking at all of it.
func (c *cache) held(t *testing.T) (bytes int64, records int) {
	for i := range c.shards {
		s := &c.shards[i]
		var n int64
		for _, v := range s.objects {
			n += hintBytes
			for r := range v.all {
				n += r.size()
				records++
			}
		}
		if n != s.bytes {
			t.Errorf("shard %d holds %d bytes and counts %d", i, n, s.bytes)
		}
		if n > s.max {
			t.Errorf("shard %d holds %d bytes: %d at most", i, n, s.max)
		}
		bytes += n
	}
	return bytes, records
}

func TestCacheStaysWithinItsBytes(t *testing.T) {
	c := newCache(1<<20, 0)
	for i := range 5000 {
		k := cacheKey{"v", fmt.Sprint("n", i%1500)}
		c.read(k, sealed(k.name, vault.VersionID(fmt.Sprint(i%3)), i%700))
		if i%500 == 0 {
			c.held(t)
		}
	}
	if bytes, n := c.held(t); bytes < 1<<19 || n < 300 {
		t.Errorf("the cache holds %d bytes in %d records: it should be full", bytes, n)
	}
	_, ticket := c.get(cacheKey{"v", "huge"}, "", "")
	c.put(cacheKey{"v", "huge"}, sealed("huge", "1", 1<<20), ticket)
	if r, _ := c.get(cacheKey{"v", "huge"}, "", ""); r != nil {
		t.Error("a record that is larger than a shard is kept")
	}
	c.dropVault("other")
	if _, n := c.held(t); n == 0 {
		t.Error("another vault's change dropped everything")
	}
	c.dropVault("v")
	if bytes, n := c.held(t); bytes != 0 || n != 0 {
		t.Errorf("after dropping the vault %d bytes in %d records are left", bytes, n)
	}
}

func TestRecordsReadBeforeADropAreNotKept(t *testing.T) {
	c := newCache(1<<20, 0)
	k := cacheKey{"v", "a"}
	for name, drop := range map[string]func(){"object": func() { c.committed("op", k) }, "vault": func() { c.dropVault("v") }, "all": func() { c.dropVault("") }} {
		_, ticket := c.get(k, "", "")
		drop()
		c.put(k, sealed("a", "1", 1), ticket)
		if r, _ := c.get(k, "", ""); r != nil {
			t.Errorf("%s: a record from before the drop is served", name)
		}
	}
}

func TestCacheFindsByVersionAndCurrent(t *testing.T) {
	c := newCache(1<<20, 0)
	k := cacheKey{"v", "a"}
	old := sealed("a", "1", 1)
	old.Object = &vault.Object{Name: "a", Current: "2"}
	current := sealed("a", "2", 1)
	for _, r := range []*Record{old, current} {
		_, ticket := c.get(k, "", "")
		c.put(k, r, ticket)
	}
	for _, tt := range []struct {
		id    vault.VersionID
		label vault.Label
		want  *Record
	}{{"", "", current}, {"", vault.Current, current}, {"1", "", old}, {"2", "", current}, {"3", "", nil}, {"", vault.Previous, nil}} {
		if got, _ := c.get(k, tt.id, tt.label); got != tt.want {
			t.Errorf("%+v: got %+v", tt, got)
		}
	}
}

func TestHintsOutliveDropsAndAreBounded(t *testing.T) {
	c := newCache(1<<20, 0)
	k := cacheKey{"v", "a"}
	r := sealed("a", "1", 1)
	r.Object.ID = "o"
	_, ticket := c.get(k, "", "")
	c.put(k, r, ticket)
	c.committed("op", k)
	if got, _ := c.get(k, "", ""); got != nil || hint(c, k) != "o" {
		t.Errorf("after a drop: record %v, hint %q", got, hint(c, k))
	}
	c.setHint(k, "")
	if hint(c, k) != "" || hint(c, cacheKey{"v", "b"}) != "" {
		t.Error("a hint that was forgotten is there")
	}
	for i := range 20_000 {
		c.setHint(cacheKey{"v", fmt.Sprint(i)}, "o")
	}
	if bytes, _ := c.held(t); bytes < 1<<19 {
		t.Errorf("hints take %d bytes: they should fill the cache", bytes)
	}
	_, ticket = c.get(k, "", "")
	c.put(k, r, ticket)
	if got, _ := c.get(k, "", ""); got != r {
		t.Error("a record finds no room beside hints")
	}
	c.held(t)
}

func TestCommitsPutWhatTheyAnnounced(t *testing.T) {
	c := newCache(1<<20, 0)
	k := cacheKey{"v", "a"}
	old, first, second := sealed("a", "1", 1), sealed("a", "2", 1), sealed("a", "3", 1)
	_, before := c.get(k, "", "")
	c.announce("first", k, first)
	c.put(k, old, before)
	if c.served(k) != "1" {
		t.Error("what is announced is served before its commit")
	}
	c.announce("second", k, sealed("a", "9", 1))
	c.announce("second", k, second) // the transaction ran again
	c.committed("first", k)
	if c.served(k) != "2" {
		t.Error("the announced record is not served after its commit")
	}
	if got, _ := c.get(k, "1", ""); got != nil {
		t.Error("a record from before the commit is served")
	}
	c.put(k, old, before)
	if c.served(k) != "2" {
		t.Error("a record that was read before the commit took the place of the committed one")
	}
	c.committed("second", cacheKey{"v", "b"})
	if c.served(cacheKey{"v", "b"}) != "" {
		t.Error("a record is served under a name that it was not announced for")
	}
	c.committed("second", k)
	if c.served(k) != "3" {
		t.Error("the record that was announced last is not served")
	}
	c.committed("other", k)
	if c.served(k) != "" {
		t.Error("a commit that announced nothing kept the record")
	}
	c.withdraw("second")
	c.committed("second", k)
	if c.served(k) != "" {
		t.Error("a withdrawn record is served")
	}
	c.held(t)
}

// What was read since the last sweep outlives what was not.
func TestSweepsKeepWhatIsRead(t *testing.T) {
	s := &shard{objects: make(map[cacheKey]*versions), max: 1 << 20}
	for i := range 100 {
		k := cacheKey{"v", fmt.Sprint(strings.Repeat("x", 3), i)}
		r := sealed(k.name, "1", 0)
		r.used.Store(i < 10)
		s.objects[k] = &versions{current: r}
		s.bytes += r.size() + hintBytes
	}
	s.sweep(s.bytes/2, nil)
	for i := range 10 {
		if s.objects[cacheKey{"v", fmt.Sprint("xxx", i)}] == nil {
			t.Errorf("record %d was read and is gone", i)
		}
	}
	if len(s.objects) > 50 {
		t.Errorf("%d of 100 records are left", len(s.objects))
	}
}

// What a reader got of the store must not be followed by what was before: a node reads the store, and is shown the commits that led there only later.
func TestCacheNeverGoesBack(t *testing.T) {
	at := func(revision int64, version vault.VersionID) *Record {
		r := sealed("a", version, 10)
		r.object.ID, r.object.Revision = "o", revision
		return r
	}
	k := cacheKey{"v", "a"}
	t.Run("concurrent loads", func(t *testing.T) {
		c := newCache(1<<20, 0)
		ticket := c.ticket(k)
		c.put(k, at(5, "5"), ticket)
		c.put(k, at(4, "4"), ticket)
		if got := c.served(k); got != "5" {
			t.Errorf("the current version is %q, want 5", got)
		}
	})
	t.Run("own write behind another's", func(t *testing.T) {
		c := newCache(1<<20, 0)
		c.put(k, at(3, "3"), c.ticket(k))
		c.announce("op4", k, at(4, "4"))
		c.put(k, at(5, "5"), c.ticket(k)) // read before either commit was shown
		c.committed("op4", k)
		if got := c.served(k); got != "" {
			t.Errorf("the current version is %q after 5 was read", got)
		}
		c.committed("op5", k)
		c.put(k, at(5, "5"), c.ticket(k))
		if got := c.served(k); got != "5" {
			t.Errorf("the current version is %q, want 5", got)
		}
	})
	t.Run("own write behind another's that was read once", func(t *testing.T) {
		c := newCache(1<<20, 0)
		c.announce("op4", k, at(4, "4"))
		c.put(k, at(5, "5"), c.ticket(k)) // nothing was known before
		c.committed("op4", k)
		if got := c.served(k); got != "" {
			t.Errorf("the current version is %q after 5 was read", got)
		}
	})
	t.Run("own write behind others' that were read once", func(t *testing.T) {
		c := newCache(1<<20, 0)
		c.announce("op4", k, at(4, "4"))
		c.put(k, at(5, "5"), c.ticket(k))
		c.committed("op3", k)
		c.committed("op4", k)
		if got := c.served(k); got != "" {
			t.Errorf("the current version is %q after 5 was read", got)
		}
	})
	t.Run("a load that could not be kept", func(t *testing.T) {
		c := newCache(1<<20, 0)
		c.put(k, at(3, "3"), c.ticket(k))
		late := c.ticket(k)
		c.committed("op4", k)
		c.put(k, at(5, "5"), late)
		c.put(k, at(4, "4"), c.ticket(k))
		if got := c.served(k); got != "" {
			t.Errorf("the current version is %q after 5 was read", got)
		}
	})
	t.Run("a load that could not be kept, behind one that was", func(t *testing.T) {
		c := newCache(1<<20, 0)
		c.put(k, at(3, "3"), c.ticket(k))
		late := c.ticket(k)
		c.committed("op4", k)
		c.put(k, at(4, "4"), c.ticket(k))
		c.put(k, at(5, "5"), late)
		if got := c.served(k); got != "" {
			t.Errorf("the current version is %q after 5 was read", got)
		}
	})
	t.Run("another object of the name", func(t *testing.T) {
		c := newCache(1<<20, 0)
		c.put(k, at(9, "9"), c.ticket(k))
		next := at(1, "1")
		next.object.ID = "p"
		c.put(k, next, c.ticket(k))
		if got := c.served(k); got != "1" {
			t.Errorf("the current version is %q, want 1", got)
		}
	})
}

// Whoever reads after a commit gets what it left, or something newer, wherever the cache has it: here everything comes and goes all the time.
func TestReadersNeverGetWhatWasBeforeACommit(t *testing.T) {
	const objects, readers, reads = 400, 4, 10_000
	c := newCache(64*3000, 0)
	at := func(n int, revision int64) *Record {
		r := sealed(fmt.Sprint("n", n), vault.VersionID(fmt.Sprint(revision)), 50)
		r.object.ID, r.object.Revision = vault.ObjectID(fmt.Sprint("o", n)), revision
		return r
	}
	var stored, acknowledged [objects]atomic.Int64
	var readersLeft atomic.Int64
	readersLeft.Store(readers)
	var group sync.WaitGroup
	group.Go(func() {
		for op := 0; readersLeft.Load() > 0; op++ {
			n, id := rand.IntN(objects), store.OpID(fmt.Sprint(op))
			k, next := cacheKey{"v", fmt.Sprint("n", n)}, stored[n].Load()+1
			if op%2 == 0 {
				c.announce(id, k, at(n, next))
			}
			stored[n].Store(next)
			c.committed(id, k)
			c.withdraw(id)
			acknowledged[n].Store(next)
			if op%1000 == 0 {
				c.dropVault("v")
			}
			runtime.Gosched()
		}
	})
	var packed atomic.Int64
	for range readers {
		group.Go(func() {
			defer readersLeft.Add(-1)
			for range reads {
				n := int(objects * rand.Float64() * rand.Float64())
				k, before := cacheKey{"v", fmt.Sprint("n", n)}, acknowledged[n].Load()
				r, ticket := c.get(k, "", "")
				if r == nil {
					found := at(n, stored[n].Load())
					runtime.Gosched() // others commit
					c.put(k, found, ticket)
					continue
				}
				if r.Object.Revision < before || r.Object.Name != k.name {
					t.Errorf("%s is read in revision %d after %d was acknowledged", r.Object.Name, r.Object.Revision, before)
					return
				}
				if !r.warm.Load() {
					packed.Add(1)
				}
				before = acknowledged[n].Load()
				if _, o := c.known(k); o != nil && o.Revision < before {
					t.Errorf("revision %d of %s is known after %d was acknowledged", o.Revision, k.name, before)
					return
				}
			}
		})
	}
	group.Wait()
	if packed.Load() < reads/10 {
		t.Errorf("of %d reads %d found what has no opener yet: the test should have more of them", readers*reads, packed.Load())
	}
	c.held(t)
}

// What is read again gets an opener, for which there has to be room: the cache stays within its bytes although its records grow.
func TestRecordsThatAreReadAgainTakeMore(t *testing.T) {
	c := newCache(1<<20, 0)
	k := cacheKey{"v", "a"}
	r := sealed("a", "1", 1)
	c.announce("op", k, r)
	c.committed("op", k)
	cold, _ := c.held(t)
	for range 2 {
		if got, _ := c.get(k, "", ""); got != r || !r.warm.Load() {
			t.Fatalf("got %v, warm %t", got, r.warm.Load())
		}
	}
	if warm, _ := c.held(t); warm < cold+1000 {
		t.Errorf("a record takes %d bytes at first and %d when it is read again", cold, warm)
	}
	for i := range 5000 {
		k := cacheKey{"v", fmt.Sprint("n", i%1500)}
		c.read(k, sealed(k.name, "1", 100))
		if i%500 == 0 {
			c.held(t)
		}
	}
	c.held(t)
	c.shard(k).warm(cacheKey{"v", "nobody"}, sealed("nobody", "1", 1)) // dropped meanwhile
	c.held(t)
	c.dropVault("v")
	if bytes, n := c.held(t); bytes != 0 || n != 0 {
		t.Errorf("after dropping the vault %d bytes in %d records are left", bytes, n)
	}
}

func hint(c *cache, k cacheKey) vault.ObjectID {
	id, _ := c.known(k)
	return id
}
