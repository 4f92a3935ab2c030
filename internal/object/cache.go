package object

import (
	"hash/maphash"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

type cacheKey struct {
	vault vault.ID
	name  string
}

// shards is a power of two, so that a hash chooses one by its low bits.
const shards = 64

// cache keeps sealed records within a bound of bytes, and packed ones that were read once, or not of late, within another: see packedPercent. Records are immutable and swapped
// whole; no lock is held across I/O. Filling it is safe against a concurrent change: see ticket and announce.
type cache struct {
	seed   maphash.Seed
	shards [shards]shard
	// announced holds what writes under way will make current: store.OpID -> announcement.
	announced sync.Map
}

// announcement is the record that one operation makes current.
type announcement struct {
	key    cacheKey
	record *Record
}

type shard struct {
	mu sync.RWMutex
	// generation counts what was dropped, so that a record read before a drop is not put behind it.
	generation uint64
	objects    map[cacheKey]*versions
	bytes, max int64
	// attic has current versions that were read once, or had to make room. Of what has an entry in objects, nothing is there.
	attic attic
	seed  maphash.Seed
	// kept is what a record takes beside itself: see Kind.
	kept int64
	// hits and misses count lookups.
	hits, misses atomic.Uint64
}

// versions holds the cached versions of one object: the current one, and others that were asked for by id.
type versions struct {
	// id is the object's. It outlives a drop, as a hint for the next write: who uses it proves it in the transaction.
	id vault.ObjectID
	// seen is the latest revision of the object that was kept or would have been: the store may be ahead of the commits that this node was shown, and
	// what a reader got from it must not be followed by what was before.
	seen    int64
	current *Record
	others  map[vault.VersionID]*Record
}

// find returns the record of a version, by its id or as the current one, or nil.
func (v *versions) find(id vault.VersionID, label vault.Label) *Record {
	switch {
	case id == "" && label != "" && label != vault.Current:
		return nil
	case id == "" || v.current != nil && v.current.Version.ID == id:
		return v.current
	}
	return v.others[id]
}

// keep adds a record and returns the one whose place it takes, or nil.
func (v *versions) keep(r *Record) (old *Record) {
	if r.Version.ID == r.Object.Current {
		old, v.current = v.current, r
		return old
	}
	if v.others == nil {
		v.others = make(map[vault.VersionID]*Record, 1)
	}
	old, v.others[r.Version.ID] = v.others[r.Version.ID], r
	return old
}

// outdated reports whether a record is of a state before one that was seen, and notes the state that was seen last.
func (v *versions) outdated(r *Record) bool {
	switch {
	case v.id != r.Object.ID:
		v.id, v.seen = r.Object.ID, r.Object.Revision
	case r.Object.Revision < v.seen:
		return true
	}
	v.seen = r.Object.Revision
	return false
}

// all visits every record.
func (v *versions) all(yield func(*Record) bool) {
	if v.current != nil && !yield(v.current) {
		return
	}
	for _, r := range v.others {
		if !yield(r) {
			return
		}
	}
}

// ticket proves at put time that nothing was dropped from the shard since get.
type ticket uint64

func newCache(maxBytes int64, kept int) *cache {
	c := &cache{seed: maphash.MakeSeed()}
	for i := range c.shards {
		s := &c.shards[i]
		s.objects = make(map[cacheKey]*versions)
		s.max, s.kept, s.seed = maxBytes/shards, int64(kept), c.seed
		s.attic.max = int(s.max * packedPercent / 100)
	}
	return c
}

func (c *cache) shard(k cacheKey) *shard {
	return &c.shards[maphash.Comparable(c.seed, k)&(shards-1)]
}

func (s *shard) hash(k cacheKey) uint64 { return maphash.Comparable(s.seed, k) }

// get returns the record, or nil and a ticket with which put may add it.
func (c *cache) get(k cacheKey, id vault.VersionID, label vault.Label) (*Record, ticket) {
	s := c.shard(k)
	s.mu.RLock()
	var r *Record
	v := s.objects[k]
	if v != nil {
		r = v.find(id, label)
	}
	t := ticket(s.generation)
	s.mu.RUnlock()
	if v == nil {
		if r := s.fetch(k, id, label); r != nil {
			s.hits.Add(1)
			return r, t
		}
	}
	if r == nil {
		s.misses.Add(1)
		return nil, t
	}
	s.hits.Add(1)
	if !r.used.Load() {
		r.used.Store(true)
		if !r.warm.Load() {
			s.warm(k, r)
		}
	}
	return r, t
}

// ticket returns one with which put may add a record that is read after it.
func (c *cache) ticket(k cacheKey) ticket {
	s := c.shard(k)
	s.mu.RLock()
	defer s.mu.RUnlock()
	return ticket(s.generation)
}

// put adds a record that was read after the ticket was drawn, unless something was dropped in between.
func (c *cache) put(k cacheKey, r *Record, t ticket) {
	s := c.shard(k)
	s.mu.Lock()
	defer s.mu.Unlock()
	fresh := ticket(s.generation) == t
	if fresh && s.shelve(k, r) {
		return
	}
	s.restore(k)
	if fresh {
		s.add(k, r)
	} else if v := s.objects[k]; v != nil && v.seen < r.Object.Revision && !v.outdated(r) {
		s.empty(k) // the caller gets what is newer than all of it
	}
}

// shelve puts a record that was read for the first time into the attic, and reports whether it did: most of many objects are not read again soon. It leaves
// alone what anything is known of, so that what was seen is not followed by what was before.
func (s *shard) shelve(k cacheKey, r *Record) bool {
	hash := s.hash(k)
	return r.Version.ID == r.Object.Current && s.objects[k] == nil && !s.attic.has(hash) && s.attic.put(hash, s.hashVault(k.vault), k, r)
}

func (s *shard) add(k cacheKey, r *Record) {
	size := s.size(r)
	if size+hintBytes > s.max {
		return
	}
	v := s.object(k)
	if v.outdated(r) {
		return
	}
	if over := s.bytes + size - s.max; over > 0 {
		s.sweep(over, v)
	}
	if s.bytes+size > s.max {
		s.empty(k) // other versions of the object itself take what there is
	}
	if old := v.keep(r); old != nil {
		s.bytes -= s.size(old)
	}
	s.bytes += size
}

// fetch returns a record from the attic, or nil. One that is read there for the second time leaves it: it will be read again, and is to have an opener then.
// Before, readers get copies, which are no different to them.
func (s *shard) fetch(k cacheKey, id vault.VersionID, label vault.Label) *Record {
	s.mu.Lock()
	defer s.mu.Unlock()
	if v := s.objects[k]; v != nil {
		return v.find(id, label) // it came meanwhile
	}
	hash := s.hash(k)
	r := s.attic.get(hash, k)
	if r == nil {
		return nil
	}
	if r = (&versions{current: r}).find(id, label); r != nil && s.attic.touch(hash) {
		s.add(k, r)
	}
	return r
}

// restore brings an object's record back from the attic.
func (s *shard) restore(k cacheKey) {
	if s.objects[k] != nil {
		return
	}
	if r := s.attic.get(s.hash(k), k); r != nil {
		s.add(k, r)
	}
}

// warm makes room for the opener that a record gets when it is read again.
func (s *shard) warm(k cacheKey, r *Record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	held := false
	if v := s.objects[k]; v != nil {
		held = v.find(r.Version.ID, "") == r
	}
	before := s.size(r)
	r.warm.Store(true)
	if !held {
		return // it was dropped meanwhile
	}
	s.bytes += s.size(r) - before
	if s.bytes > s.max {
		s.sweep(s.bytes-s.max, nil)
	}
}

// size is what a record takes of the shard's bytes.
func (s *shard) size(r *Record) int64 { return r.size() + s.kept }

// object finds the entry of an object, or makes one.
func (s *shard) object(k cacheKey) *versions {
	v := s.objects[k]
	if v == nil {
		v = &versions{}
		s.attic.drop(s.hash(k))
		k.name = strings.Clone(k.name) // it may be a part of a request, which is not kept with it
		s.objects[k] = v
		s.bytes += hintBytes
	}
	return v
}

// announce says which record the operation makes current, so that its commit replaces what it makes stale instead of only
// dropping it: what was just written is what is read next. It is called within the transaction; the last call counts. The
// caller withdraws the announcement when the operation is over, however it went.
func (c *cache) announce(op store.OpID, k cacheKey, r *Record) {
	c.announced.Store(op, announcement{k, r})
}

func (c *cache) withdraw(op store.OpID) { c.announced.Delete(op) }

// committed forgets an object's records, and keeps the one that the operation announced for it, unless a newer one was seen: a node is shown the commits of
// all in their order, but may have read the store in between. What was seen of an object outlives its commits, also when it was in the attic.
func (c *cache) committed(op store.OpID, k cacheKey) {
	s := c.shard(k)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.generation++
	s.restore(k)
	s.empty(k)
	if a, ok := c.announced.Load(op); ok && a.(announcement).key == k {
		s.add(k, a.(announcement).record)
	}
}

// sweep drops objects that were not read since the last sweep until need bytes are free; when all were read, it drops
// what it meets first. Maps are walked in random order, which serves as the clock's hand. The object for which there has to be room stays: what was seen of
// it must not be forgotten just when an older record may come.
func (s *shard) sweep(need int64, stays *versions) {
	for pass := range 2 {
		for k, v := range s.objects {
			if need <= 0 {
				return
			}
			if v == stays || pass == 0 && v.touched() {
				continue
			}
			need -= s.retire(k)
		}
	}
}

// retire puts an object's current version into the attic and forgets the rest.
func (s *shard) retire(k cacheKey) (freed int64) {
	current := s.objects[k].current
	freed = s.remove(k)
	if current != nil {
		s.attic.put(s.hash(k), s.hashVault(k.vault), k, current)
	}
	return freed
}

func (s *shard) hashVault(id vault.ID) uint64 { return maphash.Comparable(s.seed, id) }

func (v *versions) touched() bool {
	touched := false
	for r := range v.all {
		touched = r.used.Swap(false) || touched
	}
	return touched
}

// hintBytes estimates what an object costs of which only the id is kept.
const hintBytes = 200

func (s *shard) remove(k cacheKey) (freed int64) {
	if s.objects[k] == nil {
		return 0
	}
	freed = s.empty(k) + hintBytes
	delete(s.objects, k)
	s.bytes -= hintBytes
	return freed
}

// empty forgets an object's records and keeps the hint.
func (s *shard) empty(k cacheKey) (freed int64) {
	v := s.objects[k]
	if v == nil {
		return 0
	}
	for r := range v.all {
		freed += s.size(r)
	}
	v.current, v.others = nil, nil
	s.bytes -= freed
	return freed
}

// known returns what was last seen of the object under the name: its id, or the empty id, and the object itself, or nil, which may have changed since.
func (c *cache) known(k cacheKey) (vault.ObjectID, *vault.Object) {
	s := c.shard(k)
	s.mu.RLock()
	defer s.mu.RUnlock()
	switch v := s.objects[k]; {
	case v == nil:
		if r := s.attic.get(s.hash(k), k); r != nil {
			return r.Object.ID, r.Object
		}
		return "", nil
	case v.current == nil:
		return v.id, nil
	default:
		return v.id, v.current.Object
	}
}

// setHint remembers the id of the object under the name; an empty id forgets it.
func (c *cache) setHint(k cacheKey, id vault.ObjectID) {
	s := c.shard(k)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.restore(k)
	if s.objects[k] != nil || id != "" && s.bytes+hintBytes <= s.max {
		if v := s.object(k); v.id != id {
			v.id, v.seen = id, 0
		}
	}
}

// dropVault forgets every object of a vault, or everything when the vault is not known. It is rare, so it looks at all.
func (c *cache) dropVault(id vault.ID) {
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		s.generation++
		for k := range s.objects {
			if id == "" || k.vault == id {
				s.remove(k)
			}
		}
		if id == "" {
			s.attic.empty()
		} else {
			s.attic.dropVault(s.hashVault(id))
		}
		s.mu.Unlock()
	}
}

// CacheStats is what operators watch of the cache.
type CacheStats struct {
	// Objects are in the cache, with one version or several, and take about Bytes of memory.
	Objects int
	Bytes   int64
	// Hits and Misses count lookups since the start.
	Hits, Misses uint64
}

func (c *cache) stats() (sum CacheStats) {
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.RLock()
		packed, bytes := s.attic.stats()
		sum.Objects += len(s.objects) + packed
		sum.Bytes += s.bytes + bytes
		s.mu.RUnlock()
		sum.Hits += s.hits.Load()
		sum.Misses += s.misses.Load()
	}
	return sum
}

func (s *Objects) changed(c *store.Commit) {
	for i := range c.Changes {
		ch := &c.Changes[i]
		switch {
		case ch.Kind == store.ObjectChanged && ch.Object == s.Kind.Kind:
			s.cache.committed(c.Op.ID, cacheKey{ch.Vault, ch.NameKey})
		case ch.Kind == store.VaultChanged:
			s.cache.dropVault(ch.Vault)
		}
	}
}
