// Package clients tests that programs which others wrote for Azure Key Vault work against the real server, unmodified: the
// Azure SDKs for Go, JavaScript and Python, and az.
//
// Each test runs in a mount and network namespace of its own, where it owns every name and port:
//
//	named vaults    vaults below vault.keywright.localhost on port 8443, clients configured by dev.env
//	public names    the cloud's own host names lead to the server on port 443; clients have nothing but credentials and a CA
//
// The server is the program itself, built from this source tree. What clients sign in with (a certificate, a federation with an
// outside issuer, a person with password and code generator) is set up by its own command line.
//
// One at a time:
//
//	go test ./e2e/clients -run TestPython -v
//
// Without namespaces, Node.js, Debian's Python packages or az, the tests that need them are skipped with a notice, and fail
// under CI=true.
package clients
