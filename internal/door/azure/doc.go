// Package azure is the door that speaks the Key Vault data-plane protocol (REST API versions 2016-10-01 to
// 2026-04-01).
//
// One host is one vault. A request without a token gets a 401 with a challenge before anything else is looked at: the
// clients' first request is sent without its body, on purpose, and learns from the challenge where tokens are had.
// Hosts that no vault answers to get the same challenge.
//
// Ids, nextLink and recoveryId are absolute and made from the Host that the client used, because clients parse and
// follow them.
package azure
