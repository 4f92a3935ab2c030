package keyring

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/seal"
	"github.com/keywright/keywright/internal/store"
)

// Installation is the owner of root keys in the store.
const Installation = "installation"

const installation = Installation

// The defaults of a Config.
const (
	DefaultCachedKeys = 16384
	DefaultGrace      = 24 * time.Hour
)

// Config says where keys are kept and what protects them.
type Config struct {
	Store store.Store
	Seal  seal.Seal
	// Clock is the machine's when nil.
	Clock clock.Clock
	// CachedKeys bounds how many unwrapped keys stay in memory, at about 1 KiB each; 0 means DefaultCachedKeys.
	CachedKeys int
	// Grace is how long a key stays after it became decrypt-only, even if nothing seems to need it: longer than any write
	// that began under it can take. 0 means DefaultGrace.
	Grace time.Duration
	// BackupsKept is how long backups of objects are kept: that long after its last one, a backup key that was replaced is destroyed, and with it the
	// backups. 0 keeps them, and the keys, for ever.
	BackupsKept time.Duration
	// Customers has the keys that customers keep in vaults; nil opens no vault that needs one.
	Customers Customers
}

// Keyring seals and opens. The caller hooks Changed to the store's Watch.
type Keyring struct {
	store     store.Store
	clock     clock.Clock
	grace     time.Duration
	customers Customers
	// backupsKept is as in Config.
	backupsKept time.Duration
	// dependents are the keys in memory that customers' keys unwrapped.
	dependents dependents

	// changes counts commits that touched a key. What was read from the store before a change is not kept after it.
	changes atomic.Uint64
	// loads counts keys that were read from the store and unwrapped.
	loads  atomic.Uint64
	locked atomic.Bool
	// moved and gone count keys and versions that were moved to newer keys, and keys that were destroyed; busy counts the maintenance under way.
	moved, gone atomic.Uint64
	busy        atomic.Int64
	// swept is when needs that have ended were last looked for, in seconds since 1970.
	swept atomic.Int64
	// woken says that something is to be maintained.
	woken chan struct{}
	// fence and destroyed are set before anything is maintained: see Maintainer.
	fence     func(context.Context, store.Tx) error
	destroyed func(purpose store.KeyPurpose, owner string, ids []string) With
	flight    singleflight.Group
	keys      *cache[string, *key]
	current   *cache[ownerOf, *currentKey]
	audit     *auditor

	// mu guards what follows and is never held while the store or the seal is called.
	mu    sync.RWMutex
	seal  seal.Seal
	roots map[string]*key
	// locks counts calls of Lock, so that an Unlock which began before one does not undo it.
	locks uint64
}

// Open loads the root keys, or makes the first one in an empty store. A store whose root key is lost, or whose root key
// another seal wrapped, is refused: with a new root nothing in it would ever open again.
func Open(ctx context.Context, c Config) (*Keyring, error) {
	if c.Store == nil || c.Seal == nil {
		return nil, fault.New(fault.Invalid, "a keyring needs a store and a seal: configure both")
	}
	if c.Clock == nil {
		c.Clock = clock.System{}
	}
	if c.CachedKeys == 0 {
		c.CachedKeys = DefaultCachedKeys
	}
	if c.Grace == 0 {
		c.Grace = DefaultGrace
	}
	if c.CachedKeys < 0 || c.Grace < 0 || c.BackupsKept < 0 {
		return nil, fault.New(fault.Invalid, "the keyring's cache size, grace and time to keep backups cannot be negative: correct the configuration")
	}
	k := &Keyring{store: c.Store, seal: c.Seal, clock: c.Clock, grace: c.Grace, customers: c.Customers, backupsKept: c.BackupsKept, woken: make(chan struct{}, 1)}
	k.keys = newCache[string](c.CachedKeys, func(n *key) { n.gone.Store(true) })
	k.current = newCache[ownerOf](c.CachedKeys, func(*currentKey) {})
	k.audit = newAuditor(k)
	k.locked.Store(true)
	if err := k.Unlock(ctx); err != nil {
		return nil, err
	}
	return k, nil
}

// Lock drops every unwrapped key. Until Unlock every operation, openers that were handed out included, answers
// fault.Unavailable.
func (k *Keyring) Lock() {
	k.mu.Lock()
	k.locks++
	k.locked.Store(true)
	for _, root := range k.roots {
		root.gone.Store(true)
	}
	k.roots = nil
	k.mu.Unlock()
	k.changes.Add(1) // a key that is being loaded does not stay
	k.keys.clear()
	k.current.clear()
	k.audit.clear()
}

