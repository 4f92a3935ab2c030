package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/identity"
	"github.com/keywright/keywright/internal/principal"
	"github.com/keywright/keywright/internal/redact"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// Names of what a development server starts with.
const (
	devGroup = "dev"
	devVault = "demo"
)

// estate is what a development server starts with: a tenant, a subscription, a resource group, a vault, an application
// that may do everything in it, and a managed identity that may read its secrets. It is kept as a setting, so that a
// server that starts again on the same directory finds it.
type estate struct {
	Tenant       vault.TenantID       `json:"tenant"`
	Subscription vault.SubscriptionID `json:"subscription"`
	Vault        vault.ID             `json:"vault"`
	App          principal.ID         `json:"app"`
	AppID        string               `json:"appId"`
	Identity     principal.ID         `json:"identity"`
	IdentityID   string               `json:"identityAppId"`
}

const estateSetting = "dev-estate"

// findEstate reads the estate of an earlier start; nil when there was none.
func (k *core) findEstate(ctx context.Context) (*estate, error) {
	var raw []byte
	err := k.store.View(ctx, func(tx store.Tx) (err error) {
		raw, err = tx.Setting(ctx, estateSetting)
		return err
	})
	if fault.Is(err, fault.NotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var e estate
	if err := json.Unmarshal(raw, &e); err != nil {
		return nil, fmt.Errorf("reading what the development server started with: %w", err)
	}
	return &e, nil
}

// makeTenant makes the first tenant with its keys, or finds the one that an interrupted first start left.
func (k *core) makeTenant(ctx context.Context, name string) (_ vault.TenantID, found bool, _ error) {
	var tenants []*vault.Tenant
	if err := k.store.View(ctx, func(tx store.Tx) (err error) {
		tenants, err = tx.Tenants(ctx)
		return err
	}); err != nil {
		return "", false, err
	}
	if len(tenants) > 0 {
		return tenants[0].ID, true, nil
	}
	op := store.NewOp(k.clock.Now())
	id := vault.NewTenantID()
	keys, err := k.keys.NewTenantKeys(ctx, id, op.At)
	if err != nil {
		return "", false, err
	}
	return id, false, k.store.Update(ctx, op, func(tx store.Tx) error {
		if err := tx.PutTenant(ctx, &vault.Tenant{ID: id, Name: name, Created: op.At}); err != nil {
			return err
		}
		return putKeys(ctx, tx, keys...)
	})
}

// makeEstate creates everything within the tenant in one transaction: a start that dies leaves all of it or nothing.
func (k *core) makeEstate(ctx context.Context, region string) (*estate, error) {
	tenant, _, err := k.makeTenant(ctx, "dev")
	if err != nil {
		return nil, fmt.Errorf("making the development tenant: %w", err)
	}
	op := store.NewOp(k.clock.Now())
	e := &estate{Tenant: tenant, Subscription: vault.NewSubscriptionID(), Vault: vault.NewID(op.At)}
	v := &vault.Vault{ID: e.Vault, Tenant: tenant, Subscription: e.Subscription, ResourceGroup: devGroup, Name: devVault, Location: region,
		Access: vault.AccessByRole, Network: vault.OpenNetwork(), RetentionDays: vault.DefaultRetentionDays, Created: op.At, Updated: op.At}
	key, err := k.keys.NewVaultKey(ctx, tenant, v.ID, op.At)
	if err != nil {
		return nil, err
	}
	subscription := "/subscriptions/" + string(e.Subscription)
	app, putApp, err := k.identity.PreparePrincipal(identity.Spec{Tenant: tenant, Kind: principal.Service, Name: "dev"})
	if err != nil {
		return nil, err
	}
	workload, putWorkload, err := k.identity.PreparePrincipal(identity.Spec{Tenant: tenant, Kind: principal.ManagedIdentity, Name: "dev-workload",
		Resource: subscription + "/resourceGroups/" + devGroup + "/providers/Microsoft.Web/sites/dev-workload"})
	if err != nil {
		return nil, err
	}
	e.App, e.AppID, e.Identity, e.IdentityID = app.ID, app.AppID, workload.ID, workload.AppID
	setting, err := json.Marshal(e)
	if err != nil {
		return nil, err
	}
	grants := []*principal.Grant{
		e.grant(op, app, authz.VaultAdministrator, v.Scope()),
		e.grant(op, app, authz.Owner, subscription),
		// Beyond the subscription the application may manage people, read the audit log, resume schedules and make backups, so that every command can be tried.
		e.grant(op, app, authz.KeywrightIdentityOperator, "/"),
		e.grant(op, app, authz.KeywrightAuditor, "/"),
		e.grant(op, app, authz.KeywrightScheduleOperator, "/"),
		e.grant(op, app, authz.KeywrightBackupOperator, "/"),
		e.grant(op, workload, authz.SecretsUser, v.Scope()),
	}
	err = k.store.Update(ctx, op, func(tx store.Tx) error {
		steps := []error{
			tx.PutSubscription(ctx, &vault.Subscription{ID: e.Subscription, Tenant: tenant, Name: "dev", Created: op.At}),
			tx.PutResourceGroup(ctx, &vault.ResourceGroup{Subscription: e.Subscription, Name: devGroup, Location: region, Created: op.At}),
			tx.PutVault(ctx, v), putKeys(ctx, tx, key), putApp(ctx, tx), putWorkload(ctx, tx),
			tx.PutSetting(ctx, estateSetting, setting),
		}
		for _, g := range grants {
			steps = append(steps, tx.PutGrant(ctx, g))
		}
		return errors.Join(steps...)
	})
	if err != nil {
		return nil, fmt.Errorf("making the development vault: %w", err)
	}
	return e, nil
}

// grant assigns a role, as the application itself.
func (e *estate) grant(op store.Op, p *principal.Principal, role, scope string) *principal.Grant {
	return &principal.Grant{ID: vault.NewGUID(), Tenant: e.Tenant, Scope: scope, Role: role, Principal: p.ID, PrincipalKind: p.Kind,
		CreatedBy: e.App, Created: op.At, Updated: op.At}
}

func putKeys(ctx context.Context, tx store.Tx, keys ...*store.WrappedKey) error {
	for _, key := range keys {
		if err := tx.PutWrappedKey(ctx, key); err != nil {
			return err
		}
	}
	return nil
}

// appSecret gives the development application a client secret. The server keeps its digest only, so a start that does
// not find the one before in dev.env makes another.
func (k *core) appSecret(ctx context.Context, e *estate) (redact.String, error) {
	value, _, put, err := k.identity.PrepareSecret(ctx, e.Tenant, e.App, identity.SecretSpec{Name: "dev.env"})
	if err != nil {
		return "", err
	}
	return value, k.store.Update(ctx, store.NewOp(k.clock.Now()), func(tx store.Tx) error { return put(ctx, tx) })
}

// endpointSecret is appSecret for the header of the managed identity's endpoint.
func (k *core) endpointSecret(ctx context.Context, e *estate) (redact.String, error) {
	value, _, put, err := k.identity.PrepareEndpointSecret(ctx, e.Tenant, e.Identity, identity.SecretSpec{Name: "dev.env"})
	if err != nil {
		return "", err
	}
	return value, k.store.Update(ctx, store.NewOp(k.clock.Now()), func(tx store.Tx) error { return put(ctx, tx) })
}
