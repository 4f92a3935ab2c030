package keyring

import (
	"context"
	"crypto/cipher"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/seal"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// key is an unwrapped key of the hierarchy. The bytes of a key whose id comes back later are the same: rows are rewrapped
// and deleted, never replaced.
type key struct {
	row    *store.WrappedKey
	parent *key // nil for a root
	// aead is nil for keys whose bytes are used otherwise; see reveal.
	aead cipher.AEAD
	// gone is set when the key leaves the cache, for whatever reason. Nothing is opened through it from then on.
	gone atomic.Bool
	// unsure is set on a root whose row changed: before its next use the store is asked whether it still exists.
	unsure atomic.Bool
	// now and until bound how long a key that a customer's key unwrapped is believed; now is nil for all others.
	now   func() time.Time
	until time.Time
}

// live reports whether this key and all above it are still kept, and believed.
func (n *key) live() bool {
	for ; n != nil; n = n.parent {
		if n.gone.Load() || n.now != nil && !n.now().Before(n.until) {
			return false
		}
	}
	return true
}

// tenant is the owner of the tenant key above n.
func (n *key) tenant() vault.TenantID {
	if n.parent == nil || n.parent.row.Purpose != store.TenantKey {
		return ""
	}
	return vault.TenantID(n.parent.row.Owner)
}

// wrap encrypts a fresh or revealed key under n and makes its row.
func (n *key) wrap(raw *rawKey, row store.WrappedKey) *store.WrappedKey {
	row.Parent = n.row.ID
	row.Wrapped = sealWith(n.aead, nil, raw[:], bindKeyRow(&row))
	return &row
}

// reveal unwraps the key's own bytes again. The caller zeroes them. It is for keys that have no customer's key.
func (n *key) reveal() (*rawKey, error) {
	return openRow(n.parent, n.row)
}

func openRow(parent *key, row *store.WrappedKey) (*rawKey, error) {
	raw, err := openKey(parent.aead, row.Wrapped, bindKeyRow(row))
	return raw, fault.Wrap(err, fault.Internal, "the %s key %s of %s does not open with its parent: the store was changed from outside; restore it",
		row.Purpose, row.ID, row.Owner)
}

// parentPurpose says which kind of key wraps a row. Because it only ever goes up, no loop in a store that somebody
// tampered with can trap the loader.
func parentPurpose(row *store.WrappedKey) store.KeyPurpose {
	if row.Purpose == store.TenantKey || row.Purpose == store.AuditKey && row.Owner == installation {
		return store.RootKey
	}
	return store.TenantKey
}

// usesBytes reports whether keys of the purpose are used for something else than GCM under the key itself.
func usesBytes(p store.KeyPurpose) bool { return p == store.AuditKey || p == store.DigestKey }

// key finds an unwrapped key by its id. A key that is not there, or has another purpose, is a fault.Gone.
func (k *Keyring) key(ctx context.Context, id string, purpose store.KeyPurpose) (*key, error) {
	n, err := k.find(ctx, id, purpose)
	if err == nil {
		lean(ctx, n)
	}
	return n, err
}

func (k *Keyring) find(ctx context.Context, id string, purpose store.KeyPurpose) (*key, error) {
	if k.locked.Load() {
		return nil, errLocked
	}
	if purpose == store.RootKey {
		return k.root(ctx, id)
	}
	if n, ok := k.keys.get(id); ok && n.row.Purpose == purpose && n.live() {
		return n, nil
	}
	// Nobody joins a load that began before a change that was acknowledged since: the key may be gone.
	flight := string(purpose) + "/" + id + "/" + strconv.FormatUint(k.changes.Load(), 36) + "/" + depth(ctx)
	return k.once(ctx, flight, func(ctx context.Context) (*key, error) { return k.load(ctx, id, purpose) })
}

// once lets one caller work and the others wait for its answer, each as long as its own ctx allows.
func (k *Keyring) once(ctx context.Context, what string, load func(context.Context) (*key, error)) (*key, error) {
	answer := k.flight.DoChan(what, func() (any, error) { return load(context.WithoutCancel(ctx)) })
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case a := <-answer:
		if a.Err != nil {
			return nil, a.Err
		}
		return a.Val.(*key), nil
	}
}

