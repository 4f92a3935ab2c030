package native

import (
	"net/http"
	"time"

	"github.com/keywright/keywright/client/api"
	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/door"
	"github.com/keywright/keywright/internal/rotation"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

func (h *handler) incidentRoutes() []door.Route {
	const in = root + "/vaults/{vault}"
	const incident, exemption = in + "/rotations/{run}/incident", in + "/secrets/{name}/age-exemption"
	return []door.Route{
		{Method: "GET", Pattern: in + "/incidents", Operation: "IncidentList", Action: authz.RotationRead.String(), Query: pageParams, Output: api.IncidentPage{},
			Summary: "Lists the leaks that are not closed, each with the run that answers it.", Serve: h.listIncidents},
		{Method: "PUT", Pattern: incident + "/cause", Operation: "IncidentCauseSet", Action: authz.RotationRepair.String(), MaxBody: maxSmallBody, Input: api.SetRootCause{},
			Output: api.Rotation{}, Summary: "Records what leaked, how that could happen, and what was done against it.", Serve: h.setRootCause},
		{Method: "POST", Pattern: incident + "/close", Operation: "IncidentClose", Action: authz.RotationRepair.String(), Output: api.Rotation{},
			Summary: "Closes an incident whose root cause is recorded, once the target refuses what leaked.", Serve: h.closeIncident},
		{Method: "PUT", Pattern: exemption, Operation: "AgeExemptionSet", Action: authz.RotationPolicyWrite.String(), MaxBody: maxSmallBody, Input: api.SetExemption{},
			Success: http.StatusNoContent, Summary: "Lets a secret become older than the default of its vault or server until a date.", Serve: h.setExemption},
		{Method: "DELETE", Pattern: exemption, Operation: "AgeExemptionDelete", Action: authz.RotationPolicyWrite.String(), Success: http.StatusNoContent,
			Summary: "Ends the exemption of a secret from the default maximum age.", Serve: h.endExemption},
		{Method: "POST", Pattern: root + "/rotation-schedules/resume", Operation: "RotationSchedulesResume", Action: authz.SchedulesResume.String(), MaxBody: maxSmallBody,
			Input: api.ResumeSchedules{}, Success: http.StatusNoContent,
			Summary: "Takes the clock of the server for right after it was moved: the rotations of the whole tenant start by schedule again.", Serve: h.resumeSchedules},
	}
}

func (h *handler) listIncidents(r *door.Request) error {
	after, limit, err := page(r)
	if err != nil {
		return err
	}
	list, more, err := h.Rotation.Incidents(r.HTTP.Context(), &r.Call, vault.ObjectID(after), limit)
	if err != nil {
		return err
	}
	names, err := h.Rotation.Names(r.HTTP.Context(), &r.Call, nil, list...)
	if err != nil {
		return err
	}
	out := api.IncidentPage{Items: make([]api.Rotation, 0, len(list))}
	for _, run := range list {
		out.Items = append(out.Items, *wireRun(r, run, names))
	}
	if more != "" {
		out.Next = next(string(more))
	}
	return r.JSON(http.StatusOK, out)
}

func (h *handler) setRootCause(r *door.Request) error {
	var in api.SetRootCause
	if err := r.Decode(&in); err != nil {
		return err
	}
	cause := rotation.RootCause{What: in.What, How: in.How, Measures: in.Measures}
	run, err := h.Rotation.RecordCause(r.HTTP.Context(), &r.Call, store.RunID(r.Params.Get("run")), cause)
	return h.answerRun(r, run, err)
}

func (h *handler) closeIncident(r *door.Request) error {
	run, err := h.Rotation.CloseIncident(r.HTTP.Context(), &r.Call, store.RunID(r.Params.Get("run")))
	return h.answerRun(r, run, err)
}

func (h *handler) setExemption(r *door.Request) error {
	var in api.SetExemption
	if err := r.Decode(&in); err != nil {
		return err
	}
	return done(r, h.Rotation.Exempt(r.HTTP.Context(), &r.Call, r.Params.Get("name"), in.Reason, in.Until))
}

func (h *handler) endExemption(r *door.Request) error {
	return done(r, h.Rotation.EndExemption(r.HTTP.Context(), &r.Call, r.Params.Get("name")))
}

func (h *handler) resumeSchedules(r *door.Request) error {
	var in api.ResumeSchedules
	if err := r.Decode(&in); err != nil {
		return err
	}
	return done(r, h.Rotation.Resume(r.HTTP.Context(), &r.Call, in.Reason))
}

// schedulePause says why nothing of the caller's tenant is started by schedule; nil when it is.
func (h *handler) schedulePause(r *door.Request) (*api.SchedulePause, error) {
	by, err := h.Rotation.Paused(r.HTTP.Context(), &r.Call)
	if err != nil || by == 0 {
		return nil, err
	}
	return &api.SchedulePause{ClockMovedSeconds: int64(by / time.Second)}, nil
}

func wireIncident(i *rotation.Incident, names map[string]string) *api.Incident {
	if i == nil {
		return nil
	}
	out := &api.Incident{Version: string(i.Version), Opened: i.Opened, By: i.By, ByName: names[i.By], From: optional(i.From), Until: optional(i.Until),
		Closed: optional(i.Closed), ClosedBy: i.ClosedBy, ClosedByName: names[i.ClosedBy]}
	if c := i.Cause; c != nil {
		out.Cause = &api.RootCause{SetRootCause: api.SetRootCause{What: c.What, How: c.How, Measures: c.Measures}, By: c.By, ByName: names[c.By], At: c.At}
	}
	return out
}
