// Package identity says who a caller is. It is the installation's token service and the judge of the tokens that it
// issued.
//
// Somebody proves itself with a credential and gets a token; whoever presents the token is that somebody until it expires
// or is revoked:
//
//	client secret        ┐
//	signed assertion     │
//	outside assertion    ├─▶ principal ─▶ token (RS256 JWT, RFC 7519) ─▶ Authenticate ─▶ guard.Caller
//	managed identity     │
//	person: device code, ┘
//	  PKCE, refresh token
//
// Promises:
//
//   - A token counts for nothing by itself. Authenticate looks the principal, its tenant and the credential up in the
//     store and remembers the answer; Changed takes the answer back within the commit that changed any of the three. So a
//     revocation takes effect at once, although tokens live for an hour.
//   - Credentials are compared in constant time, as keyed digests. Neither they nor tokens appear in errors, logs or
//     records.
//   - Guessing costs time: see gate. A lock is announced to the Auditor and to Config.Locked.
//   - A decision is recorded by the Auditor before its answer leaves; without a record there is no token.
//   - A client assertion counts only from the address that presented it first (RFC 7523, section 3, item 7, leaves the
//     choice). It is not refused outright the second time: the client libraries for JavaScript and Python present one
//     assertion again for its whole life, for each resource that they need a token for.
//
// Methods whose names begin with Prepare draw ids, values and digests and return a Change: a pure function of a transaction,
// for a caller that authorises, records and commits in one transaction of its own.
package identity
