// Package consumer is the service by which those who use secrets speak to the ledger, and people look at it: a consumer acknowledges what it loaded and uses,
// a person sees who holds a version, who breaks if it dies, and what a principal ever held, and vouches for consumers that are no more.
//
// What they say becomes a record of the audit log, and the ledger takes it from there like everything else; so the ledger can be made anew from the
// log, and nothing is said without a name.
package consumer

import (
	"context"
	"errors"
	"time"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/ledger"
	"github.com/keywright/keywright/internal/principal"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// Config makes a Service. Guard, Store and Ledger are required.
type Config struct {
	Guard  *guard.Guard
	Store  store.Store
	Ledger *ledger.Ledger
	// Policy tells what is known about an object's consumers, and when its current version was promoted; a zero instant when it was not. Nil
	// knows nothing of any.
	Policy func(ctx context.Context, o ledger.Object) (ledger.Policy, time.Time, error)
}

// Service speaks for the ledger. It is safe for concurrent use.
type Service struct{ Config }

// New checks the configuration.
func New(c Config) (*Service, error) {
	if c.Guard == nil || c.Store == nil || c.Ledger == nil {
		return nil, errors.New("the consumer service needs a guard, a store and the ledger")
	}
	if c.Policy == nil {
		c.Policy = func(context.Context, ledger.Object) (ledger.Policy, time.Time, error) {
			return ledger.Policy{}, time.Time{}, nil
		}
	}
	return &Service{c}, nil
}

// NotDelivered is the reason of the conflict when a consumer acknowledges, or a person clears, what the consumer was not given.
const NotDelivered fault.Reason = "NotDelivered"

// catchUpTimeout is how long a caller waits for what was recorded just before. The log is durable every second.
const catchUpTimeout = 5 * time.Second

func thing(call *guard.Call, name string) ledger.Object {
	v := call.Vault.Vault
	return ledger.Object{Tenant: v.Tenant, Vault: v.ID, Kind: vault.Secret, Name: name}
}

// as returns the call under the operation by which the ledger knows what is said.
func as(call *guard.Call, operation string) *guard.Call {
	c := *call
	c.Operation = operation
	return &c
}

// Ack records that the calling instance loaded or uses a version. It counts only for the instance to which the version was delivered: for any other it is
// a fault.Conflict with reason NotDelivered. Who may read a secret may acknowledge it.
func (s *Service) Ack(ctx context.Context, call *guard.Call, name string, v vault.VersionID, a ledger.Ack) error {
	if err := errors.Join(vault.CheckObjectName(name), a.Check()); err != nil {
		return err
	}
	need := guard.Need{Action: authz.SecretGet, Kind: vault.Secret, Name: name, Version: v, Detail: a.Detail()}
	return s.Guard.Read(ctx, as(call, ledger.AckOperation), &need, func() error {
		if call.Caller == nil {
			return fault.New(fault.Unauthenticated, "this needs an authenticated caller")
		}
		c := ledger.Consumer{Principal: call.Caller.Principal}
		c.Instance, c.Weak = ledger.Instance(call.Instance, call.Caller.Resource, call.Address)
		return s.delivered(ctx, thing(call, name), v, c)
	})
}

// delivered reports whether a consumer was given a version. The ledger may not have heard of it yet: then it is waited for, without hurrying the disk.
func (s *Service) delivered(ctx context.Context, o ledger.Object, v vault.VersionID, c ledger.Consumer) error {
	index := s.Ledger.Log.State().Records
	for again := range 3 {
		h, err := s.Ledger.Holding(ctx, o, v, c)
		switch {
		case err == nil && h.Delivered():
			return nil
		case err != nil && !fault.Is(err, fault.NotFound):
			return err
		}
		waiting, cancel := context.WithTimeout(ctx, catchUpTimeout)
		switch again {
		case 0:
			err = s.Ledger.Wait(waiting, index)
		case 1: // it may have been another node that delivered it
			err = s.Ledger.Hear(waiting, o)
		}
		cancel()
		if err != nil && !fault.Is(err, fault.NotFound) {
			return err
		}
	}
	return fault.New(fault.Conflict, "version %s of %q was not delivered to this consumer: it is %s of principal %s, and has to read the version first",
		v, o.Name, c.Instance, c.Principal).Because(NotDelivered)
}

// Deliver records that a copy of a version was brought somewhere outside of the doors, such as a file on a host, in the caller's name.
func (s *Service) Deliver(ctx context.Context, call *guard.Call, name string, v vault.VersionID, c ledger.Copy) error {
	if err := errors.Join(vault.CheckObjectName(name), c.Check()); err != nil {
		return err
	}
	need := guard.Need{Action: authz.SecretGet, Kind: vault.Secret, Name: name, Version: v, Detail: c.Detail()}
	return s.Guard.Read(ctx, as(call, ledger.DeliverOperation), &need, func() error {
		_, err := s.find(ctx, call, name, v)
		return err
	})
}

// Clear records that a person vouches for a consumer: it does not use the version any more, and need not be waited for. When it reads the version again it is
// waited for again. Who may change a secret may clear its consumers.
func (s *Service) Clear(ctx context.Context, call *guard.Call, name string, v vault.VersionID, c ledger.Clearance) error {
	if err := errors.Join(vault.CheckObjectName(name), c.Check()); err != nil {
		return err
	}
	need := guard.Need{Action: authz.SecretUpdate, Kind: vault.Secret, Name: name, Version: v, Detail: c.Detail()}
	err := s.Guard.Read(ctx, as(call, ledger.ClearOperation), &need, func() error {
		if err := s.catchUp(ctx); err != nil {
			return err
		}
		h, err := s.Ledger.Holding(ctx, thing(call, name), v, c.Consumer)
		if err == nil && !h.Delivered() {
			err = fault.New(fault.NotFound, "")
		}
		if fault.Is(err, fault.NotFound) {
			return fault.New(fault.NotFound, "nobody of that principal and instance holds version %s of %q: take both as the list of holders shows them", v, name)
		}
		return err
	})
	if err != nil {
		return err
	}
	return s.catchUp(ctx) // a person's word survives a power loss, and shows at once
}

func (s *Service) catchUp(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, catchUpTimeout)
	defer cancel()
	return s.Ledger.CatchUp(ctx)
}

