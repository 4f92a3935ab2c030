package server

import (
	"net/http"
	"net/netip"
	"strings"

	"github.com/keywright/keywright/internal/door/oauth"
)

// dispatch sends a request to the door of its host. A host that is an address stands for all of them: there the path decides,
// and what no other door claims is the vault's.
type dispatch struct {
	names                                 names
	vault, login, arm, graph, nativ, acme http.Handler
}

// ServeHTTP implements http.Handler.
func (d *dispatch) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := d.door(r)
	if h == nil {
		http.NotFound(w, r)
		return
	}
	h.ServeHTTP(w, r)
}

func (d *dispatch) door(r *http.Request) http.Handler {
	host := hostOnly(r.Host)
	switch host {
	case d.names.login:
		return d.login
	case d.names.arm:
		return d.arm
	case d.names.graph:
		return d.graph
	case d.names.api, "localhost":
		if firstOf(r.URL.Path) == "acme" {
			return d.acme
		}
		return d.nativ
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return d.byPath(r.URL.Path)
	}
	return d.vault
}

// byPath chooses by the first segment, without regard to case.
func (d *dispatch) byPath(path string) http.Handler {
	switch firstOf(path) {
	case "secrets", "deletedsecrets", "keys", "deletedkeys", "rng", "certificates", "deletedcertificates":
		return d.vault
	case "subscriptions", "providers", "tenants", "metadata":
		return d.arm
	case "v1.0", "beta":
		return d.graph
	case "api", "healthz", "readyz", "openapi.json":
		return d.nativ
	case "acme":
		return d.acme
	}
	if oauth.Owns(path) {
		return d.login
	}
	return d.vault
}

// firstOf is the first segment of a path, in lower case.
func firstOf(path string) string {
	first, _, _ := strings.Cut(strings.TrimLeft(path, "/"), "/")
	return strings.ToLower(first)
}
