package arm

import (
	"net/http"
	"strings"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/door"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/tenancy"
	"github.com/keywright/keywright/internal/vault"
)

// rolesByDefault is the version from which a new vault uses roles unless it says otherwise (Key Vault management API).
const rolesByDefault = "2026-02-01"

func (h *handler) putVault(r *door.Request) error {
	var in vaultInput
	if err := r.Decode(&in); err != nil {
		return err
	}
	if in.recovers() {
		v, err := h.Tenancy.RecoverVault(r.HTTP.Context(), &r.Call, vaultRef(r))
		if err != nil {
			return err
		}
		return r.JSON(http.StatusOK, h.vaultBody(v, r.HTTP.Host))
	}
	if in.Properties == nil {
		return fault.New(fault.Invalid, "the request body has no member \"properties\": give at least tenantId and sku")
	}
	spec, err := in.spec()
	if err != nil {
		return err
	}
	if spec.NewAccess = vault.AccessByPolicy; r.Call.APIVersion >= rolesByDefault {
		spec.NewAccess = vault.AccessByRole
	}
	v, created, err := h.Tenancy.PutVault(r.HTTP.Context(), &r.Call, vaultRef(r), spec)
	if err != nil {
		return err
	}
	status := http.StatusOK
	if created {
		status = http.StatusCreated
	}
	return r.JSON(status, h.vaultBody(v, r.HTTP.Host))
}

func (h *handler) patchVault(r *door.Request) error {
	var in vaultInput
	if err := r.Decode(&in); err != nil {
		return err
	}
	in.Location = "" // a PATCH cannot move a vault, and some clients repeat where it is
	spec, err := in.spec()
	if err != nil {
		return err
	}
	v, err := h.Tenancy.PatchVault(r.HTTP.Context(), &r.Call, vaultRef(r), spec)
	if err != nil {
		return err
	}
	return r.JSON(http.StatusOK, h.vaultBody(v, r.HTTP.Host))
}

func (h *handler) getVault(r *door.Request) error {
	v, err := h.Tenancy.Vault(r.HTTP.Context(), &r.Call, vaultRef(r))
	if err != nil {
		return err
	}
	return r.JSON(http.StatusOK, h.vaultBody(v, r.HTTP.Host))
}

// deleteVault answers 204 for a vault that is not there, as deleting is idempotent.
func (h *handler) deleteVault(r *door.Request) error {
	err := h.Tenancy.DeleteVault(r.HTTP.Context(), &r.Call, vaultRef(r))
	if e := fault.As(err); e != nil && e.Reason == tenancy.ResourceNotFound {
		r.Raw(http.StatusNoContent, nil)
		return nil
	}
	if err == nil {
		r.Raw(http.StatusOK, nil)
	}
	return err
}

func (h *handler) listVaults(r *door.Request) error {
	p, err := page(r)
	if err != nil {
		return err
	}
	found, err := h.Tenancy.ListVaults(r.HTTP.Context(), &r.Call, groupRef(r), p)
	if err != nil {
		return err
	}
	list := make([]vaultBody, 0, len(found.Vaults))
	for _, v := range found.Vaults {
		list = append(list, h.vaultBody(v, r.HTTP.Host))
	}
	return r.JSON(http.StatusOK, listBody{list, nextLink(r, found.Next)})
}

func (h *handler) changePolicies(r *door.Request) error {
	var in struct {
		Properties struct {
			AccessPolicies []policyBody `json:"accessPolicies"`
		} `json:"properties"`
	}
	if err := r.Decode(&in); err != nil {
		return err
	}
	how := tenancy.PolicyChange(strings.ToLower(r.Params.Get("operation")))
	v, err := h.Tenancy.ChangePolicies(r.HTTP.Context(), &r.Call, vaultRef(r), how, policyModels(in.Properties.AccessPolicies))
	if err != nil {
		return err
	}
	return r.JSON(http.StatusOK, map[string]any{"id": v.Scope() + "/accessPolicies/", "type": "Microsoft.KeyVault/vaults/accessPolicies",
		"location": v.Location, "properties": map[string]any{"accessPolicies": policyBodies(v.Policies)}})
}

func (h *handler) checkName(r *door.Request) error {
	var in struct {
		Name string `json:"name"`
		Type string `json:"type"`
	}
	if err := r.Decode(&in); err != nil {
		return err
	}
	if in.Type != "" && !strings.EqualFold(in.Type, "Microsoft.KeyVault/vaults") {
		return fault.New(fault.Invalid, "names are checked for the type Microsoft.KeyVault/vaults, not for %.60q", in.Type)
	}
	a, err := h.Tenancy.CheckName(r.HTTP.Context(), &r.Call, subscription(r), in.Name)
	if err != nil {
		return err
	}
	body := map[string]any{"nameAvailable": a.Reason == ""}
	if a.Reason != "" {
		body["reason"], body["message"] = a.Reason, a.Message
	}
	return r.JSON(http.StatusOK, body)
}

