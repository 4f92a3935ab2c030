package native

import (
	"context"
	"net/http"

	"github.com/keywright/keywright/client/api"
	"github.com/keywright/keywright/internal/admission"
	"github.com/keywright/keywright/internal/door"
)

// Status tells what operators want to know.
type Status interface {
	// Status returns everything but Caller.
	Status(ctx context.Context) api.Status
	// Checks says of each thing that the server needs to take reads and writes whether it is well.
	Checks(ctx context.Context) []api.Check
}

func (h *handler) serverRoutes() []door.Route {
	return []door.Route{
		{Method: "GET", Pattern: "/healthz", Operation: "Health", Class: admission.Exempt, Public: true, Output: api.Health{}, Serve: h.health,
			Summary: "Answers while the process runs."},
		{Method: "GET", Pattern: "/readyz", Operation: "Ready", Class: admission.Exempt, Public: true, Output: api.Health{}, Serve: h.ready,
			Summary: "Answers 200 while the server can take reads and writes, else 503, and says what each depends on."},
		{Method: "GET", Pattern: "/openapi.json", Operation: "OpenAPI", Public: true, Serve: h.serveOpenAPI,
			Summary: "Describes this API (OpenAPI 3.1)."},
		{Method: "GET", Pattern: root + "/status", Operation: "Status", Class: admission.Read, Output: api.Status{}, Serve: h.status,
			Summary: "Says who you are, and how the server is: version, node, seal, store, audit log, limits."},
	}
}

func (h *handler) health(r *door.Request) error {
	return r.JSON(http.StatusOK, api.Health{Status: api.HealthOK})
}

func (h *handler) ready(r *door.Request) error {
	status, health := http.StatusOK, api.Health{Status: api.HealthOK, Checks: h.Config.Status.Checks(r.HTTP.Context())}
	for _, c := range health.Checks {
		if c.Status != api.HealthOK {
			status, health.Status = http.StatusServiceUnavailable, api.HealthFailing
		}
	}
	return r.JSON(status, health)
}

func (h *handler) status(r *door.Request) error {
	s := h.Config.Status.Status(r.HTTP.Context())
	var err error
	if s.SchedulesPaused, err = h.schedulePause(r); err != nil {
		return err
	}
	c := r.Call.Caller
	s.Caller = api.Caller{Principal: string(c.Principal), Kind: string(c.Kind), Tenant: string(c.Tenant), Name: c.Name, UPN: c.UPN, AppID: c.AppID}
	for _, g := range c.Groups {
		s.Caller.Groups = append(s.Caller.Groups, string(g))
	}
	return r.JSON(http.StatusOK, s)
}
