package native

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

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
		{Method: "GET", Pattern: live, Operation: "VaultList", Action: authz.VaultRead.String(), Query: pageParams, Output: api.VaultList{}, Serve: h.listVaults,
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
		{Method: "GET", Pattern: gone, Operation: "VaultListDeleted", Action: authz.DeletedVaultRead.String(), Query: pageParams, Output: api.VaultList{}, Serve: h.listDeletedVaults,
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
	return h.pageOfVaults(r, func(ctx context.Context, s vault.SubscriptionID, p tenancy.Page) (tenancy.Vaults, error) {
		return h.Tenancy.ListVaults(ctx, &r.Call, tenancy.GroupRef{Subscription: s}, p)
	})
}

func (h *handler) listDeletedVaults(r *door.Request) error {
	return h.pageOfVaults(r, func(ctx context.Context, s vault.SubscriptionID, p tenancy.Page) (tenancy.Vaults, error) {
		return h.Tenancy.ListDeletedVaults(ctx, &r.Call, s, p)
	})
}

// pageOfVaults lists the vaults of every subscription that the caller may see, one after the other. A page goes on behind
// SUBSCRIPTION/KEY, where the key is that of tenancy.Page.
func (h *handler) pageOfVaults(r *door.Request, list func(context.Context, vault.SubscriptionID, tenancy.Page) (tenancy.Vaults, error)) error {
	after, limit, err := page(r)
	if err != nil {
		return err
	}
	ctx := r.HTTP.Context()
	subscriptions, err := h.Tenancy.Subscriptions(ctx, &r.Call)
	if err != nil {
		return err
	}
	slices.SortFunc(subscriptions, func(a, b *vault.Subscription) int { return strings.Compare(string(a.ID), string(b.ID)) })
	from, key, _ := strings.Cut(after, "/")
	out := api.VaultList{Items: []api.Vault{}}
	for _, s := range subscriptions {
		id := string(s.ID)
		if id < from {
			continue
		}
		p := tenancy.Page{Limit: limit - len(out.Items)}
		if p.Limit == 0 {
			out.Next = next(id + "/")
			break
		}
		if id == from {
			p.After = key
		}
		found, err := list(ctx, s.ID, p)
		if err != nil {
			return err
		}
		for _, v := range found.Vaults {
			out.Items = append(out.Items, *wireVault(v))
		}
		if found.Next != "" {
			out.Next = next(id + "/" + found.Next)
			break
		}
	}
	return r.JSON(http.StatusOK, out)
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
	spec := tenancy.VaultSpec{Tags: in.Tags, Access: vault.AccessModel(in.Access), PurgeProtection: in.PurgeProtection}
	if in.StaleFor != "" {
		d, err := time.ParseDuration(in.StaleFor)
		if err != nil {
			return fault.New(fault.Invalid, "staleFor is %q: give a duration such as 10m, or 0s for none", fault.Clip(in.StaleFor))
		}
		spec.StaleFor = &d
	}
	v, err := h.Tenancy.PatchVault(r.HTTP.Context(), &r.Call, ref, spec)
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

func (h *handler) recoverVault(r *door.Request) error {
	v, err := h.Tenancy.DeletedVaultByName(r.HTTP.Context(), &r.Call, r.Params.Get("vault"))
	if err != nil {
		return err
	}
	v, err = h.Tenancy.RecoverVault(r.HTTP.Context(), &r.Call, refOf(v))
	return answerVault(r, v, err)
}

func (h *handler) purgeVault(r *door.Request) error {
	v, err := h.Tenancy.DeletedVaultByName(r.HTTP.Context(), &r.Call, r.Params.Get("vault"))
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
	if v.Encryption != nil {
		out.Encryption = wireEncryption(&tenancy.Encryption{Vault: v})
	}
	if v.StaleFor > 0 {
		out.StaleFor = v.StaleFor.String()
	}
	if v.Deleted != nil {
		out.Deleted, out.PurgeAt = &v.Deleted.At, &v.Deleted.PurgeAt
	}
	return out
}
