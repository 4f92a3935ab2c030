// Package door is what the protocol front ends share: routes as data, matching, the order in which a request is
// checked, bodies with limits, and answers written in one piece.
//
// A door translates and never decides: its routes call one method of a service each. The order of a request is fixed
// here so that no endpoint can change it:
//
//  1. match the route, without answering yet;
//  2. Prepare: find the vault by host, authenticate, apply network rules;
//  3. answer 404 or 405 when no route matched;
//  4. read the body within the route's limit;
//  5. Serve: decode, call the service (which authorises, changes, audits and emits), encode.
//
// Matching is our own and not http.ServeMux's because the protocols need what that one will not do: literals compared
// without regard to case, empty segments that mean "latest", and never a redirect to a cleaned path.
package door
