package arm

import (
	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/door"
	"github.com/keywright/keywright/internal/tenancy"
	"github.com/keywright/keywright/internal/vault"
)

// maxBody bounds every body, in bytes: a vault with 1,024 access policies and 1,000 network rules has less than 1 MiB.
const maxBody = 2 << 20

// The places of Resource Manager's tree, as the beginnings of patterns.
const (
	subscriptionAt = "/subscriptions/{subscription}"
	groupAt        = subscriptionAt + "/resourceGroups/{group}"
	vaultsOf       = "/providers/Microsoft.KeyVault/vaults"
	vaultAt        = groupAt + vaultsOf + "/{vault}"
	deletedAt      = subscriptionAt + "/providers/Microsoft.KeyVault/locations/{location}/deletedVaults/{vault}"
	siteAt         = groupAt + "/providers/Microsoft.Web/sites"
	identityAt     = groupAt + "/providers/Microsoft.ManagedIdentity/userAssignedIdentities"
)

// scopes are the places at which access is managed. A pattern's parameters cannot hold slashes, so each place has routes of its
// own.
var scopes = []string{"", subscriptionAt, groupAt, vaultAt, vaultAt + "/secrets/{object}", vaultAt + "/keys/{object}", vaultAt + "/certificates/{object}"}

var (
	versionParam = door.Param{Name: "api-version", Summary: "The protocol version.", Required: true}
	filterParam  = door.Param{Name: "$filter", Summary: "Which entries to show, as an OData expression."}
	topParam     = door.Param{Name: "$top", Summary: "The most entries of one page."}
)

func route(method, pattern, operation string, action authz.Action, serve func(*door.Request) error, query ...door.Param) door.Route {
	r := door.Route{Method: method, Pattern: pattern, Operation: operation, Action: action.String(), Serve: serve, Query: append([]door.Param{versionParam}, query...)}
	if method == "PUT" || method == "PATCH" || method == "POST" {
		r.MaxBody = maxBody
	}
	if method == "PUT" || method == "DELETE" {
		r.Success = door.Varies // created or updated, deleted or never there
	}
	return r
}

// routes is the door's table.
func (h *handler) routes() []door.Route {
	var all []door.Route
	all = append(all, h.vaultRoutes()...)
	all = append(all, h.resourceRoutes()...)
	all = append(all, h.identityRoutes()...)
	for _, at := range scopes {
		all = append(all, h.accessRoutes(at)...)
	}
	return append(all, door.Route{Method: "GET", Pattern: "/metadata/endpoints", Operation: "EndpointsGet", Public: true, Serve: h.endpoints,
		Query: []door.Param{versionParam}})
}

func (h *handler) vaultRoutes() []door.Route {
	kv := subscriptionAt + "/providers/Microsoft.KeyVault"
	return []door.Route{
		route("PUT", vaultAt, "VaultPut", authz.VaultWrite, h.putVault),
		route("GET", vaultAt, "VaultGet", authz.VaultRead, h.getVault),
		route("PATCH", vaultAt, "VaultPatch", authz.VaultWrite, h.patchVault),
		route("DELETE", vaultAt, "VaultDelete", authz.VaultDelete, h.deleteVault),
		route("GET", groupAt+vaultsOf, "VaultList", authz.VaultRead, h.listVaults, topParam),
		route("GET", subscriptionAt+vaultsOf, "VaultList", authz.VaultRead, h.listVaults, topParam),
		route("PUT", vaultAt+"/accessPolicies/{operation}", "VaultAccessPolicyChange", authz.VaultAccessPoliciesWrite, h.changePolicies),
		route("POST", kv+"/checkNameAvailability", "VaultCheckName", authz.VaultCheckName, h.checkName),
		route("GET", kv+"/deletedVaults", "VaultListDeleted", authz.DeletedVaultRead, h.listDeletedVaults),
		route("GET", deletedAt, "VaultGetDeleted", authz.DeletedVaultReadAt, h.getDeletedVault),
		route("POST", deletedAt+"/purge", "VaultPurge", authz.DeletedVaultPurge, h.purgeVault),
		route("GET", vaultAt+"/privateEndpointConnections", "PrivateEndpointConnectionList", authz.VaultRead, h.noneOfVault),
		route("GET", vaultAt+"/privateLinkResources", "PrivateLinkResourceList", authz.VaultRead, h.noneOfVault),
		route("GET", kv+"/managedHSMs", "ManagedHsmList", authz.SubscriptionRead, h.noneOfSubscription),
		route("GET", kv+"/deletedManagedHSMs", "ManagedHsmListDeleted", authz.SubscriptionRead, h.noneOfSubscription),
		route("GET", groupAt+"/providers/Microsoft.KeyVault/managedHSMs", "ManagedHsmList", authz.ResourceGroupRead, h.noneOfGroup),
		route("GET", "/providers/Microsoft.KeyVault/operations", "OperationList", authz.VaultOperationsRead, h.operations),
		route("PUT", vaultAt+"/keys/{object}", "KeyManageCreate", authz.KeyManageWrite, h.putKey),
		route("GET", vaultAt+"/keys/{object}", "KeyManageGet", authz.KeyManageRead, h.getKey),
		route("GET", vaultAt+"/keys", "KeyManageList", authz.KeyManageRead, h.listKeys, topParam),
		route("GET", vaultAt+"/keys/{object}/versions", "KeyManageListVersions", authz.KeyManageRead, h.listKeyVersions, topParam),
		route("GET", vaultAt+"/keys/{object}/versions/{version}", "KeyManageGet", authz.KeyManageRead, h.getKey),
		route("PATCH", vaultAt+"/secrets/{object}", "SecretManageUpdate", authz.SecretManageWrite, h.patchSecret),
		route("PUT", vaultAt+"/secrets/{object}", "SecretManageSet", authz.SecretManageWrite, h.putSecret),
		route("GET", vaultAt+"/secrets/{object}", "SecretManageGet", authz.SecretManageRead, h.getSecret),
		route("GET", vaultAt+"/secrets", "SecretManageList", authz.SecretManageRead, h.listSecrets, topParam),
	}
}