// found is an object with one of its versions.
type found struct {
	object  *vault.Object
	version *vault.Version
	// promoted is when the version that is current became so, as far as it tells.
	promoted time.Time
}

// find looks up a version; an empty one is the current version. Deleted objects are found too: who holds them is no less true.
func (s *Service) find(ctx context.Context, call *guard.Call, name string, v vault.VersionID) (f found, err error) {
	err = s.Store.View(ctx, func(tx store.Tx) error {
		o, err := tx.Object(ctx, call.Vault.Vault.ID, vault.Secret, name)
		if err != nil {
			return noSecret(err, name)
		}
		if v == "" {
			v = o.Current
		}
		f.object = o
		f.version, err = tx.Version(ctx, o.ID, v)
		if fault.Is(err, fault.NotFound) {
			return fault.New(fault.NotFound, "the secret %q has no version %q: list its versions", o.Name, v)
		}
		if err != nil || o.Current == "" {
			return err
		}
		current, err := tx.Version(ctx, o.ID, o.Current)
		if err == nil {
			f.promoted = current.Attributes.Created
		}
		return err
	})
	return f, err
}

func noSecret(err error, name string) error {
	if fault.Is(err, fault.NotFound) {
		return fault.New(fault.NotFound, "there is no secret %q in this vault: check the name", name)
	}
	return err
}

// Holders is who holds a version.
type Holders struct {
	Object  *vault.Object
	Version *vault.Version
	// Verdict says who breaks if the version dies now, judged by the version that is current. Of the current one itself everybody would who is not gone.
	ledger.Verdict
	// Names are the display names of the principals that still exist.
	Names map[principal.ID]string
}

// Holders lists who holds a version; an empty one is the current version. Who may change a secret may see who holds it.
func (s *Service) Holders(ctx context.Context, call *guard.Call, name string, v vault.VersionID) (h Holders, err error) {
	if err := vault.CheckObjectName(name); err != nil {
		return h, err
	}
	need := guard.Need{Action: authz.SecretUpdate, Kind: vault.Secret, Name: name, Version: v}
	err = s.Guard.Read(ctx, call, &need, func() error {
		f, err := s.find(ctx, call, name, v)
		if err != nil {
			return err
		}
		need.Name, need.Version = f.object.Name, f.version.ID
		h.Object, h.Version = f.object, f.version
		if h.Verdict, err = s.judge(ctx, call, &f); err != nil {
			return err
		}
		h.Names, err = s.names(ctx, call.Vault.Vault.Tenant, h.Verdict.Holders)
		return err
	})
	return h, err
}

func (s *Service) judge(ctx context.Context, call *guard.Call, f *found) (ledger.Verdict, error) {
	o := thing(call, f.object.Name)
	policy, promoted, err := s.Policy(ctx, o)
	if err != nil {
		return ledger.Verdict{}, err
	}
	if promoted.IsZero() {
		promoted = f.promoted
	}
	q := ledger.Question{Policy: policy, Old: f.version.ID, Since: promoted}
	if f.object.Current != q.Old {
		q.New = f.object.Current
	}
	ctx, cancel := context.WithTimeout(ctx, catchUpTimeout)
	defer cancel()
	return s.Ledger.Ask(ctx, o, q)
}

