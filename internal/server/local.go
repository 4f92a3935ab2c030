package server

import (
	"net/http"
	"strings"

	"github.com/keywright/keywright/internal/door/oauth"
	"github.com/keywright/keywright/internal/issuer/acme"
)

// localHandler serves the plain-http listener of loop-back: what workloads on this machine ask for without TLS, because the
// protocols of managed identities have none, metrics, and what certificate authorities and their clients ask over plain http.
func (d *Dev) localHandler() (http.Handler, error) {
	managed, err := oauth.NewManaged(d.oauthConfig())
	if err != nil {
		return nil, err
	}
	metrics := d.core.metrics.handler()
	authorities := newAuthorityHandler(d.core)
	traced := d.core.tracer.handler(managed)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/metrics":
			metrics.ServeHTTP(w, r)
		case strings.HasPrefix(r.URL.Path, acme.ChallengePath):
			d.core.issuers.http.ServeHTTP(w, r)
		case strings.HasPrefix(r.URL.Path, authorityPath):
			authorities.ServeHTTP(w, r)
		default:
			traced.ServeHTTP(w, r)
		}
	}), nil
}