func (h *handler) resourceRoutes() []door.Route {
	return []door.Route{
		route("GET", "/tenants", "TenantList", authz.TenantRead, h.listTenants),
		route("GET", "/subscriptions", "SubscriptionList", authz.SubscriptionRead, h.listSubscriptions),
		route("GET", subscriptionAt, "SubscriptionGet", authz.SubscriptionRead, h.getSubscription),
		route("GET", subscriptionAt+"/locations", "LocationList", authz.SubscriptionRead, h.listLocations),
		route("GET", subscriptionAt+"/providers", "ProviderList", authz.SubscriptionRead, h.listProviders),
		route("GET", subscriptionAt+"/providers/{namespace}", "ProviderGet", authz.SubscriptionRead, h.getProvider),
		route("POST", subscriptionAt+"/providers/{namespace}/register", "ProviderRegister", authz.SubscriptionRead, h.getProvider),
		route("GET", subscriptionAt+"/resources", "ResourceList", authz.VaultRead, h.listResources, filterParam, topParam),
		route("GET", groupAt+"/resources", "ResourceList", authz.VaultRead, h.listResources, filterParam, topParam),
		route("GET", subscriptionAt+"/resourceGroups", "ResourceGroupList", authz.ResourceGroupRead, h.listGroups, filterParam, topParam),
		route("PUT", groupAt, "ResourceGroupPut", authz.ResourceGroupWrite, h.putGroup),
		route("PATCH", groupAt, "ResourceGroupPatch", authz.ResourceGroupWrite, h.patchGroup),
		route("GET", groupAt, "ResourceGroupGet", authz.ResourceGroupRead, h.getGroup),
		route("HEAD", groupAt, "ResourceGroupCheck", authz.ResourceGroupRead, h.headGroup),
		route("DELETE", groupAt, "ResourceGroupDelete", authz.ResourceGroupDelete, h.deleteGroup),
	}
}

func (h *handler) identityRoutes() []door.Route {
	site, user := resource{h, tenancy.Site}, resource{h, tenancy.UserAssigned}
	return []door.Route{
		route("GET", siteAt+"/{name}", "SiteGet", authz.SiteRead, site.get),
		route("PUT", siteAt+"/{name}", "SitePut", authz.SiteWrite, site.put),
		route("PATCH", siteAt+"/{name}", "SitePatch", authz.SiteWrite, site.put),
		route("DELETE", siteAt+"/{name}", "SiteDelete", authz.SiteDelete, site.delete),
		route("GET", siteAt, "SiteList", authz.SiteRead, site.list),
		route("GET", identityAt+"/{name}", "IdentityGet", authz.IdentityRead, user.get),
		route("PUT", identityAt+"/{name}", "IdentityPut", authz.IdentityWrite, user.put),
		route("PATCH", identityAt+"/{name}", "IdentityPatch", authz.IdentityWrite, user.put),
		route("DELETE", identityAt+"/{name}", "IdentityDelete", authz.IdentityDelete, user.delete),
		route("GET", identityAt, "IdentityList", authz.IdentityRead, user.list),
		route("GET", subscriptionAt+"/providers/Microsoft.ManagedIdentity/userAssignedIdentities", "IdentityList", authz.IdentityRead, user.list),
	}
}

// accessRoutes are the routes of Microsoft.Authorization at one place of the tree.
func (h *handler) accessRoutes(at string) []door.Route {
	at += "/providers/Microsoft.Authorization"
	return []door.Route{
		route("GET", at+"/roleDefinitions", "RoleDefinitionList", authz.RoleDefinitionRead, h.listRoles, filterParam),
		route("GET", at+"/roleDefinitions/{id}", "RoleDefinitionGet", authz.RoleDefinitionRead, h.getRole),
		route("PUT", at+"/roleDefinitions/{id}", "RoleDefinitionPut", authz.RoleDefinitionWrite, h.putRole),
		route("DELETE", at+"/roleDefinitions/{id}", "RoleDefinitionDelete", authz.RoleDefinitionDelete, h.deleteRole),
		route("GET", at+"/roleAssignments", "RoleAssignmentList", authz.RoleAssignmentRead, h.listAssignments, filterParam),
		route("GET", at+"/roleAssignments/{id}", "RoleAssignmentGet", authz.RoleAssignmentRead, h.getAssignment),
		route("PUT", at+"/roleAssignments/{id}", "RoleAssignmentPut", authz.RoleAssignmentWrite, h.putAssignment),
		route("DELETE", at+"/roleAssignments/{id}", "RoleAssignmentDelete", authz.RoleAssignmentDelete, h.deleteAssignment),
		route("GET", at+"/permissions", "PermissionList", authz.PermissionsRead, h.listPermissions),
	}
}

// subscription returns the subscription of the path, in its canonical form when it is a GUID.
func subscription(r *door.Request) vault.SubscriptionID {
	s := r.Params.Get("subscription")
	if id, err := vault.ParseGUID(s); err == nil {
		return vault.SubscriptionID(id)
	}
	return vault.SubscriptionID(s)
}

func groupRef(r *door.Request) tenancy.GroupRef {
	return tenancy.GroupRef{Subscription: subscription(r), Group: r.Params.Get("group")}
}

func vaultRef(r *door.Request) tenancy.VaultRef {
	return tenancy.VaultRef{GroupRef: groupRef(r), Name: r.Params.Get("vault")}
}
