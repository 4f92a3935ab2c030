package secret

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

// cache keeps sealed records within a bound of bytes. Records are immutable and swapped whole; no lock is held across
// I/O. Filling it is safe against a concurrent change: see ticket and announce.
type cache struct {
	seed   maphash.Seed
	shards [shards]shard
	// announced holds what writes under way will make current: store.OpID -> announcement.
	announced sync.Map
}

// announcement is the record that one operation makes current.
type announcement struct {
	key    cacheKey
	record *record
}

type shard struct {
	mu sync.RWMutex
	// generation counts what was dropped, so that a record read before a drop is not put behind it.
	generation uint64
	secrets    map[cacheKey]*versions
	bytes, max int64
	// hits and misses count lookups.
	hits, misses atomic.Uint64
}

// versions holds the cached versions of one secret: the current one, and others that were asked for by id.
type versions struct {
	// id is the object's. It outlives a drop, as a hint for the next write: who uses it proves it in the transaction.
	id      vault.ObjectID
	current *record
	others  map[vault.VersionID]*record
}

// find returns the record of a version, by its id or as the current one, or nil.
func (v *versions) find(id vault.VersionID, label vault.Label) *record {
	switch {
	case id == "" && label != "" && label != vault.Current:
		return nil
	case id == "" || v.current != nil && v.current.Version.ID == id:
		return v.current
	}
	return v.others[id]
}

// keep adds a record and returns the one whose place it takes, or nil.
func (v *versions) keep(r *record) (old *record) {
	if r.Version.ID == r.Object.Current {
		old, v.current = v.current, r
		return old
	}
	if v.others == nil {
		v.others = make(map[vault.VersionID]*record, 1)
	}
	old, v.others[r.Version.ID] = v.others[r.Version.ID], r
	return old
}

// all visits every record.
func (v *versions) all(yield func(*record) bool) {
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

func newCache(maxBytes int64) *cache {
	c := &cache{seed: maphash.MakeSeed()}
	for i := range c.shards {
		c.shards[i].secrets = make(map[cacheKey]*versions)
		c.shards[i].max = maxBytes / shards
	}
	return c
}

func (c *cache) shard(k cacheKey) *shard {
	return &c.shards[maphash.Comparable(c.seed, k)&(shards-1)]
}

// get returns the record, or nil and a ticket with which put may add it.
func (c *cache) get(k cacheKey, id vault.VersionID, label vault.Label) (*record, ticket) {
	s := c.shard(k)
	s.mu.RLock()
	var r *record
	if v := s.secrets[k]; v != nil {
		r = v.find(id, label)
	}
	t := ticket(s.generation)
	s.mu.RUnlock()
	if r == nil {
		s.misses.Add(1)
		return nil, t
	}
	s.hits.Add(1)
	if !r.used.Load() {
		r.used.Store(true)
	}
	return r, t
}

// put adds a record that was read after the ticket was drawn, unless something was dropped in between.
func (c *cache) put(k cacheKey, r *record, t ticket) {
	s := c.shard(k)
	s.mu.Lock()
	defer s.mu.Unlock()
	if ticket(s.generation) == t {
		s.add(k, r)
	}
}

func (s *shard) add(k cacheKey, r *record) {
	size := r.size()
	room := size + hintBytes // its secret may be new, or fall to the sweep
	if room > s.max {
		return
	}
	if s.bytes+room > s.max {
		s.sweep(s.bytes + room - s.max)
	}
	v := s.secret(k)
	v.id = r.Object.ID
	if old := v.keep(r); old != nil {
		s.bytes -= old.size()
	}
	s.bytes += size
}

// secret finds the entry of a secret, or makes one.
func (s *shard) secret(k cacheKey) *versions {
	v := s.secrets[k]
	if v == nil {
		v = &versions{}
		k.name = strings.Clone(k.name) // it may be a part of a request, which is not kept with it
		s.secrets[k] = v
		s.bytes += hintBytes
	}
	return v
}

// announce says which record the operation makes current, so that its commit replaces what it makes stale instead of only
// dropping it: what was just written is what is read next. It is called within the transaction; the last call counts. The
// caller withdraws the announcement when the operation is over, however it went.
func (c *cache) announce(op store.OpID, k cacheKey, r *record) {
	c.announced.Store(op, announcement{k, r})
}

func (c *cache) withdraw(op store.OpID) { c.announced.Delete(op) }

// committed forgets a secret's records, and keeps the one that the operation announced for it. Commits come one at a time and in
// their order, so that an announced record never takes the place of a newer one.
func (c *cache) committed(op store.OpID, k cacheKey) {
	s := c.shard(k)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.generation++
	s.empty(k)
	if a, ok := c.announced.Load(op); ok && a.(announcement).key == k {
		s.add(k, a.(announcement).record)
	}
}

// sweep drops secrets that were not read since the last sweep until need bytes are free; when all were read, it drops
// what it meets first. Maps are walked in random order, which serves as the clock's hand.
func (s *shard) sweep(need int64) {
	for pass := range 2 {
		for k, v := range s.secrets {
			if need <= 0 {
				return
			}
			if pass == 0 && v.touched() {
				continue
			}
			need -= s.remove(k)
		}
	}
}

func (v *versions) touched() bool {
	touched := false
	for r := range v.all {
		touched = r.used.Swap(false) || touched
	}
	return touched
}

// hintBytes estimates what a secret costs of which only the id is kept.
const hintBytes = 200

func (s *shard) remove(k cacheKey) (freed int64) {
	if s.secrets[k] == nil {
		return 0
	}
	freed = s.empty(k) + hintBytes
	delete(s.secrets, k)
	s.bytes -= hintBytes
	return freed
}

// empty forgets a secret's records and keeps the hint.
func (s *shard) empty(k cacheKey) (freed int64) {
	v := s.secrets[k]
	if v == nil {
		return 0
	}
	for r := range v.all {
		freed += r.size()
	}
	v.current, v.others = nil, nil
	s.bytes -= freed
	return freed
}

// hint returns the id of the object that was last seen under the name, or the empty id.
func (c *cache) hint(k cacheKey) vault.ObjectID {
	s := c.shard(k)
	s.mu.RLock()
	defer s.mu.RUnlock()
	if v := s.secrets[k]; v != nil {
		return v.id
	}
	return ""
}

// setHint remembers the id of the object under the name; an empty id forgets it.
func (c *cache) setHint(k cacheKey, id vault.ObjectID) {
	s := c.shard(k)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.secrets[k] != nil || id != "" && s.bytes+hintBytes <= s.max {
		s.secret(k).id = id
	}
}

// dropVault forgets every secret of a vault, or everything when the vault is not known. It is rare, so it looks at all.
func (c *cache) dropVault(id vault.ID) {
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		s.generation++
		for k := range s.secrets {
			if id == "" || k.vault == id {
				s.remove(k)
			}
		}
		s.mu.Unlock()
	}
}

// CacheStats is what operators watch of the cache.
type CacheStats struct {
	// Secrets are in the cache, with one version or several, and take about Bytes of memory.
	Secrets int
	Bytes   int64
	// Hits and Misses count lookups since the start.
	Hits, Misses uint64
}

func (c *cache) stats() (sum CacheStats) {
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.RLock()
		sum.Secrets += len(s.secrets)
		sum.Bytes += s.bytes
		s.mu.RUnlock()
		sum.Hits += s.hits.Load()
		sum.Misses += s.misses.Load()
	}
	return sum
}

// CacheStats returns the present numbers.
func (s *Service) CacheStats() CacheStats { return s.cache.stats() }
