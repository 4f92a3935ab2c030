package server

import (
	"net/http"

	"github.com/keywright/keywright/internal/door/oauth"
)

// localHandler serves the plain-http listener of loop-back: what workloads on this machine ask for without TLS, because the
// protocols of managed identities have none, and metrics.
func (d *Dev) localHandler() (http.Handler, error) {
	managed, err := oauth.NewManaged(d.oauthConfig())
	if err != nil {
		return nil, err
	}
	metrics := d.core.metrics.handler()
	traced := d.core.tracer.handler(managed)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/metrics" {
			metrics.ServeHTTP(w, r)
			return
		}
		traced.ServeHTTP(w, r)
	}), nil
}
