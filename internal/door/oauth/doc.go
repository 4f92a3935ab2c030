// Package oauth is the front end of the token service, in the shapes that the client libraries for Azure know: an
// authority whose path begins with a tenant, an authority of the AD FS kind whose tenant is literally "adfs", and the
// endpoints that give a workload its managed identity.
//
// Two doors stand here. New serves the authority's host over TLS; NewManaged serves the plain-http listener of managed
// identities, which App Service and virtual machines have.
//
// An authority is known by the tenant in its path:
//
//	{tenant}        a tenant's GUID
//	adfs            the default tenant; the libraries then ask no public host whether they may trust this one
//	common, organizations
//	                the default tenant
//
// Errors have the members and the AADSTS codes of Microsoft Entra ID, as programs and people search for these:
// learn.microsoft.com/entra/identity-platform/reference-error-codes.
package oauth
