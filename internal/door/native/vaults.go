package native

import (
	"context"
	"net/http"
	"strings"

	"github.com/keywright/keywright/client/api"
	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/door"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/tenancy"
	"github.com/keywright/keywright/internal/vault"
)

func (h *handler) vaultRoutes() []door.Route {
	const live, gone = root + "/vaults", root + "/deleted-vaults"
	return []door.Route{
		{Method: "GET", Pattern: live, Operation: "VaultList", Action: authz.VaultRead.String(), Output: api.VaultList{}, Serve: h.listVaults,
			Summary: "Lists the vaults that you may see."},
		{Method: "PUT", Pattern: live + "/{vault}", Operation: "VaultCreate", Action: authz.VaultWrite.String(), MaxBody: maxSmallBody, Input: api.CreateVault{},
			Output: api.Vault{}, Summary: "Makes a vault.", Serve: h.createVault},
		{Method: "GET", Pattern: live + "/{vault}", Operation: "VaultGet", Action: authz.VaultRead.String(), Output: api.Vault{}, Serve: h.getVault,
			Summary: "Shows a vault."},
		{Method: "PATCH", Pattern: live + "/{vault}", Operation: "VaultUpdate", Action: authz.VaultWrite.String(), MaxBody: maxSmallBody, Input: api.UpdateVault{},
			Output: api.Vault{}, Summary: "Changes a vault.", Serve: h.updateVault},
		{Method: "PATCH", Pattern: live + "/{vault}/network", Operation: "VaultNetworkUpdate", Action: authz.NetworkRulesWrite.String(), MaxBody: maxSmallBody,
			Input: api.UpdateNetwork{}, Output: api.Vault{}, Summary: "Changes from where a vault can be reached.", Serve: h.updateNetwork},
		{Method: "DELETE", Pattern: live + "/{vault}", Operation: "VaultDelete", Action: authz.VaultDelete.String(), Success: http.StatusNoContent, Serve: h.deleteVault,
			Summary: "Soft-deletes a vault with all that it keeps, and removes the grants in it."},
		{Method: "GET", Pattern: gone, Operation: "VaultListDeleted", Action: authz.DeletedVaultRead.String(), Output: api.VaultList{}, Serve: h.listDeletedVaults,
			Summary: "Lists the deleted vaults that can be recovered."},
		{Method: "POST", Pattern: gone + "/{vault}/recover", Operation: "VaultRecover", Action: authz.VaultWrite.String(), Output: api.Vault{},
			Summary: "Brings a deleted vault back, without the grants that it had.", Serve: h.recoverVault},
		{Method: "DELETE", Pattern: gone + "/{vault}", Operation: "VaultPurge", Action: authz.DeletedVaultPurge.String(), Success: http.StatusNoContent, Serve: h.purgeVault,
			Summary: "Destroys a deleted vault with all that it kept for good."},
	}
}

// place finds where a live vault of the caller's tenant is. What the caller may do with it, the service decides.
func (h *handler) place(r *door.Request) (tenancy.VaultRef, error) {
	view, err := h.view(r)
	if err != nil {
		return tenancy.VaultRef{}, err
	}
	return refOf(view.Vault), nil
}

func noVault(name string) error {
	return fault.New(fault.NotFound, "there is no vault %q: list the vaults to see those that you may use", fault.Clip(name)).Because("VaultNotFound")
}

func refOf(v *vault.Vault) tenancy.VaultRef {
	return tenancy.VaultRef{GroupRef: tenancy.GroupRef{Subscription: v.Subscription, Group: v.ResourceGroup}, Name: v.Name}
}

func (h *handler) listVaults(r *door.Request) error {
	return h.everyVault(r, func(ctx context.Context, s vault.SubscriptionID) (tenancy.Vaults, error) {
		return h.Tenancy.ListVaults(ctx, &r.Call, tenancy.GroupRef{Subscription: s}, tenancy.Page{})
	})
}

func (h *handler) listDeletedVaults(r *door.Request) error {
	return h.everyVault(r, func(ctx context.Context, s vault.SubscriptionID) (tenancy.Vaults, error) {
		return h.Tenancy.ListDeletedVaults(ctx, &r.Call, s, tenancy.Page{})
	})
}

// everyVault lists the vaults of every subscription that the caller may see.
func (h *handler) everyVault(r *door.Request, list func(context.Context, vault.SubscriptionID) (tenancy.Vaults, error)) error {
	found, err := h.collectVaults(r, list)
	if err != nil {
		return err
	}
	out := api.VaultList{Items: make([]api.Vault, 0, len(found))}
	for _, v := range found {
		out.Items = append(out.Items, *wireVault(v))
	}
	return r.JSON(http.StatusOK, out)
}

