package cert

import (
	"context"
	"crypto"
	"errors"
	"log/slog"
	"strings"
	"time"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/issuer"
	"github.com/keywright/keywright/internal/key"
	"github.com/keywright/keywright/internal/keyring"
	"github.com/keywright/keywright/internal/mail"
	"github.com/keywright/keywright/internal/object"
	"github.com/keywright/keywright/internal/secret"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// Order says for what an issuer is wanted.
type Order struct {
	Vault *vault.Vault
	// Ref names the issuer: SelfIssuer, UnknownIssuer, or one that was set up in the vault, whose settings are given then.
	Ref      IssuerRef
	Settings *Settings
	// Before are the settings that are about to be changed, and Kept names their secret options that were not given again. Both are for Prepare alone, and nil for new settings.
	Before *Settings
	Kept   []string
	// Signer is the key of the certificate, for SelfIssuer alone.
	Signer func(ctx context.Context) (crypto.Signer, error)
	// Authority opens the certificate of that name in the vault with its key, for an issuer that signs with it.
	Authority func(ctx context.Context, name string) (*Authority, error)
}

// Issuers finds who issues for a vault's certificates.
type Issuers interface {
	// Issuer returns the issuer of an order. A reference that stands for nothing is a fault.Invalid.
	Issuer(ctx context.Context, o Order) (issuer.Issuer, error)
}

// Preparer is an Issuers that looks at the settings of an issuer before they are stored.
type Preparer interface {
	// Prepare refuses settings that no issuer can be made of with a fault.Invalid that names every mistake, and fills in what is made here, such as the key
	// of an account. It asks nobody else.
	Prepare(ctx context.Context, o Order) error
}

// Config makes a Service. All members but the limits are required.
type Config struct {
	Guard   *guard.Guard
	Store   store.Store
	Sealing *keyring.Keyring
	Clock   clock.Clock
	// Logger hears of what the background work could not do.
	Logger *slog.Logger
	// Keys and Secrets are the other two sides of a certificate.
	Keys    *key.Service
	Secrets *secret.Service
	Issuers Issuers
	// Mail takes letters to the contacts, in the transaction of what they tell; nil where no mail is set up.
	Mail func(ctx context.Context, tx store.Tx, l mail.Letter) error
	// MaxVersions bounds the versions of one certificate; 0 means no bound.
	MaxVersions int
	// MaxBackupBytes bounds the body of a restore; 0 means object.DefaultMaxBackupBytes.
	MaxBackupBytes int64
	// CacheBytes bounds what is kept of certificates in memory; 0 means object.DefaultCacheBytes.
	CacheBytes int64
}

// Service serves certificates.
type Service struct {
	Config
	objects *object.Objects
	life    object.Lifecycle
	// own, keys and secrets are the three sides of a certificate.
	own     object.Moves
	keys    key.Backing
	secrets object.Moves
	// wake makes the background work look at once.
	wake chan struct{}
}

// What certificates share with the other kinds of objects.
type (
	// Item is a certificate with one of its versions. A certificate whose first version waits for its issuer has that one, and one that has none no
	// version at all.
	Item     = object.Item
	Selector = object.Selector
	Page     = object.Page
	Listing  = object.Listing
)

// notFound is the reason of the fault when there is no such certificate.
const notFound fault.Reason = "CertificateNotFound"

var kind = object.Kind{Kind: vault.Certificate, Word: "Certificate", NotFound: notFound,
	List: authz.CertificateList, GetDeleted: authz.CertificateGet, Delete: authz.CertificateDelete, Recover: authz.CertificateRecover,
	Purge: authz.CertificatePurge, Backup: authz.CertificateBackup, Restore: authz.CertificateRestore}

// New checks the configuration. The caller hooks Changed to the store's commits before the first request.
func New(c Config) (*Service, error) {
	if c.Guard == nil || c.Store == nil || c.Sealing == nil || c.Clock == nil || c.Logger == nil || c.Keys == nil || c.Secrets == nil || c.Issuers == nil {
		return nil, errors.New("the certificate service needs a guard, a store, a keyring, a clock, a logger, keys, secrets and issuers")
	}
	if c.MaxBackupBytes == 0 {
		c.MaxBackupBytes = object.DefaultMaxBackupBytes
	}
	s := &Service{Config: c, keys: c.Keys.Backing(), secrets: c.Secrets.Backing(), wake: make(chan struct{}, 1)}
	objects, err := object.New(object.Config{Guard: c.Guard, Store: c.Store, Keys: c.Sealing, Clock: c.Clock, Kind: kind, MaxVersions: c.MaxVersions,
		CacheBytes: c.CacheBytes, Settled: s.settled, Purged: s.purged})
	if err != nil {
		return nil, err
	}
	s.objects, s.life, s.own = objects, objects.Lifecycle(), objects.Moves(false)
	return s, nil
}

// reserved are the words that stand in the place of a name on the wire.
var reserved = []string{"contacts", "issuers"}

// CheckName reports whether a certificate may have the name.
func CheckName(name string) error {
	for _, r := range reserved {
		if strings.EqualFold(name, r) {
			return fault.New(fault.Invalid, "a certificate cannot be named %q: the word stands for something else in addresses", r)
		}
	}
	return vault.CheckObjectName(name)
}

// settled lets the key and the secret follow their certificate, and finds out when there is something to do for it next.
func (s *Service) settled(ctx context.Context, tx store.Tx, v *vault.Vault, it Item) error {
	if err := s.keys.Follow(ctx, tx, v, it.Object); err != nil {
		return err
	}
	if err := s.secrets.Follow(ctx, tx, v, it.Object); err != nil {
		return err
	}
	st, err := stateOf(ctx, tx, it.Object.ID)
	if err != nil || st.row == nil {
		return err
	}
	due := st.due(it)
	if due.Equal(st.row.DueAt) {
		return nil
	}
	return st.put(ctx, tx, v, it.Object, due)
}

// purged destroys the key and the secret with their certificate.
func (s *Service) purged(ctx context.Context, tx store.Tx, v *vault.Vault, o *vault.Object, at time.Time) error {
	return errors.Join(s.keys.Purge(ctx, tx, v, o.Name, at), s.secrets.Purge(ctx, tx, v, o.Name, at))
}

// system is the call of what the program does by itself.
func (s *Service) system(v *vault.Vault, operation string) *guard.Call {
	return guard.System(v.Tenant, operation, s.Clock.Now()).About(v)
}
