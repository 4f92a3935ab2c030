package relational

import (
	"context"

	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// Tenant implements store.Tenants.
func (t *Tx) Tenant(ctx context.Context, id vault.TenantID) (*vault.Tenant, error) {
	return getDoc[vault.Tenant](ctx, t, "tenant", id, "SELECT doc FROM tenants WHERE id = ?", string(id))
}

// Tenants implements store.Tenants.
func (t *Tx) Tenants(ctx context.Context) ([]*vault.Tenant, error) {
	return listDocs[vault.Tenant](ctx, t, "SELECT doc FROM tenants ORDER BY id")
}

// PutTenant implements store.Tenants.
func (t *Tx) PutTenant(ctx context.Context, tn *vault.Tenant) error {
	next := *tn
	next.Revision++
	doc, err := encode(&next)
	if err != nil {
		return err
	}
	ch := noting(store.Change{Kind: store.TenantChanged, Tenant: tn.ID})
	if tn.Revision == 0 {
		return t.swap(ctx, ch, "tenant", tn.ID,
			"INSERT INTO tenants (id, revision, doc) VALUES (?, 1, ?) ON CONFLICT (id) DO NOTHING", string(tn.ID), doc)
	}
	return t.swap(ctx, ch, "tenant", tn.ID,
		"UPDATE tenants SET revision = revision + 1, doc = ? WHERE id = ? AND revision = ?", doc, string(tn.ID), tn.Revision)
}

// Subscription implements store.Tenants.
func (t *Tx) Subscription(ctx context.Context, id vault.SubscriptionID) (*vault.Subscription, error) {
	return getDoc[vault.Subscription](ctx, t, "subscription", id, "SELECT doc FROM subscriptions WHERE id = ?", string(id))
}

// Subscriptions implements store.Tenants.
func (t *Tx) Subscriptions(ctx context.Context, tenant vault.TenantID) ([]*vault.Subscription, error) {
	return listDocs[vault.Subscription](ctx, t, "SELECT doc FROM subscriptions WHERE tenant = ? ORDER BY id", string(tenant))
}

// PutSubscription implements store.Tenants.
func (t *Tx) PutSubscription(ctx context.Context, s *vault.Subscription) error {
	doc, err := encode(s)
	if err != nil {
		return err
	}
	_, err = t.put(ctx, noting(store.Change{Kind: store.TenantChanged, Tenant: s.Tenant}), `INSERT INTO subscriptions (id, tenant, doc)
		VALUES (?, ?, ?) ON CONFLICT (id) DO UPDATE SET tenant = excluded.tenant, doc = excluded.doc`, string(s.ID), string(s.Tenant), doc)
	return err
}

// ResourceGroup implements store.Tenants.
func (t *Tx) ResourceGroup(ctx context.Context, s vault.SubscriptionID, name string) (*vault.ResourceGroup, error) {
	return getDoc[vault.ResourceGroup](ctx, t, "resource group", name,
		"SELECT doc FROM resource_groups WHERE subscription = ? AND name_key = ?", string(s), vault.NameKey(name))
}

// ResourceGroups implements store.Tenants.
func (t *Tx) ResourceGroups(ctx context.Context, s vault.SubscriptionID) ([]*vault.ResourceGroup, error) {
	return listDocs[vault.ResourceGroup](ctx, t,
		"SELECT doc FROM resource_groups WHERE subscription = ? ORDER BY name_key", string(s))
}

// PutResourceGroup implements store.Tenants.
func (t *Tx) PutResourceGroup(ctx context.Context, g *vault.ResourceGroup) error {
	doc, err := encode(g)
	if err != nil {
		return err
	}
	ch, err := t.groupChange(ctx, g.Subscription)
	if err != nil {
		return err
	}
	_, err = t.put(ctx, ch, `INSERT INTO resource_groups (subscription, name_key, doc) VALUES (?, ?, ?)
		ON CONFLICT (subscription, name_key) DO UPDATE SET doc = excluded.doc`, string(g.Subscription), vault.NameKey(g.Name), doc)
	return err
}

// DeleteResourceGroup implements store.Tenants.
func (t *Tx) DeleteResourceGroup(ctx context.Context, s vault.SubscriptionID, name string) error {
	ch, err := t.groupChange(ctx, s)
	if err != nil {
		return err
	}
	return t.mustChange(ctx, ch, "resource group", name,
		"DELETE FROM resource_groups WHERE subscription = ? AND name_key = ?", string(s), vault.NameKey(name))
}

// groupChange is the change of a resource group: one of the tenant that its subscription belongs to.
func (t *Tx) groupChange(ctx context.Context, s vault.SubscriptionID) (change, error) {
	c := store.Change{Kind: store.TenantChanged}
	_, err := t.one(ctx, "SELECT tenant FROM subscriptions WHERE id = ?", []any{string(s)},
		func(r Row) { c.Tenant = vault.TenantID(r.Text(0)) })
	return noting(c), err
}
