package server

import (
	"net"
	"net/http"
	"net/netip"
	"strings"

	"github.com/keywright/keywright/internal/door/oauth"
	"github.com/keywright/keywright/internal/issuer/acme"
)

// localHandler serves the plain-http listener of loop-back: what workloads on this machine ask for without TLS, because the
// protocols of managed identities have none, metrics, and what certificate authorities and their clients ask over plain http.
func (f *site) localHandler() (http.Handler, error) {
	managed, err := oauth.NewManaged(f.oauthConfig())
	if err != nil {
		return nil, err
	}
	metrics := f.core.metrics.handler()
	traced := f.core.tracer.handler(managed)
	return f.core.plainly(localOnly(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/metrics" {
			metrics.ServeHTTP(w, r)
			return
		}
		traced.ServeHTTP(w, r)
	}))), nil
}

// plainly serves what certificate authorities and their clients ask over plain http, from any host, and leaves the rest to another handler.
func (k *core) plainly(rest http.Handler) http.Handler {
	authorities := newAuthorityHandler(k)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasPrefix(r.URL.Path, acme.ChallengePath):
			k.issuers.http.ServeHTTP(w, r)
		case strings.HasPrefix(r.URL.Path, authorityPath):
			authorities.ServeHTTP(w, r)
		default:
			rest.ServeHTTP(w, r)
		}
	})
}

// localOnly refuses requests whose host a stranger could have: see localHost.
func localOnly(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !localHost(r.Host) {
			http.Error(w, "This listener answers no such host: ask for localhost or an IP address.", http.StatusMisdirectedRequest)
			return
		}
		h.ServeHTTP(w, r)
	})
}

// localHost reports whether a request's host is an address or a name that no stranger can have: to the browser, a page from a
// name that its owner points at 127.0.0.1 has the origin of this listener and may read its answers. Names under internal are
// those by which containers reach the machine they run on.
func localHost(host string) bool {
	name, _, err := net.SplitHostPort(host)
	if err != nil {
		name = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	}
	if _, err := netip.ParseAddr(name); err == nil {
		return true
	}
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	return name == "localhost" || strings.HasSuffix(name, ".localhost") || strings.HasSuffix(name, ".internal")
}
