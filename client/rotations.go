package client

import (
	"context"
	"encoding/json"
	"iter"
	"net/url"
	"strconv"
	"time"

	"github.com/keywright/keywright/client/api"
)

func (v *Vault) run(id string) string { return v.path + "/rotations/" + url.PathEscape(id) }

// SetRotationPolicy gives a secret its rotation policy. The document is JSON in the shape of api.RotationPolicy; the server refuses members that it does
// not know, and reports every mistake at once.
func (v *Vault) SetRotationPolicy(ctx context.Context, name string, policy json.RawMessage) (*api.RotationPolicyInfo, error) {
	return do[api.RotationPolicyInfo](ctx, v.c, "PUT", v.live(name)+"/rotation-policy", nil, policy)
}

// RotationPolicy returns the rotation policy of a secret.
func (v *Vault) RotationPolicy(ctx context.Context, name string) (*api.RotationPolicyInfo, error) {
	return do[api.RotationPolicyInfo](ctx, v.c, "GET", v.live(name)+"/rotation-policy", nil, nil)
}

// DeleteRotationPolicy takes a secret's rotation policy away. A run that is open goes on.
func (v *Vault) DeleteRotationPolicy(ctx context.Context, name string) error {
	return v.c.call(ctx, "DELETE", v.live(name)+"/rotation-policy", nil, nil, nil)
}

// RotationPolicies lists the rotation policies of the vault.
func (v *Vault) RotationPolicies(ctx context.Context) iter.Seq2[*api.RotationPolicyInfo, error] {
	return pages(ctx, v.c, v.path+"/rotation-policies", nil, func(l *api.RotationPolicyPage) ([]api.RotationPolicyInfo, string) { return l.Items, l.Next })
}

// Rotate starts a run now.
func (v *Vault) Rotate(ctx context.Context, name string, in api.StartRotation) (*api.Rotation, error) {
	return do[api.Rotation](ctx, v.c, "POST", v.live(name)+"/rotations", nil, in)
}

// PlanRotation rehearses a run: everything but the effect.
func (v *Vault) PlanRotation(ctx context.Context, name string) (*api.RotationPlan, error) {
	return do[api.RotationPlan](ctx, v.c, "POST", v.live(name)+"/rotation-plan", nil, nil)
}

// RotationFilter selects runs. Empty fields select all.
type RotationFilter struct {
	Name, State, Kind string
	// Open selects the runs that have not ended.
	Open bool
}

// Rotations lists runs of the vault, newest first.
func (v *Vault) Rotations(ctx context.Context, f RotationFilter) iter.Seq2[*api.Rotation, error] {
	q := url.Values{}
	for name, value := range map[string]string{"name": f.Name, "state": f.State, "kind": f.Kind} {
		if value != "" {
			q.Set(name, value)
		}
	}
	if f.Open {
		q.Set("open", "true")
	}
	return pages(ctx, v.c, v.path+"/rotations", q, func(l *api.RotationPage) ([]api.Rotation, string) { return l.Items, l.Next })
}

// SchedulesPaused says why no rotation of the vault is started by schedule now; nil when they are.
func (v *Vault) SchedulesPaused(ctx context.Context) (*api.SchedulePause, error) {
	l, err := do[api.RotationPage](ctx, v.c, "GET", v.path+"/rotations", url.Values{"limit": {"1"}}, nil)
	if err != nil {
		return nil, err
	}
	return l.Paused, nil
}

// Rotation returns a run.
func (v *Vault) Rotation(ctx context.Context, id string) (*api.Rotation, error) {
	return do[api.Rotation](ctx, v.c, "GET", v.run(id), nil, nil)
}

// AwaitRotation returns a run as soon as its journal has gone on from the revision, or when the time has passed: at most 30 seconds. A run that has ended
// returns at once.
func (v *Vault) AwaitRotation(ctx context.Context, id string, revision int64, most time.Duration) (*api.Rotation, error) {
	q := url.Values{"revision": {strconv.FormatInt(revision, 10)}, "wait": {strconv.Itoa(max(1, int(most/time.Second)))}}
	return do[api.Rotation](ctx, v.c, "GET", v.run(id), q, nil)
}

// awaitStep is how long one request of WatchRotation stays open, well below what proxies in between put up with.
const awaitStep = 20 * time.Second

// WatchRotation follows a run from the state in which it is to its end. An error ends it.
func (v *Vault) WatchRotation(ctx context.Context, id string) iter.Seq2[*api.Rotation, error] {
	return func(yield func(*api.Rotation, error) bool) {
		r, err := v.Rotation(ctx, id)
		for yield(r, err) && err == nil && r.Open {
			for was := r.Revision; err == nil && r.Open && r.Revision == was; {
				r, err = v.AwaitRotation(ctx, id, was, awaitStep)
			}
		}
	}
}

