package native

import (
	"net/http"

	"github.com/keywright/keywright/client/api"
	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/door"
	"github.com/keywright/keywright/internal/rotation"
	"github.com/keywright/keywright/internal/secret"
)

func (h *handler) taskRoutes() []door.Route {
	const tasks, one = root + "/vaults/{vault}/rotation-tasks", root + "/vaults/{vault}/rotation-tasks/{task}"
	list := append([]door.Param{{Name: "open", Summary: "true for those alone that are not over."}}, pageParams...)
	return []door.Route{
		{Method: "GET", Pattern: tasks, Operation: "RotationTaskList", Action: authz.RotationRead.String(), Query: list, Output: api.RotationTaskPage{},
			Summary: "Lists the steps of rotations that wait for a person, oldest first.", Serve: h.listTasks},
		{Method: "GET", Pattern: one, Operation: "RotationTaskGet", Action: authz.RotationRead.String(), Output: api.RotationTask{}, Summary: "Shows a task.", Serve: h.getTask},
		{Method: "POST", Pattern: one + "/acknowledge", Operation: "RotationTaskAcknowledge", Action: authz.RotationRun.String(), Success: http.StatusNoContent,
			Summary: "Says that the caller has taken a task on.", Serve: h.acknowledgeTask},
		{Method: "POST", Pattern: one + "/submit", Operation: "RotationTaskSubmit", Action: authz.SecretSet.String(), MaxBody: h.Secrets.MaxBodyBytes(), Input: api.SubmitTask{},
			Output: api.Rotation{}, Summary: "Hands in the value that a person set at the target.", Serve: h.submitTask},
	}
}

func wireTask(r *door.Request, t *rotation.Task) api.RotationTask {
	return api.RotationTask{ID: t.ID, Run: string(t.Run), Vault: r.Call.Vault.Vault.Name, Name: t.NameKey, Open: t.Open, Assignee: t.Assignee, Team: t.Team, Instructions: t.Instructions,
		Opened: t.Opened, Due: t.Due, Reminders: t.Remind, Escalate: t.Escalate, Escalated: t.Escalated, Acknowledged: optional(t.Acknowledged), By: t.By, Closed: optional(t.Closed)}
}

func (h *handler) listTasks(r *door.Request) error {
	after, limit, err := page(r)
	if err != nil {
		return err
	}
	list, err := h.Rotation.Tasks(r.HTTP.Context(), &r.Call, r.Query("open") == "true", after, limit)
	if err != nil {
		return err
	}
	out := api.RotationTaskPage{Items: make([]api.RotationTask, 0, len(list))}
	for _, t := range list {
		out.Items = append(out.Items, wireTask(r, t))
	}
	if len(list) == limit {
		out.Next = next(list[limit-1].ID)
	}
	return r.JSON(http.StatusOK, out)
}

func (h *handler) getTask(r *door.Request) error {
	t, err := h.Rotation.GetTask(r.HTTP.Context(), &r.Call, r.Params.Get("task"))
	if err != nil {
		return err
	}
	return r.JSON(http.StatusOK, wireTask(r, t))
}

func (h *handler) acknowledgeTask(r *door.Request) error {
	return done(r, h.Rotation.Acknowledge(r.HTTP.Context(), &r.Call, r.Params.Get("task")))
}

func (h *handler) submitTask(r *door.Request) error {
	var in api.SubmitTask
	if err := r.Decode(&in); err != nil {
		return err
	}
	value, err := givenValue(in.Value, in.ValueBase64)
	if err != nil {
		return err
	}
	defer clear(value)
	run, err := h.Rotation.Submit(r.HTTP.Context(), &r.Call, r.Params.Get("task"), secret.Input{Value: value}, in.Attested)
	return h.answerRun(r, run, err)
}
