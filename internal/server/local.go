package server

import (
	"net/http"
)

// localHandler serves the plain-http listener of loop-back: what workloads on this machine ask for without TLS, because the
// protocols of managed identities have none, and metrics.
func (d *Dev) localHandler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", d.core.metrics.handler())
	return mux
}
