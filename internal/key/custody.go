package key

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/keywright/keywright/internal/cryptokey"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/object"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// CustomerKeyUnavailable is the reason of the fault when what a vault keeps cannot be opened, because of the customer's key that protects it.
const CustomerKeyUnavailable fault.Reason = "CustomerKeyUnavailable"

// KeyNeeded is the reason of the fault when a key cannot be purged, because something opens only with it.
const KeyNeeded fault.Reason = "KeyNeeded"

// Custody wraps the keys of vaults with keys that customers keep in other vaults of the same tenant. It is the keyring's, works for nobody but the
// product, and records each use at the customer's key. It implements keyring.Customers.
//
// A keyring is opened before the service that has the keys: the zero Custody refuses everything until New of a Config with it binds it.
type Custody struct{ service atomic.Pointer[Service] }

// bound returns the service that has the keys.
func (c *Custody) bound() (*Service, error) {
	if s := c.service.Load(); s != nil {
		return s, nil
	}
	return nil, fault.New(fault.Unavailable, "the server is starting: customers' keys can be used in a moment")
}

// custodyOf names what stands between a vault and what it keeps, for messages.
type custodyOf struct {
	by    *vault.Vault
	vault *vault.Vault
	item  Item
}

// Newest implements keyring.Customers.
func (c *Custody) Newest(ctx context.Context, tenant vault.TenantID, by vault.ID, key vault.CustomerKey) (vault.VersionID, error) {
	s, err := c.bound()
	if err != nil {
		return "", err
	}
	found, err := s.findForVault(ctx, tenant, by, key)
	if err != nil {
		return "", err
	}
	f, err := Describe(found.item.Version)
	if err == nil {
		err = usable(found.item, f, cryptokey.UnwrapKey, false, s.Clock.Now())
	}
	if err != nil {
		return "", found.unavailable(err)
	}
	return found.item.Version.ID, nil
}

// Wrap implements keyring.Customers. The algorithm is the strongest that the key, or the token that it is in, can do.
func (c *Custody) Wrap(ctx context.Context, tenant vault.TenantID, by vault.ID, key vault.CustomerKey, plain []byte) (wrapped []byte, with store.CustomerWrap, err error) {
	s, err := c.bound()
	if err != nil {
		return nil, with, err
	}
	err = s.useForVault(ctx, tenant, by, key, cryptokey.WrapKey, func(k *cryptokey.Key, version vault.VersionID, detail func(cryptokey.Algorithm)) error {
		key.Version = version
		var errs []error
		for _, alg := range wrapsVaults(k.Spec()) {
			out, err := k.WrapKey(alg, cryptokey.Input{Value: plain})
			if err == nil {
				err = opens(k, alg, out.Value, plain)
			}
			if fault.Is(err, fault.Unsupported) { // by the token: the next may do
				errs = append(errs, err)
				continue
			}
			if err != nil {
				return err
			}
			detail(alg)
			wrapped, with = out.Value, store.CustomerWrap{Key: key, Algorithm: string(alg)}
			return nil
		}
		return errors.Join(append(errs, fault.New(fault.Invalid, "a key of type %s cannot protect a vault: use an RSA key, or an oct key of 256 bits", k.Spec()))...)
	})
	return wrapped, with, err
}

// opens reports whether what was wrapped can be unwrapped: some tokens wrap what they cannot open.
func opens(k *cryptokey.Key, alg cryptokey.Algorithm, wrapped, want []byte) error {
	back, err := k.UnwrapKey(alg, cryptokey.Input{Value: wrapped})
	defer clear(back)
	if err == nil && subtle.ConstantTimeCompare(back, want) != 1 {
		err = fault.New(fault.Unsupported, "%s does not give back what it wrapped", alg)
	}
	return err
}

// Unwrap implements keyring.Customers.
func (c *Custody) Unwrap(ctx context.Context, tenant vault.TenantID, by vault.ID, with store.CustomerWrap, wrapped []byte) (plain []byte, err error) {
	s, err := c.bound()
	if err != nil {
		return nil, err
	}
	err = s.useForVault(ctx, tenant, by, with.Key, cryptokey.UnwrapKey, func(k *cryptokey.Key, _ vault.VersionID, detail func(cryptokey.Algorithm)) error {
		detail(cryptokey.Algorithm(with.Algorithm))
		plain, err = k.UnwrapKey(cryptokey.Algorithm(with.Algorithm), cryptokey.Input{Value: wrapped})
		return err
	})
	return plain, err
}

