package tenancy

import (
	"context"
	"strings"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// TenantSpec describes a new tenant. ID is drawn when empty.
type TenantSpec struct {
	ID   vault.TenantID
	Name string
}

// FoundTenant makes a tenant with its keys. Nobody within an installation can be allowed this, as every grant ends at its own
// tenant: it belongs to the operator of the machine, and no door offers it. A tenant that exists is a fault.Conflict.
//
// The keys are stored first, as the audit record of the tenant's making is sealed with one of them. Keys that were left
// over by a founding that was cut off are taken up again.
func (s *Service) FoundTenant(ctx context.Context, spec TenantSpec) (*vault.Tenant, error) {
	if spec.ID == "" {
		spec.ID = vault.NewTenantID()
	}
	id, err := vault.ParseGUID(string(spec.ID))
	if err != nil {
		return nil, err
	}
	if err := checkDisplayName("tenant", spec.Name); err != nil {
		return nil, err
	}
	now := s.Clock.Now()
	t := &vault.Tenant{ID: vault.TenantID(id), Name: spec.Name, Created: clock.Micro(now)}
	if err := s.tenantKeys(ctx, t.ID); err != nil {
		return nil, err
	}
	need := guard.Need{Action: authz.TenantWrite, Scope: "/"}
	err = s.Guard.Commit(ctx, guard.System(t.ID, "TenantFound", now), need, store.NewOp(now), func(tx store.Tx) error {
		if _, err := tx.Tenant(ctx, t.ID); !fault.Is(err, fault.NotFound) {
			return orConflict(err, "the tenant %s exists already", t.ID)
		}
		return tx.PutTenant(ctx, t)
	})
	return t, err
}

// orConflict returns err, or a conflict when there is none.
func orConflict(err error, format string, args ...any) error {
	if err != nil {
		return err
	}
	return fault.New(fault.Conflict, format, args...)
}

func (s *Service) tenantKeys(ctx context.Context, id vault.TenantID) error {
	now := s.Clock.Now()
	keys, err := s.Keys.NewTenantKeys(ctx, id, now)
	if err != nil {
		return err
	}
	return s.Store.Update(ctx, store.NewOp(now), func(tx store.Tx) error {
		have, err := tx.WrappedKeys(ctx, store.TenantKey, string(id))
		if err != nil || len(have) > 0 {
			return err
		}
		for _, k := range keys {
			if err := tx.PutWrappedKey(ctx, k); err != nil {
				return err
			}
		}
		return nil
	})
}

// Tenant returns the caller's own tenant. Every authenticated caller may see it.
func (s *Service) Tenant(ctx context.Context, call *guard.Call) (t *vault.Tenant, err error) {
	need := guard.Need{Action: authz.TenantRead, Scope: "/"}
	err = s.Guard.List(ctx, call, &need, func(*guard.Sight) error {
		return s.Store.View(ctx, func(tx store.Tx) (err error) {
			t, err = tx.Tenant(ctx, call.Caller.Tenant)
			return err
		})
	})
	return t, err
}

const maxDisplayNameBytes = 256

func checkDisplayName(what, name string) error {
	control := strings.IndexFunc(name, func(c rune) bool { return c < ' ' || c == 0x7f || c == '\ufffd' }) >= 0
	if strings.TrimSpace(name) == "" || len(name) > maxDisplayNameBytes || control {
		return fault.New(fault.Invalid, "%q cannot be the name of a %s: use 1 to %d bytes without control characters", fault.Clip(name), what, maxDisplayNameBytes)
	}
	return nil
}