// OrderRotation tells a run what to do: approve, abort, replay, adopt or force.
func (v *Vault) OrderRotation(ctx context.Context, id string, in api.OrderRotation) (*api.Rotation, error) {
	return do[api.Rotation](ctx, v.c, "POST", v.run(id)+"/orders", nil, in)
}

// RevokeVersion ends an old version at its target, when nobody needs it any more or at once. It returns the revocation.
func (v *Vault) RevokeVersion(ctx context.Context, name, version string, in api.RevokeVersion) (*api.Rotation, error) {
	return do[api.Rotation](ctx, v.c, "POST", v.version(name, version)+"/revoke", nil, in)
}

func (v *Vault) task(id string) string { return v.path + "/rotation-tasks/" + url.PathEscape(id) }

// RotationTasks lists the tasks of the vault that wait for a person; with all, those that are over too.
func (v *Vault) RotationTasks(ctx context.Context, all bool) iter.Seq2[*api.RotationTask, error] {
	return pages(ctx, v.c, v.path+"/rotation-tasks", url.Values{"open": {strconv.FormatBool(!all)}}, func(l *api.RotationTaskPage) ([]api.RotationTask, string) { return l.Items, l.Next })
}

// RotationTask returns a task.
func (v *Vault) RotationTask(ctx context.Context, id string) (*api.RotationTask, error) {
	return do[api.RotationTask](ctx, v.c, "GET", v.task(id), nil, nil)
}

// AcknowledgeTask says that somebody has taken a task on.
func (v *Vault) AcknowledgeTask(ctx context.Context, id string) error {
	return v.c.call(ctx, "POST", v.task(id)+"/acknowledge", nil, nil, nil)
}

// SubmitTask hands in the value that was set at the target, and returns the run that goes on with it.
func (v *Vault) SubmitTask(ctx context.Context, id string, value []byte, attested bool) (*api.Rotation, error) {
	set := NewSecret(value)
	return do[api.Rotation](ctx, v.c, "POST", v.task(id)+"/submit", nil, api.SubmitTask{Value: set.Value, ValueBase64: set.ValueBase64, Attested: attested})
}

// Ages lists how old every secret of the vault is, against what its policy allows.
func (v *Vault) Ages(ctx context.Context) iter.Seq2[*api.SecretAge, error] {
	return pages(ctx, v.c, v.path+"/secret-ages", nil, func(l *api.SecretAgePage) ([]api.SecretAge, string) { return l.Items, l.Next })
}

// Incidents lists the runs of the vault that answer leaks which are not closed.
func (v *Vault) Incidents(ctx context.Context) iter.Seq2[*api.Rotation, error] {
	return pages(ctx, v.c, v.path+"/incidents", nil, func(l *api.IncidentPage) ([]api.Rotation, string) { return l.Items, l.Next })
}

// RecordCause writes down the root cause of the incident that a run answers.
func (v *Vault) RecordCause(ctx context.Context, run string, in api.SetRootCause) (*api.Rotation, error) {
	return do[api.Rotation](ctx, v.c, "PUT", v.run(run)+"/incident/cause", nil, in)
}

// CloseIncident closes the incident that a run answers. It needs a root cause, and that the target refuses what leaked.
func (v *Vault) CloseIncident(ctx context.Context, run string) (*api.Rotation, error) {
	return do[api.Rotation](ctx, v.c, "POST", v.run(run)+"/incident/close", nil, nil)
}

// ExemptFromAge lets a secret become older than the default of its vault or server until a date.
func (v *Vault) ExemptFromAge(ctx context.Context, name string, in api.SetExemption) error {
	return v.c.call(ctx, "PUT", v.live(name)+"/age-exemption", nil, in, nil)
}

// EndExemption ends the exemption of a secret.
func (v *Vault) EndExemption(ctx context.Context, name string) error {
	return v.c.call(ctx, "DELETE", v.live(name)+"/age-exemption", nil, nil, nil)
}

// ResumeSchedules takes the clock of the server for right after it was moved: whatever is due by it in any vault of the tenant starts at once.
func (c *Client) ResumeSchedules(ctx context.Context, reason string) error {
	return c.call(ctx, "POST", "/api/v1/rotation-schedules/resume", nil, api.ResumeSchedules{Reason: reason}, nil)
}

// Rotators lists the adapters that the server has.
func (c *Client) Rotators(ctx context.Context) ([]api.Rotator, error) {
	l, err := do[api.RotatorList](ctx, c, "GET", "/api/v1/rotators", nil, nil)
	if err != nil {
		return nil, err
	}
	return l.Items, nil
}
