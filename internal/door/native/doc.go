// Package native is the front end of Keywright's own API: JSON over HTTPS below /api/v1/, with /healthz, /readyz and
// /openapi.json beside it. The command line, the Go client and the console stand on it.
//
// Routes are tables, and /openapi.json is made from them. Bodies are the types of package client/api. Errors are problem
// details (RFC 9457) with the error's kind and reason and the request's correlation id.
//
// A caller comes with a bearer token (RFC 6750) of this installation's token service whose audience is the API's
// resource. A token for a vault is not good here: it was given out to read values, and not to change who may.
package native
