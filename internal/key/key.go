package key

import (
	"errors"
	"log/slog"
	"runtime"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/keyring"
	"github.com/keywright/keywright/internal/object"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// Config makes a Service. Guard, Store, Keys, Clock and Logger are required.
type Config struct {
	Guard *guard.Guard
	Store store.Store
	Keys  *keyring.Keyring
	Clock clock.Clock
	// Logger hears of rotations that failed.
	Logger *slog.Logger
	// MaxVersions bounds the versions of one key; 0 means no bound.
	MaxVersions int
	// MaxBackupBytes bounds the body of a restore; 0 means object.DefaultMaxBackupBytes.
	MaxBackupBytes int64
	// CacheBytes bounds what is kept of keys in memory; 0 means object.DefaultCacheBytes.
	CacheBytes int64
	// Attestations judges who a key may be released to; nil releases none.
	Attestations Attestations
	// Custody is how the keyring reaches customers' keys; New binds it. Nil where no keyring does.
	Custody *Custody
	// Token holds the keys of -HSM types; nil keeps them in the store like the others.
	Token Token
}

// Service serves keys.
type Service struct {
	Config
	object.Lifecycle
	objects *object.Objects
	// making bounds how many keys are made at once: a large RSA key takes seconds of a processor.
	making chan struct{}
}

// What keys share with the other kinds of objects.
type (
	// Item is a key with one of its versions.
	Item = object.Item
	// Selector says which version of a key is meant.
	Selector = object.Selector
	// Page selects a part of a listing, Listing is it.
	Page    = object.Page
	Listing = object.Listing
)

// keptBytes is about what a parsed RSA key of 4096 bits takes, with what crypto/rsa computes beforehand.
const keptBytes = 8 << 10

var kind = object.Kind{Kind: vault.Key, Word: "Key", NotFound: "KeyNotFound",
	List: authz.KeyList, GetDeleted: authz.KeyGet, Delete: authz.KeyDelete, Recover: authz.KeyRecover, Purge: authz.KeyPurge,
	Backup: authz.KeyBackup, Restore: authz.KeyRestore, Kept: keptBytes}

// New checks the configuration. The caller hooks Changed to the store's commits before the first request.
func New(c Config) (*Service, error) {
	if c.Guard == nil || c.Store == nil || c.Keys == nil || c.Clock == nil || c.Logger == nil {
		return nil, errors.New("the key service needs a guard, a store, keys, a clock and a logger")
	}
	if c.MaxBackupBytes == 0 {
		c.MaxBackupBytes = object.DefaultMaxBackupBytes
	}
	s := &Service{Config: c, making: make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2))}
	objects, err := object.New(object.Config{Guard: c.Guard, Store: c.Store, Keys: c.Keys, Clock: c.Clock, Kind: kind, MaxVersions: c.MaxVersions,
		CacheBytes: c.CacheBytes, Settled: settled, Purged: purged, Ahead: ahead, Pack: pack, Unpack: unpackPolicy})
	if err != nil {
		return nil, err
	}
	s.objects, s.Lifecycle = objects, objects.Lifecycle()
	if c.Custody != nil {
		c.Custody.service.Store(s)
	}
	return s, nil
}
