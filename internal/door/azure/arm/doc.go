// Package arm is the door of Azure Resource Manager's clients: the slice of its REST API by which az, Terraform and the
// management SDKs make vaults, manage access to them, and give identities to applications.
//
// Long-running operations of Azure finish within their request here: answers say Succeeded at once.
//
// A site (Microsoft.Web/sites) stands for an application that runs elsewhere. Any name within a resource group can be
// looked at and given an identity; nothing else is kept about it.
package arm
