package arm

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/keywright/keywright/internal/door"
	"github.com/keywright/keywright/internal/door/odata"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/tenancy"
	"github.com/keywright/keywright/internal/vault"
)

func (h *handler) listTenants(r *door.Request) error {
	t, err := h.Tenancy.Tenant(r.HTTP.Context(), &r.Call)
	if err != nil {
		return err
	}
	return r.JSON(http.StatusOK, listBody{Value: []map[string]any{{"id": "/tenants/" + string(t.ID), "tenantId": t.ID, "displayName": t.Name,
		"tenantCategory": "Home"}}})
}

type subscriptionBody struct {
	ID                  string         `json:"id"`
	SubscriptionID      string         `json:"subscriptionId"`
	TenantID            string         `json:"tenantId"`
	DisplayName         string         `json:"displayName"`
	State               string         `json:"state"`
	AuthorizationSource string         `json:"authorizationSource"`
	ManagedByTenants    []struct{}     `json:"managedByTenants"`
	Policies            map[string]any `json:"subscriptionPolicies"`
}

func subscriptionOf(s *vault.Subscription) subscriptionBody {
	return subscriptionBody{ID: "/subscriptions/" + string(s.ID), SubscriptionID: string(s.ID), TenantID: string(s.Tenant), DisplayName: s.Name,
		State: "Enabled", AuthorizationSource: "RoleBased", ManagedByTenants: []struct{}{},
		Policies: map[string]any{"locationPlacementId": "Public_2014-09-01", "quotaId": "PayAsYouGo_2014-09-01", "spendingLimit": "Off"}}
}

func (h *handler) listSubscriptions(r *door.Request) error {
	found, err := h.Tenancy.Subscriptions(r.HTTP.Context(), &r.Call)
	if err != nil {
		return err
	}
	list := make([]subscriptionBody, 0, len(found))
	for _, s := range found {
		list = append(list, subscriptionOf(s))
	}
	return r.JSON(http.StatusOK, listBody{Value: list})
}

func (h *handler) getSubscription(r *door.Request) error {
	s, err := h.Tenancy.Subscription(r.HTTP.Context(), &r.Call, subscription(r))
	if err != nil {
		return err
	}
	return r.JSON(http.StatusOK, subscriptionOf(s))
}

func (h *handler) listLocations(r *door.Request) error {
	s, err := h.Tenancy.Subscription(r.HTTP.Context(), &r.Call, subscription(r))
	if err != nil {
		return err
	}
	list := make([]map[string]any, 0, len(h.Locations))
	for _, l := range h.Locations {
		list = append(list, map[string]any{"id": "/subscriptions/" + string(s.ID) + "/locations/" + tenancy.Location(l), "name": tenancy.Location(l),
			"type": "Region", "displayName": l, "regionalDisplayName": l, "metadata": map[string]any{"regionType": "Physical", "regionCategory": "Other"}})
	}
	return r.JSON(http.StatusOK, listBody{Value: list})
}

// providers names the resource types that are served, by provider.
var providers = []struct {
	namespace string
	types     []string
}{
	{"Microsoft.KeyVault", []string{"vaults", "vaults/secrets", "vaults/accessPolicies", "deletedVaults", "locations", "locations/deletedVaults", "operations",
		"checkNameAvailability"}},
	{"Microsoft.Authorization", []string{"roleAssignments", "roleDefinitions", "permissions"}},
	{"Microsoft.Resources", []string{"subscriptions", "tenants", "resourceGroups", "resources"}},
	{"Microsoft.ManagedIdentity", []string{"userAssignedIdentities"}},
	{"Microsoft.Web", []string{"sites"}},
}

// providerVersions are versions that clients are known to pick from a provider's list; others are taken as well.
var providerVersions = []string{"2026-02-01", "2025-05-01", "2024-11-01", "2023-07-01", "2023-02-01", "2022-07-01", "2022-04-01", "2021-10-01", "2021-04-01",
	"2020-04-01-preview", "2019-09-01", "2018-11-30", "2018-02-14", "2018-01-01-preview", "2016-10-01", "2015-07-01"}