func (k *Keyring) load(ctx context.Context, id string, purpose store.KeyPurpose) (*key, error) {
	before := k.changes.Load()
	row, err := k.row(ctx, id, purpose)
	if err != nil {
		return nil, err
	}
	parent, err := k.key(ctx, row.Parent, parentPurpose(row))
	if err != nil {
		return nil, err
	}
	n := &key{row: row, parent: parent}
	if row.Customer != nil {
		// Before it is asked, so that no change of it passes unnoticed.
		k.dependents.add(&row.Customer.Key, row)
	}
	within, trust := trusting(ctx, k.clock.Now().Add(customerTrust))
	raw, err := k.unwrapFor(within, parent, row)
	if err != nil {
		return nil, err
	}
	defer clear(raw[:])
	if row.Customer != nil {
		n.now, n.until = k.clock.Now, time.Unix(0, trust.until.Load())
	}
	if !usesBytes(purpose) {
		if n.aead, err = raw.aead(); err != nil {
			return nil, err
		}
	}
	k.loads.Add(1)
	k.keys.put(id, n)
	if k.changes.Load() != before {
		// The row may have been deleted between the look and the put, and the news of it came before the put.
		k.keys.remove(id)
	}
	return n, nil
}

func (k *Keyring) row(ctx context.Context, id string, purpose store.KeyPurpose) (row *store.WrappedKey, err error) {
	err = k.store.View(ctx, func(tx store.Tx) error {
		row, err = tx.WrappedKey(ctx, id)
		return err
	})
	if fault.Is(err, fault.NotFound) || err == nil && row.Purpose != purpose {
		return nil, fault.Wrap(errNoKey, fault.Gone, "the %s key %s was destroyed: what it sealed cannot be opened again", purpose, id)
	}
	return row, err
}

// root finds a root key; one that appeared since the keyring was opened is unwrapped by the seal.
func (k *Keyring) root(ctx context.Context, id string) (*key, error) {
	k.mu.RLock()
	root, s := k.roots[id], k.seal
	k.mu.RUnlock()
	if root != nil && !root.unsure.Load() {
		return root, nil
	}
	return k.once(ctx, "root/"+id, func(ctx context.Context) (*key, error) {
		if root != nil {
			root.unsure.Store(false)
		}
		row, err := k.row(ctx, id, store.RootKey)
		if err != nil {
			if root != nil {
				k.doubt(root, err)
			}
			return nil, err
		}
		if root != nil {
			return root, nil
		}
		fresh, err := unsealRoot(ctx, s, row)
		if err != nil {
			return nil, err
		}
		k.mu.Lock()
		defer k.mu.Unlock()
		if k.roots == nil {
			return nil, errLocked
		}
		if there := k.roots[id]; there != nil {
			return there, nil
		}
		k.roots[id] = fresh
		return fresh, nil
	})
}

// doubt drops a root that is gone from the store, and keeps asking about one of which the store could not tell.
func (k *Keyring) doubt(root *key, err error) {
	if !fault.Is(err, fault.Gone) {
		root.unsure.Store(true)
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	root.gone.Store(true)
	delete(k.roots, root.row.ID)
}

func unsealRoot(ctx context.Context, s seal.Seal, row *store.WrappedKey) (*key, error) {
	bytes, err := unwrapRoot(ctx, s, row)
	if err != nil {
		return nil, err
	}
	defer clear(bytes)
	if len(bytes) != keyBytes {
		return nil, fault.New(fault.Internal, "the seal %q gave a root key of %d bytes instead of %d: restore the root key's row", s.Name(), len(bytes), keyBytes)
	}
	raw := rawKey(bytes)
	defer clear(raw[:])
	n := &key{row: row}
	n.aead, err = raw.aead()
	return n, err
}
