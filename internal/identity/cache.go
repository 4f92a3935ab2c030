package identity

import (
	"crypto/sha256"
	"sync"
	"sync/atomic"
	"time"

	"github.com/keywright/keywright/internal/guard"
)

const shards = 64 // a power of two

// tokenKey is the SHA-256 of a token: the cache holds no token, and nobody can aim for a collision.
type tokenKey [sha256.Size]byte

// entry is a verified token. It is not changed after it was put.
type entry struct {
	caller   *guard.Caller
	audience string
	// watch holds the ids whose change ends the entry: tenant, principal, groups.
	watch []string
	key   tokenKey
}

// cache remembers verified tokens. Readers touch one shard; writers (a new token, a change of who somebody is) take mu first,
// so that filling and revoking cannot pass each other:
//
//	fill:    g := generation() → read the store → put(g)      (refused when the generation moved meanwhile)
//	Changed: mu { generation++; remove entries that watch }   (so an entry from an older state is either refused or removed)
//
// A caller outlives the request that looked it up: a stream renews its standing with it. So whatever is not remembered, or
// no longer, is revoked: no later change would reach it.
type cache struct {
	shards [shards]struct {
		sync.RWMutex
		m map[tokenKey]*entry
	}
	gen atomic.Uint64

	mu       sync.Mutex
	most     int
	count    int
	watchers map[string]map[*entry]struct{}
}

func newCache(most int) *cache {
	c := &cache{most: most, watchers: map[string]map[*entry]struct{}{}}
	for i := range c.shards {
		c.shards[i].m = map[tokenKey]*entry{}
	}
	return c
}

func (c *cache) get(k *tokenKey) *entry {
	s := &c.shards[k[0]%shards]
	s.RLock()
	e := s.m[*k]
	s.RUnlock()
	return e
}

func (c *cache) generation() uint64 { return c.gen.Load() }

// put remembers e and returns the caller that counts: e's, or that of the request which looked the same token up first. When
// something changed since generation g was read, e's caller is good for the request that asked and for nothing longer.
func (c *cache) put(e *entry, g uint64, now time.Time) *guard.Caller {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gen.Load() != g {
		e.caller.Revoke()
		return e.caller
	}
	if first := c.get(&e.key); first != nil {
		if first.caller.Live(now) {
			return first.caller
		}
		c.remove(first)
	}
	if c.count >= c.most {
		c.evict(now)
	}
	s := &c.shards[e.key[0]%shards]
	s.Lock()
	s.m[e.key] = e
	s.Unlock()
	c.count++
	for _, id := range e.watch {
		if c.watchers[id] == nil {
			c.watchers[id] = map[*entry]struct{}{}
		}
		c.watchers[id][e] = struct{}{}
	}
	return e.caller
}

// evict makes room: it removes what is no longer live, and a sixteenth of the rest if that was too little. The map's random
// order decides; a token that is still in use comes back with its next request.
func (c *cache) evict(now time.Time) {
	room := c.most - c.most/16 - 1
	for pass := range 2 {
		for i := range c.shards {
			for _, e := range c.shards[i].m {
				if pass == 0 && !e.caller.Live(now) || pass == 1 && c.count > room {
					e.caller.Revoke()
					c.remove(e)
				}
			}
		}
	}
}

// remove forgets e. Its caller holds c.mu.
func (c *cache) remove(e *entry) {
	s := &c.shards[e.key[0]%shards]
	s.Lock()
	delete(s.m, e.key)
	s.Unlock()
	c.count--
	for _, id := range e.watch {
		delete(c.watchers[id], e)
		if len(c.watchers[id]) == 0 {
			delete(c.watchers, id)
		}
	}
}

// drop forgets e because it is no longer live.
func (c *cache) drop(e *entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.get(&e.key) == e {
		c.remove(e)
	}
}

// revoke ends every caller that depends on one of the ids, and every lookup under way.
func (c *cache) revoke(ids []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gen.Add(1)
	for _, id := range ids {
		for e := range c.watchers[id] {
			e.caller.Revoke()
			c.remove(e)
		}
	}
}

// flush ends every caller, and every lookup under way.
func (c *cache) flush() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gen.Add(1)
	for i := range c.shards {
		for _, e := range c.shards[i].m {
			e.caller.Revoke()
			c.remove(e)
		}
	}
}

// size returns how many tokens are remembered.
func (c *cache) size() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.count
}