// wrapsVaults are the algorithms with which a key may wrap a vault's, best first. None may be weaker than what it wraps, AES of 256 bits, but RSA,
// which Key Vault's customers have.
func wrapsVaults(spec cryptokey.Spec) []cryptokey.Algorithm {
	switch {
	case spec.Type == cryptokey.RSA:
		return []cryptokey.Algorithm{cryptokey.RSAOAEP256, cryptokey.RSAOAEP}
	case spec.Type == cryptokey.Oct && spec.Bits == 256:
		return []cryptokey.Algorithm{cryptokey.A256KW}
	}
	return nil
}

// CheckCustomerKey reports whether a version of a key can protect a vault.
func CheckCustomerKey(it Item) error {
	f, err := Describe(it.Version)
	if err != nil {
		return err
	}
	bad := func(why string) error {
		return fault.New(fault.Invalid, "the key %q cannot protect a vault: %s", it.Object.Name, why)
	}
	spec := cryptokey.Spec{Type: cryptokey.Type(f.Public.Kty), Bits: f.Bits}
	switch {
	case it.Object.Managed:
		return bad("it belongs to a certificate")
	case len(wrapsVaults(spec)) == 0:
		return bad("use an RSA key, or an oct key of 256 bits")
	case !f.Ops.Has(cryptokey.WrapKey) || !f.Ops.Has(cryptokey.UnwrapKey):
		return bad("its operations have to include wrapKey and unwrapKey")
	}
	return nil
}

// useForVault finds the key, uses it and records the use. Whatever keeps it from being used is a fault that says which key it is.
func (s *Service) useForVault(ctx context.Context, tenant vault.TenantID, by vault.ID, ref vault.CustomerKey, op cryptokey.Op,
	work func(k *cryptokey.Key, version vault.VersionID, detail func(cryptokey.Algorithm)) error) error {
	found, err := s.findForVault(ctx, tenant, by, ref)
	if err != nil {
		return err
	}
	now, o := s.Clock.Now(), operations[op]
	call := guard.System(tenant, custodyOperations[op], now).About(found.vault)
	need := guard.Need{Action: o.action, Kind: vault.Key, Name: found.item.Object.Name, Version: found.item.Version.ID, Reason: "VaultEncryption",
		Detail: "vault " + found.by.Name}
	err = s.workForVault(ctx, found, op, o.dated, now, func(k *cryptokey.Key) error {
		return work(k, found.item.Version.ID, func(alg cryptokey.Algorithm) { need.Detail = string(alg) + ", vault " + found.by.Name })
	})
	if err != nil {
		return s.Guard.Refuse(ctx, call, need, found.unavailable(err))
	}
	return s.Guard.Record(ctx, call, &need)
}

// custodyOperations are the operations of the uses, in the words of Key Vault's audit log.
var custodyOperations = map[cryptokey.Op]string{cryptokey.WrapKey: "KeyWrap", cryptokey.UnwrapKey: "KeyUnwrap"}

func (s *Service) workForVault(ctx context.Context, found *custodyOf, op cryptokey.Op, dated bool, now time.Time, work func(*cryptokey.Key) error) error {
	it := found.item
	value, err := s.Keys.Open(ctx, object.Place(found.vault, it.Object.ID, it.Version.ID), it.Version.Value)
	defer clear(value)
	if err != nil {
		return err
	}
	p, err := s.parseValue(it.Version, value)
	if err != nil {
		return err
	}
	if err := usable(it, p.facts, op, dated, now); err != nil {
		return err
	}
	return work(p.key)
}