type deletedVaultBody struct {
	ID         string                 `json:"id"`
	Name       string                 `json:"name"`
	Type       string                 `json:"type"`
	Properties deletedVaultProperties `json:"properties"`
}

type deletedVaultProperties struct {
	VaultID                string            `json:"vaultId"`
	Location               string            `json:"location"`
	DeletionDate           string            `json:"deletionDate"`
	ScheduledPurgeDate     string            `json:"scheduledPurgeDate"`
	Tags                   map[string]string `json:"tags"`
	PurgeProtectionEnabled bool              `json:"purgeProtectionEnabled,omitempty"`
}

func deletedBody(v *vault.Vault) deletedVaultBody {
	return deletedVaultBody{Name: v.Name, Type: "Microsoft.KeyVault/deletedVaults",
		ID: "/subscriptions/" + string(v.Subscription) + "/providers/Microsoft.KeyVault/locations/" + v.Location + "/deletedVaults/" + v.Name,
		Properties: deletedVaultProperties{VaultID: v.Scope(), Location: v.Location, DeletionDate: stamp(v.Deleted.At),
			ScheduledPurgeDate: stamp(v.Deleted.PurgeAt), Tags: notNil(v.Tags), PurgeProtectionEnabled: v.PurgeProtection}}
}

func (h *handler) listDeletedVaults(r *door.Request) error {
	p, err := page(r)
	if err != nil {
		return err
	}
	found, err := h.Tenancy.ListDeletedVaults(r.HTTP.Context(), &r.Call, subscription(r), p)
	if err != nil {
		return err
	}
	list := make([]deletedVaultBody, 0, len(found.Vaults))
	for _, v := range found.Vaults {
		list = append(list, deletedBody(v))
	}
	return r.JSON(http.StatusOK, listBody{list, nextLink(r, found.Next)})
}

func (h *handler) getDeletedVault(r *door.Request) error {
	v, err := h.Tenancy.DeletedVault(r.HTTP.Context(), &r.Call, subscription(r), r.Params.Get("location"), r.Params.Get("vault"))
	if err != nil {
		return err
	}
	return r.JSON(http.StatusOK, deletedBody(v))
}

func (h *handler) purgeVault(r *door.Request) error {
	if err := h.Tenancy.PurgeVault(r.HTTP.Context(), &r.Call, subscription(r), r.Params.Get("location"), r.Params.Get("vault")); err != nil {
		return err
	}
	r.Raw(http.StatusOK, nil)
	return nil
}

// noneOfVault answers with an empty list for a vault that the caller may see.
func (h *handler) noneOfVault(r *door.Request) error {
	if _, err := h.Tenancy.Vault(r.HTTP.Context(), &r.Call, vaultRef(r)); err != nil {
		return err
	}
	return r.JSON(http.StatusOK, emptyList)
}

func (h *handler) noneOfSubscription(r *door.Request) error {
	if _, err := h.Tenancy.Subscription(r.HTTP.Context(), &r.Call, subscription(r)); err != nil {
		return err
	}
	return r.JSON(http.StatusOK, emptyList)
}

func (h *handler) noneOfGroup(r *door.Request) error {
	if _, err := h.Tenancy.Group(r.HTTP.Context(), &r.Call, groupRef(r)); err != nil {
		return err
	}
	return r.JSON(http.StatusOK, emptyList)
}

// operations lists the actions that role definitions may name. It tells nothing of the installation.
func (h *handler) operations(r *door.Request) error {
	type display struct {
		Provider    string `json:"provider"`
		Operation   string `json:"operation"`
		Description string `json:"description"`
	}
	type operation struct {
		Name         string  `json:"name"`
		IsDataAction bool    `json:"isDataAction"`
		Display      display `json:"display"`
	}
	list := []operation{}
	seen := map[string]bool{}
	for _, a := range authz.Actions() {
		name := a.String()
		if rest, ok := strings.CutPrefix(name, "Microsoft.KeyVault/"); ok && !seen[name] {
			seen[name] = true
			list = append(list, operation{name, a.Plane() == authz.Data, display{"Microsoft Key Vault", rest, "The " + a.Plane().String() + " action " + rest}})
		}
	}
	return r.JSON(http.StatusOK, listBody{Value: list})
}