func (h *handler) collectVaults(r *door.Request, list func(context.Context, vault.SubscriptionID) (tenancy.Vaults, error)) (all []*vault.Vault, err error) {
	ctx := r.HTTP.Context()
	subscriptions, err := h.Tenancy.Subscriptions(ctx, &r.Call)
	if err != nil {
		return nil, err
	}
	for _, s := range subscriptions {
		found, err := list(ctx, s.ID)
		if err != nil {
			return nil, err
		}
		all = append(all, found.Vaults...)
	}
	return all, nil
}

func (h *handler) createVault(r *door.Request) error {
	var in api.CreateVault
	if err := r.Decode(&in); err != nil {
		return err
	}
	ref := tenancy.VaultRef{GroupRef: tenancy.GroupRef{Subscription: vault.SubscriptionID(strings.ToLower(in.Subscription)), Group: in.ResourceGroup},
		Name: r.Params.Get("vault")}
	spec := tenancy.VaultSpec{Location: in.Location, Tags: in.Tags, Access: vault.AccessModel(in.Access), RetentionDays: in.RetentionDays}
	if in.PurgeProtection {
		spec.PurgeProtection = &in.PurgeProtection
	}
	v, err := h.Tenancy.MakeVault(r.HTTP.Context(), &r.Call, ref, spec)
	return answerVault(r, v, err)
}

func (h *handler) getVault(r *door.Request) error {
	ref, err := h.place(r)
	if err != nil {
		return err
	}
	v, err := h.Tenancy.Vault(r.HTTP.Context(), &r.Call, ref)
	return answerVault(r, v, err)
}

func (h *handler) updateVault(r *door.Request) error {
	ref, err := h.place(r)
	if err != nil {
		return err
	}
	var in api.UpdateVault
	if err := r.Decode(&in); err != nil {
		return err
	}
	v, err := h.Tenancy.PatchVault(r.HTTP.Context(), &r.Call, ref, tenancy.VaultSpec{Tags: in.Tags, Access: vault.AccessModel(in.Access),
		PurgeProtection: in.PurgeProtection})
	return answerVault(r, v, err)
}

func (h *handler) deleteVault(r *door.Request) error {
	ref, err := h.place(r)
	if err != nil {
		return err
	}
	if err := h.Tenancy.DeleteVault(r.HTTP.Context(), &r.Call, ref); err != nil {
		return err
	}
	r.Raw(http.StatusNoContent, nil)
	return nil
}

// deleted finds a deleted vault among those that the caller may see.
func (h *handler) deleted(r *door.Request) (*vault.Vault, error) {
	name := r.Params.Get("vault")
	found, err := h.collectVaults(r, func(ctx context.Context, s vault.SubscriptionID) (tenancy.Vaults, error) {
		return h.Tenancy.ListDeletedVaults(ctx, &r.Call, s, tenancy.Page{})
	})
	if err != nil {
		return nil, err
	}
	for _, v := range found {
		if vault.NameKey(v.Name) == vault.NameKey(name) {
			return v, nil
		}
	}
	return nil, fault.New(fault.NotFound, "there is no deleted vault %q: list the deleted vaults to see those that you may recover", fault.Clip(name)).
		Because(tenancy.DeletedVaultNotFound)
}

func (h *handler) recoverVault(r *door.Request) error {
	v, err := h.deleted(r)
	if err != nil {
		return err
	}
	v, err = h.Tenancy.RecoverVault(r.HTTP.Context(), &r.Call, refOf(v))
	return answerVault(r, v, err)
}

func (h *handler) purgeVault(r *door.Request) error {
	v, err := h.deleted(r)
	if err != nil {
		return err
	}
	if err := h.Tenancy.PurgeVault(r.HTTP.Context(), &r.Call, v.Subscription, v.Location, v.Name); err != nil {
		return err
	}
	r.Raw(http.StatusNoContent, nil)
	return nil
}

func answerVault(r *door.Request, v *vault.Vault, err error) error {
	if err != nil {
		return err
	}
	return r.JSON(http.StatusOK, wireVault(v))
}

func wireVault(v *vault.Vault) *api.Vault {
	out := &api.Vault{Name: v.Name, ID: v.Scope(), Subscription: string(v.Subscription), ResourceGroup: v.ResourceGroup, Location: v.Location, Tags: v.Tags,
		Access: string(v.Access), RetentionDays: v.RetentionDays, PurgeProtection: v.PurgeProtection, Network: wireNetwork(&v.Network),
		Created: v.Created, Updated: v.Updated}
	if v.Deleted != nil {
		out.Deleted, out.PurgeAt = &v.Deleted.At, &v.Deleted.PurgeAt
	}
	return out
}