// Stats is what operators watch of a keyring.
type Stats struct {
	// Cached is how many unwrapped keys are in memory, the roots apart.
	Cached int
	// Loads counts keys that were read from the store and unwrapped because they were not in memory.
	Loads uint64
	// Moved counts keys and versions that this process moved to newer keys, Destroyed the keys that it destroyed because nothing needed them.
	Moved, Destroyed uint64
	// Maintaining is true while it does so.
	Maintaining bool
}

// Stats returns the present numbers.
func (k *Keyring) Stats() Stats {
	return Stats{Cached: k.keys.len(), Loads: k.loads.Load(), Moved: k.moved.Load(), Destroyed: k.gone.Load(), Maintaining: k.busy.Load() > 0}
}

// Locked reports whether Lock was called after the last Unlock.
func (k *Keyring) Locked() bool { return k.locked.Load() }

// Unlock asks the seal for the root keys. It does nothing on a keyring that is open.
func (k *Keyring) Unlock(ctx context.Context) error {
	k.mu.RLock()
	locks := k.locks
	k.mu.RUnlock()
	if !k.locked.Load() {
		return nil
	}
	rows, err := k.rootRows(ctx)
	if err != nil {
		return err
	}
	if len(rows) == 0 {
		if rows, err = k.initialise(ctx); err != nil {
			return err
		}
	}
	s := k.sealer()
	roots := make(map[string]*key, len(rows))
	for _, row := range rows {
		root, err := unsealRoot(ctx, s, row)
		if err != nil {
			return err
		}
		roots[row.ID] = root
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.locks != locks {
		return errLocked
	}
	if k.locked.Load() {
		k.roots = roots
		k.locked.Store(false)
	}
	return nil
}

// SealName says what protects the root key, as the configuration calls it.
func (k *Keyring) SealName() string { return k.sealer().Name() }

func (k *Keyring) sealer() seal.Seal {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return k.seal
}

func (k *Keyring) rootRows(ctx context.Context) (rows []*store.WrappedKey, err error) {
	err = k.store.View(ctx, func(tx store.Tx) error {
		rows, err = tx.WrappedKeys(ctx, store.RootKey, installation)
		if err != nil || len(rows) > 0 {
			return err
		}
		tenants, err := tx.Tenants(ctx)
		if err == nil && len(tenants) > 0 {
			return fault.New(fault.Internal, "the store has tenants but no root key, so nothing in it can be opened: restore the store from a whole backup")
		}
		return err
	})
	return rows, err
}

// initialise makes the first root key. When several nodes try at once, all go on with the one that was committed.
func (k *Keyring) initialise(ctx context.Context) ([]*store.WrappedKey, error) {
	fresh, err := k.newRoot(ctx, k.clock.Now())
	if err != nil {
		return nil, err
	}
	_, err = k.update(ctx, func(tx store.Tx, _ store.Op) error {
		there, err := tx.WrappedKeys(ctx, store.RootKey, installation)
		if err != nil || len(there) > 0 {
			return err
		}
		for _, row := range fresh {
			if err := tx.PutWrappedKey(ctx, row); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return k.rootRows(ctx)
}

// update commits fn and resolves an ambiguous answer.
func (k *Keyring) update(ctx context.Context, fn func(store.Tx, store.Op) error) (store.Op, error) {
	op := store.NewOp(k.clock.Now())
	err := k.store.Update(ctx, op, func(tx store.Tx) error { return fn(tx, op) })
	if errors.Is(err, store.ErrCommitted) {
		return op, nil
	}
	if fault.Is(err, fault.Unavailable) {
		if done, asked := k.store.Committed(ctx, op.ID); asked == nil && done {
			return op, nil
		}
	}
	return op, err
}

// Changed tells the keyring what a commit changed. The server hooks it to the store's Watch, so that a key which was
// deleted is forgotten before the deletion is acknowledged, and so is one whose customer's key changed. It is quick and does not call the store.
func (k *Keyring) Changed(c *store.Commit) {
	for i := range c.Changes {
		switch change := &c.Changes[i]; change.Kind {
		case store.KeyChanged:
			k.Forget(change.Key)
		case store.SettingChanged:
			if change.Key == rotatedSetting {
				k.wake()
			}
		case store.VaultChanged, store.ObjectChanged:
			for _, id := range k.dependents.take(change) {
				k.Forget(id)
			}
		}
	}
}

// Forget drops a key, and with it every opener of what it wraps. The next use asks the store whether it still exists.
func (k *Keyring) Forget(id string) {
	k.changes.Add(1)
	k.keys.remove(id)
	k.mu.RLock()
	defer k.mu.RUnlock()
	if root := k.roots[id]; root != nil {
		root.unsure.Store(true)
	}
}

// Flush drops every key but the roots: for a node that may have missed commits.
func (k *Keyring) Flush() {
	k.changes.Add(1)
	k.keys.clear()
	k.mu.RLock()
	defer k.mu.RUnlock()
	for _, root := range k.roots {
		root.unsure.Store(true)
	}
}
