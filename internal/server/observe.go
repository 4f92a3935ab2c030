package server

import (
	"log/slog"
	"net/http"
	"time"

	"golang.org/x/time/rate"

	"github.com/keywright/keywright/internal/door"
)

// observe is told by every door of each request that it answered.
func (k *core) observe(doorName string, r *door.Request, status int, took time.Duration) {
	k.metrics.observe(doorName, r, status, took)
	k.tracer.observe(doorName, r, status)
	k.logRequest(doorName, r, status, took)
}

// logRequest writes a line about each request at debug level, and about a slow one at warn: not about every one where nearly all are slow, and not about
// those that were refused because of it. It names the endpoint and ids;
// what was asked for in particular stands in the audit log, under the same correlation id.
func (k *core) logRequest(doorName string, r *door.Request, status int, took time.Duration) {
	level, message := slog.LevelDebug, "request"
	if k.slow > 0 && took >= k.slow && status != http.StatusTooManyRequests && status != http.StatusServiceUnavailable && k.slowLines.Allow() {
		level, message = slog.LevelWarn, "slow request"
	}
	ctx := r.HTTP.Context()
	if !k.log.Enabled(ctx, level) {
		return
	}
	attrs := append(make([]slog.Attr, 0, 8), slog.String("door", doorName), slog.String("operation", operationOf(r)), slog.Int("status", status),
		slog.Duration("took", took), slog.String("correlation", r.Call.Correlation))
	if v := r.Call.Vault; v != nil {
		attrs = append(attrs, slog.String("vault", string(v.Vault.ID)))
	}
	if c := r.Call.Caller; c != nil {
		attrs = append(attrs, slog.String("tenant", string(c.Tenant)), slog.String("principal", string(c.Principal)))
	}
	k.log.LogAttrs(ctx, level, message, attrs...)
}

// slowLines is how many slow requests are logged at warn level: ten a second, and as many at once as came in ten.
func slowLines() *rate.Limiter { return rate.NewLimiter(10, 100) }

// operationOf names a request's endpoint; a request that no route serves is "none", whatever it asked for.
func operationOf(r *door.Request) string {
	if r.Route == nil {
		return "none"
	}
	return r.Route.Operation
}
