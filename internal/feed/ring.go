package feed

import (
	"sort"
	"sync"
	"time"

	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// entry is what a commit means to streams.
type entry struct {
	place Place
	at    time.Time
	// secrets are those that changed. Of what decides about access, only that it changed is kept.
	secrets []name
	access  bool
}

// name is a secret of a vault, by its name key.
type name struct {
	vault vault.ID
	key   string
}

func entryOf(c *store.Commit) entry {
	e := entry{place: Place{c.Position, c.Op.ID}, at: c.Op.At}
	for i := range c.Changes {
		switch ch := &c.Changes[i]; ch.Kind {
		case store.ObjectChanged:
			if ch.Object == vault.Secret {
				e.secrets = append(e.secrets, name{ch.Vault, ch.NameKey})
			}
		case store.TenantChanged, store.VaultChanged, store.PrincipalChanged, store.MemberChanged, store.GrantChanged, store.RoleChanged,
			store.SigningChanged, store.IssuerChanged:
			e.access = true
		}
	}
	return e
}

// DefaultKept is how many of the latest commits are kept at least: at a thousand writes per second, what a stream may be late by before
// it reads the journal is four seconds. They take about 500 KiB.
const DefaultKept = 4096

// ring holds the latest entries of the journal without a gap.
type ring struct {
	// size is how many entries are kept at least; at most twice as many are.
	size int
	mu   sync.RWMutex
	// base is the place before the first entry.
	base Place
	// entries are in their order. Those that are in it are never changed, so readers may keep a part of it.
	entries []entry
	// filled is set once what the journal had before the process began is in it.
	filled bool
}

// add notes a commit that the journal got. One that is in it already, from the journal itself, is passed over.
func (r *ring) add(e entry) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e.place.Position <= r.last().Position {
		return
	}
	r.entries = append(r.entries, e)
	if n := len(r.entries) - r.size; n >= r.size {
		r.base = r.entries[n-1].place
		r.entries = append(make([]entry, 0, 2*r.size), r.entries[n:]...)
	}
}

// restart forgets everything up to a place: entries before it were missed.
func (r *ring) restart(base Place) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.base, r.entries = base, nil
}

func (r *ring) last() Place {
	if n := len(r.entries); n > 0 {
		return r.entries[n-1].place
	}
	return r.base
}

// fill puts what the journal had before in front of what was noted since.
func (r *ring) fill(base Place, older []entry) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.filled {
		return
	}
	r.filled, r.base = true, base
	if len(r.entries) > 0 {
		first := r.entries[0].place.Position
		older = older[:sort.Search(len(older), func(i int) bool { return older[i].place.Position >= first })]
	}
	r.entries = append(older, r.entries...)
}

// after returns the entries behind a place, and whether the ring has that place.
func (r *ring) after(p Place) (behind []entry, ok bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if !r.filled {
		return nil, false
	}
	if p == r.base {
		return r.entries, true
	}
	i := sort.Search(len(r.entries), func(i int) bool { return r.entries[i].place.Position >= p.Position })
	if i == len(r.entries) || r.entries[i].place != p {
		return nil, false
	}
	return r.entries[i+1:], true
}

// head is the place of the newest entry.
func (r *ring) head() (p Place, filled bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.last(), r.filled
}
