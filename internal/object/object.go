package object

import (
	"context"
	"errors"
	"time"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/keyring"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// DefaultCacheBytes bounds the versions that are kept in memory as they are served. Those that were read once, or not of late, are kept beside them, packed:
// see packedPercent.
const DefaultCacheBytes = 32 << 20

// packedPercent is for how many bytes of packed records there is room, for 100 of those as they are served. A packed one takes a quarter of what it takes
// otherwise, and an eighth of what it takes with an opener, so most of what a server has in memory is packed.
const packedPercent = 125

// DefaultMaxBackupBytes bounds the body with which a backup is restored: it holds 500 versions of the largest secret.
const DefaultMaxBackupBytes = 64 << 20

// Kind says how one kind of objects differs from the others in what they share.
type Kind struct {
	Kind vault.Kind
	// Word is the kind in the names of events, such as Secret.
	Word string
	// NotFound is the reason of the fault when there is no such object.
	NotFound fault.Reason
	// The actions that the lifecycle asks for.
	List, GetDeleted, Delete, Recover, Purge, Backup, Restore authz.Action
	// Kept is about how many bytes the service keeps beside a version: see Record.Use.
	Kept int
}

// Config makes Objects. Guard, Store, Keys, Clock and Kind are required.
type Config struct {
	Guard *guard.Guard
	Store store.Store
	Keys  *keyring.Keyring
	Clock clock.Clock
	Kind  Kind
	// MaxVersions bounds the versions of one object; 0 means no bound.
	MaxVersions int
	// CacheBytes bounds what is kept in memory as it is served; 0 means DefaultCacheBytes.
	CacheBytes int64
	// Pends is asked, in the transaction of each write, under which labels the new version waits instead of becoming current; for none it does. It
	// may write to the transaction, but not the object. Nil never lets a version wait.
	Pends func(ctx context.Context, tx store.Tx, call *guard.Call, o *vault.Object, ver *vault.Version) ([]vault.Label, error)
	// Settled is called in each transaction in which a caller changes which version is current, its attributes, or whether the object is deleted, after the
	// change. Services that change objects by Moves, or by moves of their own, see to the same themselves. Nil for kinds on which nothing hangs.
	Settled func(ctx context.Context, tx store.Tx, v *vault.Vault, it Item) error
	// Purged is called in each transaction that destroys an object for a caller; nil when nothing else goes with it.
	Purged func(ctx context.Context, tx store.Tx, v *vault.Vault, o *vault.Object, at time.Time) error
	// Ahead is how long before its expiry a version is told of, at most MaxNearExpiry; 0, or a nil Ahead, leaves it to the tags and the default.
	Ahead func(ctx context.Context, tx store.Tx, it Item) (time.Duration, error)
	// Pack and Unpack bring what belongs to the object beside its versions into a backup and back; nil when there is nothing.
	Pack   func(ctx context.Context, tx store.Tx, o *vault.Object) ([]byte, error)
	Unpack func(ctx context.Context, tx store.Tx, v *vault.Vault, o *vault.Object, packed []byte) error
	// Admit is asked before a restore whether the caller may bring what is packed, and records what it refuses. Nil lets everybody who may restore.
	Admit func(ctx context.Context, call *guard.Call, packed []byte) error
}

// Objects are the objects of one kind, in all vaults.
type Objects struct {
	Config
	cache *cache
}

// New checks the configuration. The caller hooks Changed to the store's commits before the first request.
func New(c Config) (*Objects, error) {
	if c.Guard == nil || c.Store == nil || c.Keys == nil || c.Clock == nil || c.Kind.Kind == "" {
		return nil, errors.New("objects need a guard, a store, keys, a clock and a kind")
	}
	if c.CacheBytes == 0 {
		c.CacheBytes = DefaultCacheBytes
	}
	return &Objects{Config: c, cache: newCache(c.CacheBytes, c.Kind.Kept)}, nil
}

// Item is an object with one of its versions, without its value.
type Item struct {
	Object  *vault.Object
	Version *vault.Version
}

// Selector says which version of an object is meant. With neither Version nor Label it is the one that the caller is to have: the current one,
// unless a rollout gives the caller the next.
type Selector struct {
	Name    string
	Version vault.VersionID
	Label   vault.Label
	// Candidate says that the reader knows what a candidate is: it may then read that one by its id.
	Candidate bool
}

// Page selects a part of a listing: at most Limit entries behind the key After.
type Page struct {
	After string
	Limit int
}

// Listing is a page of items. Next is the key behind which the listing goes on; empty when it is at its end.
type Listing struct {
	Items []Item
	Next  string
}

// Place is where the value of a version is sealed to.
func Place(v *vault.Vault, o vault.ObjectID, id vault.VersionID) keyring.Place {
	return keyring.Place{Tenant: v.Tenant, Vault: v.ID, Object: o, Version: id}
}

// NotFound is the fault of a name that no live object has.
func (s *Objects) NotFound(name string) error {
	return fault.New(fault.NotFound, "a %s with the name %q was not found in this vault: check the name, and that it was not deleted", s.Kind.Kind, name).
		Because(s.Kind.NotFound)
}

func (s *Objects) versionNotFound(name string, v vault.VersionID) error {
	return fault.New(fault.NotFound, "the %s %q has no version %q: list its versions to see those that it has", s.Kind.Kind, name, v).
		Because(s.Kind.NotFound)
}

// Live finds a live object in a transaction.
func (s *Objects) Live(ctx context.Context, tx store.Tx, v vault.ID, name string) (*vault.Object, error) {
	o, err := tx.Object(ctx, v, s.Kind.Kind, name)
	if fault.Is(err, fault.NotFound) || err == nil && o.Deleted != nil {
		return nil, s.NotFound(name)
	}
	return o, err
}

// deleted finds a deleted object in a transaction.
func (s *Objects) deleted(ctx context.Context, tx store.Tx, v vault.ID, name string) (*vault.Object, error) {
	o, err := tx.Object(ctx, v, s.Kind.Kind, name)
	if fault.Is(err, fault.NotFound) || err == nil && o.Deleted == nil {
		return nil, fault.New(fault.NotFound, "a deleted %s with the name %q was not found in this vault", s.Kind.Kind, name).Because(s.Kind.NotFound)
	}
	return o, err
}

// version finds a version that callers may see.
func (s *Objects) version(ctx context.Context, tx store.Tx, o *vault.Object, id vault.VersionID) (*vault.Version, error) {
	if id == "" {
		return nil, s.NotFound(o.Name)
	}
	v, err := tx.Version(ctx, o.ID, id)
	if fault.Is(err, fault.NotFound) || err == nil && o.Hides(v) {
		return nil, s.versionNotFound(o.Name, id)
	}
	return v, err
}

// candidate finds the version under the label candidate, for who asks for it by that name, or by its id and says that it knows what it gets. It is
// pending, and everybody else is told that it does not exist.
func (s *Objects) candidate(ctx context.Context, tx store.Tx, o *vault.Object, id vault.VersionID) (*vault.Version, error) {
	if id == "" {
		return nil, fault.New(fault.NotFound, "the %s %q has no candidate now", s.Kind.Kind, o.Name).Because(s.Kind.NotFound)
	}
	v, err := tx.Version(ctx, o.ID, id)
	if err == nil && v.State == vault.Abandoned {
		return nil, s.versionNotFound(o.Name, id)
	}
	return v, err
}

// unmanaged refuses to change what belongs to a certificate and changes with it alone.
func (s *Objects) unmanaged(o *vault.Object) error {
	if !o.Managed {
		return nil
	}
	return fault.New(fault.Forbidden, "the %s %q belongs to a certificate, with which alone it changes: do this to the certificate instead", s.Kind.Kind, o.Name)
}

// settled tells the service of a kind how the object is now, with its current version.
func (s *Objects) settled(ctx context.Context, tx store.Tx, v *vault.Vault, it Item) error {
	if s.Settled == nil {
		return nil
	}
	return s.Settled(ctx, tx, v, it)
}

// liveVault makes sure that a new object gets a vault: one that was deleted and purged since the request began has no key
// any more, and what is put into it could never be read.
func liveVault(ctx context.Context, tx store.Tx, v *vault.Vault) error {
	stored, err := tx.Vault(ctx, v.ID)
	if fault.Is(err, fault.NotFound) || err == nil && stored.Deleted != nil {
		return fault.New(fault.NotFound, "the vault %q was deleted meanwhile: recover it, or use another", v.Name).Because("VaultNotFound")
	}
	return err
}