type providerBody struct {
	ID                 string         `json:"id"`
	Namespace          string         `json:"namespace"`
	RegistrationState  string         `json:"registrationState"`
	RegistrationPolicy string         `json:"registrationPolicy"`
	ResourceTypes      []resourceType `json:"resourceTypes"`
}

type resourceType struct {
	ResourceType string   `json:"resourceType"`
	Locations    []string `json:"locations"`
	APIVersions  []string `json:"apiVersions"`
	Capabilities string   `json:"capabilities"`
}

func (h *handler) providerBodies(id vault.SubscriptionID) []providerBody {
	var list []providerBody
	for _, p := range providers {
		b := providerBody{ID: "/subscriptions/" + string(id) + "/providers/" + p.namespace, Namespace: p.namespace, RegistrationState: "Registered",
			RegistrationPolicy: "RegistrationFree"}
		for _, t := range p.types {
			b.ResourceTypes = append(b.ResourceTypes, resourceType{t, h.Locations, providerVersions, "None"})
		}
		list = append(list, b)
	}
	return list
}

func (h *handler) listProviders(r *door.Request) error {
	s, err := h.Tenancy.Subscription(r.HTTP.Context(), &r.Call, subscription(r))
	if err != nil {
		return err
	}
	return r.JSON(http.StatusOK, listBody{Value: h.providerBodies(s.ID)})
}

// getProvider also answers registrations: every provider that is served is there for every subscription.
func (h *handler) getProvider(r *door.Request) error {
	s, err := h.Tenancy.Subscription(r.HTTP.Context(), &r.Call, subscription(r))
	if err != nil {
		return err
	}
	namespace := r.Params.Get("namespace")
	for _, b := range h.providerBodies(s.ID) {
		if strings.EqualFold(b.Namespace, namespace) {
			return r.JSON(http.StatusOK, b)
		}
	}
	return fault.New(fault.NotFound, "the resource namespace '%.80s' is not served here: list the providers to see those that are", namespace).
		Because("InvalidResourceNamespace")
}

type resourceBody struct {
	ID       string            `json:"id"`
	Name     string            `json:"name"`
	Type     string            `json:"type"`
	Location string            `json:"location"`
	Tags     map[string]string `json:"tags"`
}

// listResources lists vaults and, when asked for by their type or for everything, the other resources that there are.
func (h *handler) listResources(r *door.Request) error {
	p, err := page(r)
	if err != nil {
		return err
	}
	filter, err := odata.Parse(r.Query("$filter"))
	if err == nil {
		err = knownFields(filter, "resourceType", "name", "resourceGroup", "location")
	}
	if err != nil {
		return err
	}
	found, err := h.Tenancy.ListVaults(r.HTTP.Context(), &r.Call, groupRef(r), p)
	if err != nil {
		return err
	}
	list := make([]resourceBody, 0, len(found.Vaults))
	for _, v := range found.Vaults {
		b := resourceBody{v.Scope(), v.Name, "Microsoft.KeyVault/vaults", v.Location, notNil(v.Tags)}
		if matches(filter, map[string]string{"resourcetype": b.Type, "name": b.Name, "resourcegroup": v.ResourceGroup, "location": b.Location}) {
			list = append(list, b)
		}
	}
	return r.JSON(http.StatusOK, listBody{list, nextLink(r, found.Next)})
}

// knownFields refuses a filter on anything but the fields, by anything but eq.
func knownFields(f odata.Filter, fields ...string) error {
	for _, all := range f {
		for _, c := range all {
			known := false
			for _, field := range fields {
				known = known || c.Op == "eq" && strings.EqualFold(c.Field, field)
			}
			if !known {
				return fault.New(fault.Invalid, "the $filter condition %q is not known here: compare one of %s with eq", c.String(), strings.Join(fields, ", ")).
					Because("InvalidFilter")
			}
		}
	}
	return nil
}

