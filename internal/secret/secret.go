package secret

import (
	"context"
	"errors"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/keyring"
	"github.com/keywright/keywright/internal/object"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// DefaultMaxValueBytes is the largest value that Key Vault takes: 25 KB, of 1,024 bytes each.
const DefaultMaxValueBytes = 25 << 10

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
	// MaxBackupBytes bounds the body of a restore; 0 means object.DefaultMaxBackupBytes.
	MaxBackupBytes int64
	// CacheBytes bounds the cache of sealed versions; 0 means object.DefaultCacheBytes.
	CacheBytes int64
	// Pends is asked, in the transaction of each write, under which labels the new version waits instead of becoming current; for none it does. So
	// waits what a rotation function writes, as pending, until it was proved at the target. It may write to the transaction, but not the object.
	// Nil never lets a version wait.
	Pends func(ctx context.Context, tx store.Tx, call *guard.Call, o *vault.Object, ver *vault.Version) ([]vault.Label, error)
	// Dated is told, in the transaction of the change, of a current version whose end of validity may be another than before. It may write to the transaction, but
	// not the object. Nil tells nobody.
	Dated func(ctx context.Context, tx store.Tx, o *vault.Object, ver *vault.Version) error
	// Pack, Unpack and Admit bring what belongs to a secret beside its versions into a backup and back: see object.Config.
	Pack   func(ctx context.Context, tx store.Tx, o *vault.Object) ([]byte, error)
	Unpack func(ctx context.Context, tx store.Tx, v *vault.Vault, o *vault.Object, packed []byte) error
	Admit  func(ctx context.Context, call *guard.Call, packed []byte) error
}

// Service serves secrets.
type Service struct {
	Config
	object.Lifecycle
	objects *object.Objects
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
		c.MaxBackupBytes = object.DefaultMaxBackupBytes
	}
	objects, err := object.New(object.Config{Guard: c.Guard, Store: c.Store, Keys: c.Keys, Clock: c.Clock, Kind: kind, MaxVersions: c.MaxVersions,
		CacheBytes: c.CacheBytes, Pends: c.Pends, Settled: c.dated(), Pack: c.Pack, Unpack: c.Unpack, Admit: c.Admit})
	if err != nil {
		return nil, err
	}
	return &Service{Config: c, Lifecycle: objects.Lifecycle(), objects: objects}, nil
}

// dated tells of current versions that expire; nil when nobody wants to hear.
func (c *Config) dated() func(context.Context, store.Tx, *vault.Vault, Item) error {
	if c.Dated == nil {
		return nil
	}
	return func(ctx context.Context, tx store.Tx, _ *vault.Vault, it Item) error {
		if it.Object.Deleted != nil || it.Version == nil || it.Version.Attributes.Expires.IsZero() {
			return nil
		}
		return c.Dated(ctx, tx, it.Object, it.Version)
	}
}

// MaxBodyBytes bounds the body that sets a secret. JSON may take six bytes for one of the value, and the rest of the body
// has tags and a content type.
func (s *Service) MaxBodyBytes() int64 {
	const rest, least = 64 << 10, 256 << 10
	return max(least, 6*int64(s.MaxValueBytes)+rest)
}

// What secrets share with the other kinds of objects.
type (
	// Item is a secret with one of its versions, without its value.
	Item = object.Item
	// Selector says which version of a secret is meant.
	Selector = object.Selector
	// Page selects a part of a listing, Listing is it.
	Page    = object.Page
	Listing = object.Listing
)

// kind says what is a secret's own in the life that all objects have.
var kind = object.Kind{Kind: vault.Secret, Word: "Secret", NotFound: "SecretNotFound",
	List: authz.SecretList, GetDeleted: authz.SecretGetDeleted, Delete: authz.SecretDelete, Recover: authz.SecretRecover, Purge: authz.SecretPurge,
	Backup: authz.SecretBackup, Restore: authz.SecretRestore}

// The types of the events of secrets.
var (
	NewVersion = kind.EventType(object.NewVersion)
	NearExpiry = kind.EventType(object.NearExpiry)
	Expired    = kind.EventType(object.Expired)
)
