// Package directory is the service by which administrators manage who can sign in: principals, groups, their credentials, and
// the outside issuers that the tenant believes. What a principal may do belongs to the access service; proving who somebody is
// belongs to identity, which also prepares every change made here.
//
// Whoever can add a credential to a principal can act as it. So credentials have an action of their own, which built-in roles
// give to identity administrators and owners alone.
//
// Everything happens within the caller's tenant: another tenant's principal is answered like one that does not exist.
package directory
