package server

import (
	"time"

	"github.com/keywright/keywright/internal/door"
)

// observe is told by every door of each request that it answered.
func (k *core) observe(doorName string, r *door.Request, status int, took time.Duration) {
	k.metrics.observe(doorName, r, status, took)
	k.tracer.observe(doorName, r, status)
}

// operationOf names a request's endpoint; a request that no route serves is "none", whatever it asked for.
func operationOf(r *door.Request) string {
	if r.Route == nil {
		return "none"
	}
	return r.Route.Operation
}
