// Package object is the life of a vault's objects, which is the same for each kind of them: a name gets versions, is listed, deleted, recovered,
// purged, backed up, restored, and told of when it expires.
//
// A service of one kind stands on two types. Its doors get the Lifecycle, whose methods authorise, record and change by themselves, like every
// service's. The service alone has the Objects, which are the parts for what differs between the kinds: find a version in memory or in the store, add
// one, change one. The parts authorise nothing; each is handed what was authorised. How kinds differ is data: see Kind.
//
// Versions of recent use are kept in memory as they are stored, sealed, within a bound of bytes; plaintext is never kept. A version is sealed before
// its transaction begins, comes into memory as it commits, and is acknowledged when it is durable.
package object