// names finds the display names of the holders' principals.
func (s *Service) names(ctx context.Context, t vault.TenantID, list []ledger.Holder) (map[principal.ID]string, error) {
	names := make(map[principal.ID]string)
	err := s.Store.View(ctx, func(tx store.Tx) error {
		for _, h := range list {
			if _, known := names[h.Principal]; known || h.Principal == "" {
				continue
			}
			p, err := tx.Principal(ctx, t, h.Principal)
			if err == nil {
				names[h.Principal] = p.Name
			} else if !fault.Is(err, fault.NotFound) {
				return err
			}
		}
		return nil
	})
	return names, err
}

// Copies lists a page of every place to which any version of a secret was ever delivered: consumers, pushed and exported copies, sealed backups. Who may change a
// secret may see it.
func (s *Service) Copies(ctx context.Context, call *guard.Call, name string, after *store.HoldingPlace, limit int) (list []Held, next *store.HoldingPlace, err error) {
	if err := vault.CheckObjectName(name); err != nil {
		return nil, nil, err
	}
	need := guard.Need{Action: authz.SecretUpdate, Kind: vault.Secret, Name: name}
	err = s.Guard.Read(ctx, call, &need, func() error {
		err := s.Store.View(ctx, func(tx store.Tx) error {
			_, err := tx.Object(ctx, call.Vault.Vault.ID, vault.Secret, name)
			return noSecret(err, name)
		})
		if err != nil {
			return err
		}
		waiting, cancel := context.WithTimeout(ctx, catchUpTimeout)
		defer cancel()
		rows, more, err := s.Ledger.CopiesPage(waiting, thing(call, name), after, limit)
		next = more
		for _, h := range rows {
			list = append(list, Held{Holding: h, VaultName: call.Vault.Vault.Name})
		}
		return err
	})
	return list, next, err
}

// Held is something that was delivered to a principal.
type Held struct {
	*ledger.Holding
	// VaultName is empty when the vault is purged.
	VaultName string
}

// tenantScope is where the audit log is read, of which this is a part.
const tenantScope = "/"

// HeldBy lists a page of all versions that were ever delivered to a principal of the caller's tenant, to any of its instances. Who may read the audit log may see
// it.
func (s *Service) HeldBy(ctx context.Context, call *guard.Call, p principal.ID, after *store.HoldingPlace, limit int) (list []Held, next *store.HoldingPlace, err error) {
	need := guard.Need{Action: authz.AuditRead, Scope: tenantScope, Name: string(p)}
	err = s.Guard.Read(ctx, call, &need, func() error {
		if call.Caller.Tenant == "" || p == "" {
			return fault.New(fault.Invalid, "the request names no principal")
		}
		waiting, cancel := context.WithTimeout(ctx, catchUpTimeout)
		defer cancel()
		rows, more, err := s.Ledger.HeldBy(waiting, call.Caller.Tenant, p, after, limit)
		if err != nil {
			return err
		}
		next = more
		if len(rows) == 0 && after == nil {
			if err := s.known(ctx, call.Caller.Tenant, p); err != nil {
				return err
			}
		}
		list, err = s.withVaults(ctx, rows)
		return err
	})
	return list, next, err
}

// known reports whether a principal exists. One that is gone may have held things all the same.
func (s *Service) known(ctx context.Context, t vault.TenantID, p principal.ID) error {
	err := s.Store.View(ctx, func(tx store.Tx) error { _, err := tx.Principal(ctx, t, p); return err })
	if fault.Is(err, fault.NotFound) {
		return fault.New(fault.NotFound, "there is no principal %q, and none of that id ever held anything: give its object id", p)
	}
	return err
}

func (s *Service) withVaults(ctx context.Context, rows []*ledger.Holding) (list []Held, err error) {
	names := make(map[vault.ID]string)
	err = s.Store.View(ctx, func(tx store.Tx) error {
		list = list[:0]
		for _, h := range rows {
			name, known := names[h.Vault]
			if !known {
				v, err := tx.Vault(ctx, h.Vault)
				if err == nil {
					name = v.Name
				} else if !fault.Is(err, fault.NotFound) {
					return err
				}
				names[h.Vault] = name
			}
			list = append(list, Held{Holding: h, VaultName: name})
		}
		return nil
	})
	return list, err
}