// matches reports whether the values, by lower-case field, are selected. Values are compared without regard to case.
func matches(f odata.Filter, values map[string]string) bool {
	for _, all := range f {
		ok := true
		for _, c := range all {
			ok = ok && strings.EqualFold(values[strings.ToLower(c.Field)], c.Value)
		}
		if ok {
			return true
		}
	}
	return len(f) == 0
}

type groupBody struct {
	ID         string            `json:"id"`
	Name       string            `json:"name"`
	Type       string            `json:"type"`
	Location   string            `json:"location"`
	Tags       map[string]string `json:"tags"`
	Properties map[string]string `json:"properties"`
}

func groupOf(g *vault.ResourceGroup) groupBody {
	return groupBody{"/subscriptions/" + string(g.Subscription) + "/resourceGroups/" + g.Name, g.Name, "Microsoft.Resources/resourceGroups", g.Location,
		notNil(g.Tags), map[string]string{"provisioningState": "Succeeded"}}
}

func (h *handler) listGroups(r *door.Request) error {
	if r.Query("$filter") != "" {
		return fault.New(fault.Unsupported, "resource groups cannot be filtered here: list all of them").Because("InvalidFilter")
	}
	found, err := h.Tenancy.Groups(r.HTTP.Context(), &r.Call, subscription(r))
	if err != nil {
		return err
	}
	if top, err := strconv.Atoi(r.Query("$top")); err == nil && top > 0 && len(found) > top {
		found = found[:top]
	}
	list := make([]groupBody, 0, len(found))
	for _, g := range found {
		list = append(list, groupOf(g))
	}
	return r.JSON(http.StatusOK, listBody{Value: list})
}

type groupInput struct {
	Location string            `json:"location"`
	Tags     map[string]string `json:"tags"`
}

func (h *handler) putGroup(r *door.Request) error {
	var in groupInput
	if err := r.Decode(&in); err != nil {
		return err
	}
	g, created, err := h.Tenancy.PutGroup(r.HTTP.Context(), &r.Call, groupRef(r), in.Location, in.Tags)
	if err != nil {
		return err
	}
	status := http.StatusOK
	if created {
		status = http.StatusCreated
	}
	return r.JSON(status, groupOf(g))
}

func (h *handler) patchGroup(r *door.Request) error {
	var in groupInput
	if err := r.Decode(&in); err != nil {
		return err
	}
	g, err := h.Tenancy.TagGroup(r.HTTP.Context(), &r.Call, groupRef(r), in.Tags)
	if err != nil {
		return err
	}
	return r.JSON(http.StatusOK, groupOf(g))
}

func (h *handler) getGroup(r *door.Request) error {
	g, err := h.Tenancy.Group(r.HTTP.Context(), &r.Call, groupRef(r))
	if err != nil {
		return err
	}
	return r.JSON(http.StatusOK, groupOf(g))
}

// headGroup tells whether a group exists: 204 or 404.
func (h *handler) headGroup(r *door.Request) error {
	if _, err := h.Tenancy.Group(r.HTTP.Context(), &r.Call, groupRef(r)); err != nil {
		return err
	}
	r.Raw(http.StatusNoContent, nil)
	return nil
}

func (h *handler) deleteGroup(r *door.Request) error {
	if err := h.Tenancy.DeleteGroup(r.HTTP.Context(), &r.Call, groupRef(r)); err != nil {
		return err
	}
	r.Raw(http.StatusOK, nil)
	return nil
}

// endpoints describes the installation to az, which asks before anybody has signed in.
func (h *handler) endpoints(r *door.Request) error {
	e := h.Endpoints(r.HTTP.Host)
	self := "https://" + r.HTTP.Host
	return r.JSON(http.StatusOK, map[string]any{
		"galleryEndpoint": self, "graphEndpoint": e.Graph, "portalEndpoint": self, "resourceManager": self, "graph": e.Graph, "microsoftGraphResourceId": e.Graph,
		"authentication": map[string]any{"loginEndpoint": e.Login, "audiences": []string{e.Audience}, "tenant": "common"},
		"suffixes":       map[string]any{"keyVaultDns": e.VaultSuffix},
	})
}
