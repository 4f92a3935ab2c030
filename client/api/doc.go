// Package api holds the bodies of Keywright's native HTTP API, version 1: what package client sends and what the server
// answers. The server serves a description of the same types at /openapi.json.
//
// Instants are in RFC 3339 with at most microseconds, in UTC; an absent instant is unset. Lists come in pages: Next, when
// not empty, is what the query parameter "after" of the following request takes.
package api
