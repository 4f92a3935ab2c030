package secret

import (
	"context"
	"errors"
	"time"

	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/keyring"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// DefaultMaxValueBytes is the largest value that Key Vault takes: 25 KB, of 1,024 bytes each.
const DefaultMaxValueBytes = 25 << 10

// DefaultCacheBytes bounds the cache of sealed records.
const DefaultCacheBytes = 64 << 20

// DefaultMaxBackupBytes bounds the body with which a backup is restored: it holds 500 versions of the largest value.
const DefaultMaxBackupBytes = 64 << 20

// Config makes a Service. Guard, Store, Keys and Clock are required.
type Config struct {
	Guard *guard.Guard
	Store store.Store
	Keys  *keyring.Keyring
	Clock clock.Clock
	// MaxValueBytes bounds one value; 0 means DefaultMaxValueBytes.
	MaxValueBytes int
	// MaxVersions bounds the versions of one secret; 0 means no bound.
	MaxVersions int
	// MaxBackupBytes bounds the body of a restore; 0 means DefaultMaxBackupBytes.
	MaxBackupBytes int64
	// CacheBytes bounds the cache; 0 means DefaultCacheBytes.
	CacheBytes int64
	// Pends is asked, in the transaction of each write, under which labels the new version waits instead of becoming current; for none it does. So
	// waits what a rotation function writes, as pending, until it was proved at the target. It may write to the transaction, but not the object.
	// Nil never lets a version wait.
	Pends func(ctx context.Context, tx store.Tx, call *guard.Call, o *vault.Object, ver *vault.Version) ([]vault.Label, error)
	// Dated is told, in the transaction of the change, of a current version whose end of validity may be another than before. It may write to the transaction, but
	// not the object. Nil tells nobody.
	Dated func(ctx context.Context, tx store.Tx, o *vault.Object, ver *vault.Version) error
}

// Service serves secrets.
type Service struct {
	Config
	cache *cache
}

// New checks the configuration. The caller hooks Changed to the store's commits before the first request.
func New(c Config) (*Service, error) {
	if c.Guard == nil || c.Store == nil || c.Keys == nil || c.Clock == nil {
		return nil, errors.New("the secret service needs a guard, a store, keys and a clock")
	}
	if c.MaxValueBytes == 0 {
		c.MaxValueBytes = DefaultMaxValueBytes
	}
	if c.MaxBackupBytes == 0 {
		c.MaxBackupBytes = DefaultMaxBackupBytes
	}
	if c.CacheBytes == 0 {
		c.CacheBytes = DefaultCacheBytes
	}
	return &Service{Config: c, cache: newCache(c.CacheBytes)}, nil
}

// MaxBodyBytes bounds the body that sets a secret. JSON may take six bytes for one of the value, and the rest of the body
// has tags and a content type.
func (s *Service) MaxBodyBytes() int64 {
	const rest, least = 64 << 10, 256 << 10
	return max(least, 6*int64(s.MaxValueBytes)+rest)
}

// Changed replaces or drops what a commit made stale. It belongs to the store's watchers, so that a writer reads its own write.
func (s *Service) Changed(c *store.Commit) {
	for i := range c.Changes {
		ch := &c.Changes[i]
		switch {
		case ch.Kind == store.ObjectChanged && ch.Object == vault.Secret:
			s.cache.committed(c.Op.ID, cacheKey{ch.Vault, ch.NameKey})
		case ch.Kind == store.VaultChanged:
			s.cache.dropVault(ch.Vault)
		}
	}
}

// Item is a secret with one of its versions, without its value.
type Item struct {
	Object  *vault.Object
	Version *vault.Version
}

// Selector says which version of a secret is meant. With neither Version nor Label it is the one that the caller is to have: the current one,
// unless a rollout gives the caller the next.
type Selector struct {
	Name    string
	Version vault.VersionID
	Label   vault.Label
	// Candidate says that the reader knows what a candidate is: it may then read that one by its id.
	Candidate bool
}

// Input is a new version.
type Input struct {
	Value              []byte
	ContentType        string
	Tags               map[string]string
	Enabled            bool
	NotBefore, Expires time.Time
	// Beside, when not nil, writes what belongs to the version in the transaction that stores it, and Detail is what the audit record then tells beyond the names. It may
	// run more than once.
	Beside func(tx store.Tx, stored Item) error
	Detail string
}

// Change is what to change of a version: a nil member stays as it is.
type Change struct {
	ContentType *string
	// Tags replaces the whole map.
	Tags               map[string]string
	Enabled            *bool
	NotBefore, Expires *time.Time
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

func notFound(name string) error {
	return fault.New(fault.NotFound, "a secret with the name %q was not found in this vault: check the name, and that it was not deleted", name).
		Because("SecretNotFound")
}

func versionNotFound(name string, v vault.VersionID) error {
	return fault.New(fault.NotFound, "the secret %q has no version %q: list its versions to see those that it has", name, v).
		Because("SecretNotFound")
}

func (s *Service) checkInput(in *Input) error {
	if len(in.Value) > s.MaxValueBytes {
		return fault.New(fault.Invalid, "the value has %d bytes: a secret has at most %d", len(in.Value), s.MaxValueBytes).
			Because("ValueTooLarge")
	}
	if err := vault.CheckContentType(in.ContentType); err != nil {
		return err
	}
	if err := vault.CheckTags(in.Tags); err != nil {
		return err
	}
	return vault.Attributes{NotBefore: in.NotBefore, Expires: in.Expires}.Check()
}

// live finds a live object in a transaction.
func live(ctx context.Context, tx store.Tx, v vault.ID, name string) (*vault.Object, error) {
	o, err := tx.Object(ctx, v, vault.Secret, name)
	if fault.Is(err, fault.NotFound) || err == nil && o.Deleted != nil {
		return nil, notFound(name)
	}
	return o, err
}

// deleted finds a deleted object in a transaction.
func deleted(ctx context.Context, tx store.Tx, v vault.ID, name string) (*vault.Object, error) {
	o, err := tx.Object(ctx, v, vault.Secret, name)
	if fault.Is(err, fault.NotFound) || err == nil && o.Deleted == nil {
		return nil, fault.New(fault.NotFound, "a deleted secret with the name %q was not found in this vault", name).Because("SecretNotFound")
	}
	return o, err
}

// version finds a version that callers may see.
func version(ctx context.Context, tx store.Tx, o *vault.Object, id vault.VersionID) (*vault.Version, error) {
	if id == "" {
		return nil, notFound(o.Name)
	}
	v, err := tx.Version(ctx, o.ID, id)
	if fault.Is(err, fault.NotFound) || err == nil && o.Hides(v) {
		return nil, versionNotFound(o.Name, id)
	}
	return v, err
}

// candidate finds the version under the label candidate, for who asks for it by that name, or by its id and says that it knows what it gets. It is
// pending, and everybody else is told that it does not exist.
func candidate(ctx context.Context, tx store.Tx, o *vault.Object, id vault.VersionID) (*vault.Version, error) {
	if id == "" {
		return nil, fault.New(fault.NotFound, "the secret %q has no candidate now", o.Name).Because("SecretNotFound")
	}
	v, err := tx.Version(ctx, o.ID, id)
	if err == nil && v.State == vault.Abandoned {
		return nil, versionNotFound(o.Name, id)
	}
	return v, err
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
