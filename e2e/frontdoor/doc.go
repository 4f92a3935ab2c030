// Package frontdoor tests stock programs in front of applications: what takes its certificate from a vault, and what enrols with an issuer by itself. Every one is
// Debian's package as it comes.
//
// Each test runs in a network namespace of its own, where it has the ports 80 and 443 and the hosts file to itself. A test whose program is not installed is skipped, loudly,
// and fails under CI=true.
package frontdoor
