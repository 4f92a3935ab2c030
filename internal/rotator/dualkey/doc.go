// Package dualkey changes the keys of services that have two for each account, and make the values by themselves: Azure Storage, Azure Service Bus and
// Event Hubs through Azure Resource Manager, and whatever has such an interface over HTTP.
//
// Regenerating a key makes the new value and kills the old one in one step, so only the slot that nobody uses is ever regenerated. These services show
// their keys to administrators: a value whose reply got lost is read again and not made again. That is required of the generic kind too.
package dualkey
