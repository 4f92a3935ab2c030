package keyring

import (
	"hash/maphash"
	"sync"
)

// cache is a bounded map. Each shard has a young and an old generation: what is found in the old one moves to the young,
// and when the young one is full, what nobody asked for since is dropped. Lookups of young entries only take a read lock.
type cache[K comparable, V any] struct {
	seed   maphash.Seed
	half   int
	drop   func(V)
	shards [16]struct {
		mu         sync.RWMutex
		young, old map[K]V
	}
}

// newCache returns a cache of at least one entry per shard and about entries in all. drop is called, under the shard's
// lock, for each entry that leaves.
func newCache[K comparable, V any](entries int, drop func(V)) *cache[K, V] {
	c := &cache[K, V]{seed: maphash.MakeSeed(), drop: drop}
	c.half = max(1, entries/(2*len(c.shards)))
	return c
}

func (c *cache[K, V]) shard(key K) int {
	return int(maphash.Comparable(c.seed, key) % uint64(len(c.shards)))
}

func (c *cache[K, V]) get(key K) (v V, ok bool) {
	s := &c.shards[c.shard(key)]
	s.mu.RLock()
	v, ok = s.young[key]
	if !ok {
		_, ok = s.old[key]
		s.mu.RUnlock()
		if !ok {
			return v, false
		}
		return c.promote(key)
	}
	s.mu.RUnlock()
	return v, true
}

// promote moves an entry to the young generation.
func (c *cache[K, V]) promote(key K) (V, bool) {
	s := &c.shards[c.shard(key)]
	s.mu.Lock()
	defer s.mu.Unlock()
	if v, ok := s.young[key]; ok {
		return v, true
	}
	v, ok := s.old[key]
	if ok {
		delete(s.old, key)
		c.putLocked(c.shard(key), key, v)
	}
	return v, ok
}

func (c *cache[K, V]) put(key K, v V) {
	s := &c.shards[c.shard(key)]
	s.mu.Lock()
	defer s.mu.Unlock()
	c.removeLocked(c.shard(key), key)
	c.putLocked(c.shard(key), key, v)
}

func (c *cache[K, V]) putLocked(shard int, key K, v V) {
	s := &c.shards[shard]
	if s.young == nil || len(s.young) >= c.half {
		for _, v := range s.old {
			c.drop(v)
		}
		s.old, s.young = s.young, make(map[K]V)
	}
	s.young[key] = v
}

func (c *cache[K, V]) remove(key K) {
	s := &c.shards[c.shard(key)]
	s.mu.Lock()
	defer s.mu.Unlock()
	c.removeLocked(c.shard(key), key)
}

func (c *cache[K, V]) removeLocked(shard int, key K) {
	s := &c.shards[shard]
	for _, m := range []map[K]V{s.young, s.old} {
		if v, ok := m[key]; ok {
			delete(m, key)
			c.drop(v)
		}
	}
}

func (c *cache[K, V]) clear() {
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		for _, m := range []map[K]V{s.young, s.old} {
			for _, v := range m {
				c.drop(v)
			}
		}
		s.young, s.old = nil, nil
		s.mu.Unlock()
	}
}

// len counts the entries.
func (c *cache[K, V]) len() int {
	n := 0
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.RLock()
		n += len(s.young) + len(s.old)
		s.mu.RUnlock()
	}
	return n
}
