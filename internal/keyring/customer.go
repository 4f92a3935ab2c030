package keyring

import (
	"context"
	"crypto/subtle"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// Customers wraps with keys that customers keep in vaults of the same tenant. An error of it names the key, and what is wrong with it; one that may be
// over soon is a fault.Unavailable, one that somebody has to mend a fault.Forbidden.
type Customers interface {
	// Wrap encrypts a key of the vault by, and says with what: the version that key names, or the current one.
	Wrap(ctx context.Context, tenant vault.TenantID, by vault.ID, key vault.CustomerKey, plain []byte) (wrapped []byte, with store.CustomerWrap, err error)
	// Unwrap returns the key, which the caller zeroes.
	Unwrap(ctx context.Context, tenant vault.TenantID, by vault.ID, with store.CustomerWrap, wrapped []byte) ([]byte, error)
	// Newest returns the version that Wrap would use now. It neither uses nor records anything.
	Newest(ctx context.Context, tenant vault.TenantID, by vault.ID, key vault.CustomerKey) (vault.VersionID, error)
}

// customerTrust is how long an unwrapped key stays in memory before its customer's key has to unwrap it again: a key that was withdrawn where no
// commit tells of it, as in a token, closes the vault within this time.
const customerTrust = 5 * time.Minute

// maxCustomerChain bounds the vaults of which each protects the next.
const maxCustomerChain = 8

var errChain = fault.New(fault.Internal, "the customer's keys of some vaults protect each other in a circle: the store was changed from outside; restore it")

// unwrapping is in the context of an unwrapping: it counts how many are under way for one request, so that a circle in a store that somebody tampered
// with ends, instead of waiting for itself.
type unwrapping struct{}

func deeper(ctx context.Context) (context.Context, error) {
	n, _ := ctx.Value(unwrapping{}).(int)
	if n >= maxCustomerChain {
		return ctx, errChain
	}
	return context.WithValue(ctx, unwrapping{}, n+1), nil
}

// depth tells apart flights that began at different depths: one that waits for itself would wait for ever.
func depth(ctx context.Context) string {
	n, _ := ctx.Value(unwrapping{}).(int)
	return strconv.Itoa(n)
}

// trust is in the context of an unwrapping: until when what it finds may be believed. A key that another vault's key protects is believed no longer than
// that one, or a row of vaults would take as many times as long to notice what no commit tells of.
type trust struct{ until atomic.Int64 }

// trusted is the key under which it is there.
type trusted struct{}

// trusting bounds what an unwrapping finds.
func trusting(ctx context.Context, until time.Time) (context.Context, *trust) {
	t := new(trust)
	t.until.Store(until.UnixNano())
	return context.WithValue(ctx, trusted{}, t), t
}

// lean notes that the unwrapping which ctx is of, if it is of one, depends on the key.
func lean(ctx context.Context, n *key) {
	t, ok := ctx.Value(trusted{}).(*trust)
	if !ok {
		return
	}
	for ; n != nil; n = n.parent {
		for n.now != nil {
			was := t.until.Load()
			if n.until.UnixNano() >= was || t.until.CompareAndSwap(was, n.until.UnixNano()) {
				break
			}
		}
	}
}

// customer guards the Customers against their lack.
func (k *Keyring) customer() (Customers, error) {
	if k.customers == nil {
		return nil, fault.New(fault.Unavailable, "this server has nobody to ask for customers' keys: start it with its key service")
	}
	return k.customers, nil
}

// wrapFor wraps a vault's key: first with the customer's key, when there is one, and then with the parent.
func (k *Keyring) wrapFor(ctx context.Context, parent *key, raw *rawKey, row store.WrappedKey, customer *vault.CustomerKey) (*store.WrappedKey, error) {
	if customer == nil {
		row.Customer = nil
		return parent.wrap(raw, row), nil
	}
	c, err := k.customer()
	if err != nil {
		return nil, err
	}
	if ctx, err = deeper(ctx); err != nil {
		return nil, err
	}
	tenant, by := vault.TenantID(parent.row.Owner), vault.ID(row.Owner)
	wrapped, with, err := c.Wrap(ctx, tenant, by, *customer, raw[:])
	if err != nil {
		return nil, err
	}
	// A key that cannot open what it wrapped would lose the vault; this is the last moment to notice.
	back, err := c.Unwrap(ctx, tenant, by, with, wrapped)
	defer clear(back)
	if err != nil {
		return nil, err
	}
	if subtle.ConstantTimeCompare(back, raw[:]) != 1 {
		return nil, fault.New(fault.Internal, "the customer's key %q gave back another key than it was given: nothing was changed; check the token that it is in", customer.Name)
	}
	row.Customer = &with
	row.Parent = parent.row.ID
	row.Wrapped = sealWith(parent.aead, nil, wrapped, bindKeyRow(&row))
	return &row, nil
}

// unwrapFor is openRow for every row: it asks the customer's key of one that has one.
func (k *Keyring) unwrapFor(ctx context.Context, parent *key, row *store.WrappedKey) (*rawKey, error) {
	if row.Customer == nil {
		return openRow(parent, row)
	}
	wrapped, err := openCustomerRow(parent, row)
	if err != nil {
		return nil, err
	}
	c, err := k.customer()
	if err != nil {
		return nil, err
	}
	if ctx, err = deeper(ctx); err != nil {
		return nil, err
	}
	plain, err := c.Unwrap(ctx, vault.TenantID(parent.row.Owner), vault.ID(row.Owner), *row.Customer, wrapped)
	defer clear(plain)
	if err != nil {
		return nil, err
	}
	if len(plain) != keyBytes {
		return nil, fault.Wrap(ErrDamaged, fault.Internal, "the customer's key %q unwraps something else than the key of the vault", row.Customer.Key.Name)
	}
	raw := rawKey(plain)
	return &raw, nil
}

// openCustomerRow opens the outer wrapping, under which there is what the customer's key wrapped.
func openCustomerRow(parent *key, row *store.WrappedKey) ([]byte, error) {
	wrapped, err := openWith(parent.aead, nil, row.Wrapped, bindKeyRow(row))
	return wrapped, fault.Wrap(err, fault.Internal, "the %s key %s of %s does not open with its parent: the store was changed from outside; restore it",
		row.Purpose, row.ID, row.Owner)
}

// moveCustomerRow wraps a row under another parent. It needs no customer's key.
func moveCustomerRow(old, parent *key, row *store.WrappedKey) (*store.WrappedKey, error) {
	wrapped, err := openCustomerRow(old, row)
	if err != nil {
		return nil, err
	}
	next := *row
	next.Parent = parent.row.ID
	next.Wrapped = sealWith(parent.aead, nil, wrapped, bindKeyRow(&next))
	return &next, nil
}

// encryption returns the customer's key of a vault; nil when it has none, or is still being made.
func (k *Keyring) encryption(ctx context.Context, id vault.ID) (v *vault.Vault, err error) {
	err = k.store.View(ctx, func(tx store.Tx) error {
		v, err = tx.Vault(ctx, id)
		return err
	})
	if fault.Is(err, fault.NotFound) {
		return nil, nil
	}
	if err != nil || v.Encryption == nil {
		return nil, err
	}
	return v, nil
}

// dependents remembers which keys in memory were unwrapped with which customers' keys, so that a change of one is noticed at once.
type dependents struct {
	mu sync.Mutex
	on map[vault.ID]map[string][]dependent // customer's vault -> name key of its key
}

// dependent is the key of a vault.
type dependent struct {
	id string
	of vault.ID
}

func (d *dependents) add(c *vault.CustomerKey, row *store.WrappedKey) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.on == nil {
		d.on = make(map[vault.ID]map[string][]dependent)
	}
	names := d.on[c.Vault]
	if names == nil {
		names = make(map[string][]dependent)
		d.on[c.Vault] = names
	}
	name, one := vault.NameKey(c.Name), dependent{row.ID, vault.ID(row.Owner)}
	if !slices.Contains(names[name], one) {
		names[name] = append(names[name], one)
	}
}

// take returns the keys that a change makes doubtful, with those that hang on what these protect, and forgets them: whoever loads one again adds it again.
func (d *dependents) take(c *store.Change) (ids []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	names := d.on[c.Vault]
	if names == nil {
		return nil
	}
	switch {
	case c.Kind == store.VaultChanged:
		return d.takeVault(c.Vault, nil)
	case c.Kind == store.ObjectChanged && c.Object == vault.Key:
		list := names[c.NameKey]
		delete(names, c.NameKey)
		for _, one := range list {
			ids = d.takeVault(one.of, append(ids, one.id))
		}
	}
	return ids
}

// takeVault appends what hangs on any key of a vault.
func (d *dependents) takeVault(id vault.ID, ids []string) []string {
	names := d.on[id]
	delete(d.on, id)
	for _, list := range names {
		for _, one := range list {
			ids = d.takeVault(one.of, append(ids, one.id))
		}
	}
	return ids
}