// findForVault reads the customer's key as it is stored now.
func (s *Service) findForVault(ctx context.Context, tenant vault.TenantID, by vault.ID, ref vault.CustomerKey) (*custodyOf, error) {
	found := &custodyOf{by: &vault.Vault{ID: by, Name: string(by)}, vault: &vault.Vault{ID: ref.Vault, Name: string(ref.Vault)}}
	found.item.Object = &vault.Object{Name: ref.Name}
	err := s.Store.View(ctx, func(tx store.Tx) error {
		if v, err := tx.Vault(ctx, by); err == nil {
			found.by = v
		} else if !fault.Is(err, fault.NotFound) { // its backups may outlive a vault
			return err
		}
		v, err := tx.Vault(ctx, ref.Vault)
		if fault.Is(err, fault.NotFound) || err == nil && v.Tenant != tenant {
			return found.unavailable(fault.New(fault.Gone, "its vault was purged"))
		}
		if err != nil {
			return err
		}
		if found.vault = v; v.Deleted != nil {
			return found.unavailable(fault.New(fault.Gone, "its vault is deleted: recover the vault"))
		}
		return found.version(ctx, tx, ref)
	})
	if err != nil {
		return nil, err
	}
	return found, nil
}

func (f *custodyOf) version(ctx context.Context, tx store.Tx, ref vault.CustomerKey) error {
	o, err := tx.Object(ctx, ref.Vault, vault.Key, ref.Name)
	if fault.Is(err, fault.NotFound) || err == nil && o.ID != ref.Key {
		return f.unavailable(fault.New(fault.Gone, "it was purged"))
	}
	if err != nil {
		return err
	}
	if f.item.Object = o; o.Deleted != nil {
		return f.unavailable(fault.New(fault.Gone, "it is deleted: recover the key"))
	}
	id := ref.Version
	if id == "" {
		id = o.Current
	}
	f.item.Version, err = tx.Version(ctx, o.ID, id)
	if fault.Is(err, fault.NotFound) {
		return f.unavailable(fault.New(fault.Gone, "it has no version %s", id))
	}
	return err
}

// unavailable says which vault is closed, because of which key, and why.
func (f *custodyOf) unavailable(err error) error {
	kind, why := fault.Of(err), "see the server's log"
	switch kind {
	case fault.Internal:
	case fault.Unavailable:
		why = fault.As(err).Message
	default:
		kind, why = fault.Forbidden, fault.As(err).Message
	}
	e := fault.New(kind, "the vault %q is encrypted with the customer's key %q of the vault %q, which cannot be used: %s", f.by.Name, f.item.Object.Name,
		f.vault.Name, why).Because(CustomerKeyUnavailable)
	e.Err = err
	return e
}

// Needed reports whether keys of a vault are needed by others, as a fault that says by whom: one key, or any of them when none is named.
func Needed(ctx context.Context, tx store.Tx, v *vault.Vault, o *vault.Object, at time.Time) error {
	var id vault.ObjectID
	what := fmt.Sprintf("the vault %q", v.Name)
	if o != nil {
		id, what = o.ID, fmt.Sprintf("the key %q", o.Name)
	}
	needs, err := tx.KeyNeeds(ctx, v.ID, id)
	if err != nil {
		return err
	}
	var by []string
	for _, n := range needs {
		switch {
		case n.Ended(at):
		case n.Use == store.NeededByFullBackups && n.Until.IsZero():
			by = append(by, "backups of the installation, in which it opens "+fmt.Sprintf("the vault %q", n.ByName))
		case n.Use == store.NeededByFullBackups:
			by = append(by, fmt.Sprintf("backups of the installation, in which it opens the vault %q, and which are kept until %s", n.ByName, n.Until.UTC().Format(time.DateOnly)))
		case n.Use == store.NeededByBackups && n.Until.IsZero():
			by = append(by, fmt.Sprintf("backups of the vault %q", n.ByName))
		case n.Use == store.NeededByBackups:
			by = append(by, fmt.Sprintf("backups of the vault %q, which are kept until %s", n.ByName, n.Until.UTC().Format(time.DateOnly)))
		default:
			by = append(by, fmt.Sprintf("the vault %q, which is encrypted with it", n.ByName))
		}
	}
	if len(by) == 0 {
		return nil
	}
	if o == nil {
		what = "a key of " + what
	}
	return fault.New(fault.Forbidden, "%s cannot be purged, because it is needed by %s", what, strings.Join(by, ", and by ")).Because(KeyNeeded)
}

// purged keeps a key that something opens only with.
func purged(ctx context.Context, tx store.Tx, v *vault.Vault, o *vault.Object, at time.Time) error {
	return Needed(ctx, tx, v, o, at)
}
