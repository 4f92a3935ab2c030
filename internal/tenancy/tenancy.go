package tenancy

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/keyring"
	"github.com/keywright/keywright/internal/principal"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// Keys makes the keys of new tenants and vaults. The keyring implements it. What it returns is not stored yet.
type Keys interface {
	NewTenantKeys(ctx context.Context, tenant vault.TenantID, now time.Time) ([]*store.WrappedKey, error)
	NewVaultKey(ctx context.Context, tenant vault.TenantID, id vault.ID, now time.Time) (*store.WrappedKey, error)
	// Protect and Rewrap prepare what changes when a customer's key is to protect a vault, or was rotated.
	Protect(ctx context.Context, tenant vault.TenantID, id vault.ID, customer *vault.CustomerKey) (*keyring.Protection, error)
	Rewrap(ctx context.Context, tenant vault.TenantID, v *vault.Vault) (*keyring.Protection, error)
	// WrappedWith lists the versions of customers' keys that wrap a vault's keys, and CheckCustomerKey says what keeps the customer's key from being used.
	WrappedWith(ctx context.Context, id vault.ID) ([]vault.VersionID, error)
	CheckCustomerKey(ctx context.Context, v *vault.Vault) error
	// Rotate makes a key of a layer, and States tells how the layers of a tenant are.
	Rotate(ctx context.Context, r keyring.Rotation, with keyring.With) (string, error)
	States(ctx context.Context, tenant vault.TenantID) ([]keyring.State, error)
}

// Change is prepared work within a transaction. It may run again, so it draws nothing and waits for nothing.
type Change func(ctx context.Context, tx store.Tx) error

// Identities prepares the making and removing of managed identities. The identity service stands behind it.
type Identities interface {
	// PrepareManaged prepares a managed identity that belongs to the resource.
	PrepareManaged(tenant vault.TenantID, resource, name string) (*principal.Principal, Change, error)
	// PrepareRemoval prepares to delete a principal with its memberships and grants.
	PrepareRemoval(tenant vault.TenantID, id principal.ID) Change
}

// Duties judges the access policies of a vault that is about to be stored. What it returns is asked in the transaction that does: an error refuses them because they
// put duties into one hand that must stay apart; a guard.ErrAgain asks to judge anew. The access service implements it.
type Duties interface {
	JudgePolicies(ctx context.Context, v *vault.Vault) (func(context.Context, store.Tx) error, error)
}

// DefaultSweepInterval is how often what is over its retention is looked for.
const DefaultSweepInterval = 10 * time.Minute

// Config makes a Service. Guard, Store, Keys, Clock and Logger are required.
type Config struct {
	Guard *guard.Guard
	Store store.Store
	Keys  Keys
	Clock clock.Clock
	// Identities is nil where resources cannot be given identities.
	Identities Identities
	// Duties is nil where access policies are not checked for duties in one hand.
	Duties Duties
	Logger *slog.Logger
	// SweepInterval is DefaultSweepInterval when zero.
	SweepInterval time.Duration
}

// Service manages tenants, subscriptions, resource groups and vaults. It is safe for concurrent use.
type Service struct {
	Config

	mu sync.Mutex
	// stop ends the sweeper, which closes done. Both are nil while it does not run.
	stop context.CancelFunc
	done chan struct{}
}

// New checks the configuration. Start begins the sweep.
func New(c Config) (*Service, error) {
	if c.Guard == nil || c.Store == nil || c.Keys == nil || c.Clock == nil || c.Logger == nil {
		return nil, errors.New("the tenancy service needs a guard, a store, keys, a clock and a logger")
	}
	if c.SweepInterval < 0 {
		return nil, errors.New("the interval of the sweep is negative")
	}
	if c.SweepInterval == 0 {
		c.SweepInterval = DefaultSweepInterval
	}
	return &Service{Config: c}, nil
}

// The reasons of errors, in the words of Azure Resource Manager.
const (
	SubscriptionNotFound    = guard.UnknownSubscription
	GroupNotFound           = fault.Reason("ResourceGroupNotFound")
	ResourceNotFound        = fault.Reason("ResourceNotFound")
	DeletedVaultNotFound    = fault.Reason("DeletedVaultNotFound")
	VaultAlreadyExists      = fault.Reason("VaultAlreadyExists")
	InvalidResourceLocation = fault.Reason("InvalidResourceLocation")
	InvalidSubscription     = fault.Reason("InvalidSubscriptionId")
	InvalidGroupName        = fault.Reason("InvalidResourceGroupName")
	LocationRequired        = fault.Reason("LocationRequired")
	PurgeProtected          = fault.Reason("PurgeProtected")
)

// GroupRef names a resource group.
type GroupRef struct {
	Subscription vault.SubscriptionID
	Group        string
}

// Scope returns the group's scope, or what is wrong with its names.
func (r GroupRef) Scope() (authz.Scope, error) {
	at, err := subscriptionScope(r.Subscription)
	if err != nil {
		return at, err
	}
	if at, err = authz.ParseScope(at.String() + "/resourceGroups/" + r.Group); err != nil || at.Parts().Group == "" || at.Parts().Vault != "" {
		return authz.Scope{}, fault.New(fault.Invalid, "%q cannot be the name of a resource group: use 1 to 90 letters, digits, underscores, hyphens, periods and "+
			"parentheses, not ending in a period", fault.Clip(r.Group)).Because(InvalidGroupName)
	}
	return at, nil
}

// VaultRef names a vault by its place.
type VaultRef struct {
	GroupRef
	Name string
}

// Scope returns the vault's scope, or what is wrong with its names.
func (r VaultRef) Scope() (authz.Scope, error) {
	at, err := r.GroupRef.Scope()
	if err != nil {
		return at, err
	}
	if err := vault.CheckName(r.Name); err != nil {
		return authz.Scope{}, err
	}
	return at.Vault(r.Name), nil
}

// is reports whether v is the vault that is named.
func (r VaultRef) is(v *vault.Vault) bool {
	return v.Subscription == r.Subscription && vault.NameKey(v.ResourceGroup) == vault.NameKey(r.Group)
}

func subscriptionScope(id vault.SubscriptionID) (authz.Scope, error) {
	canonical, err := vault.ParseGUID(string(id))
	if err != nil || canonical != string(id) {
		return authz.Scope{}, fault.New(fault.Invalid, "the subscription %q is not a GUID: check the subscription's id", fault.Clip(string(id))).Because(InvalidSubscription)
	}
	return authz.SubscriptionScope(id), nil
}

// maxTags and the bounds of one are those of Azure Resource Manager ("Use tags to organize your Azure resources").
const (
	maxTags          = 50
	maxTagNameBytes  = 512
	maxTagValueBytes = 256
)

func checkTags(tags map[string]string) error {
	if len(tags) > maxTags {
		return fault.New(fault.Invalid, "%d tags are too many: a resource has at most %d", len(tags), maxTags).Because("InvalidTags")
	}
	for name, value := range tags {
		if name == "" || len(name) > maxTagNameBytes || len(value) > maxTagValueBytes {
			return fault.New(fault.Invalid, "the tag %q is not valid: a name has 1 to %d bytes, a value at most %d", fault.Clip(name), maxTagNameBytes,
				maxTagValueBytes).Because("InvalidTags")
		}
	}
	return nil
}
