package native

import (
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"github.com/keywright/keywright/client/api"
	"github.com/keywright/keywright/internal/admission"
	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/door"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/rotation"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

func (h *handler) rotationRoutes() []door.Route {
	const in, secret = root + "/vaults/{vault}", root + "/vaults/{vault}/secrets/{name}"
	const policy, runs, one = secret + "/rotation-policy", in + "/rotations", in + "/rotations/{run}"
	list := append([]door.Param{{Name: "name", Summary: "The secret whose runs are meant."}, {Name: "state", Summary: "The state in which they are, such as stuck."},
		{Name: "kind", Summary: "rotation, revocation or authority."}, {Name: "open", Summary: "true for those alone that have not ended."}}, pageParams...)
	follow := []door.Param{{Name: "revision", Summary: "The revision that the caller knows: the answer waits for another one."},
		{Name: "wait", Summary: "How many seconds it waits at most, 1 to 30."}}
	return []door.Route{
		{Method: "PUT", Pattern: policy, Operation: "RotationPolicySet", Action: authz.RotationPolicyWrite.String(), MaxBody: maxSmallBody, Input: api.RotationPolicy{},
			Output: api.RotationPolicyInfo{}, Summary: "Sets how and when the credential in a secret changes.", Serve: h.setRotationPolicy},
		{Method: "GET", Pattern: policy, Operation: "RotationPolicyGet", Action: authz.RotationPolicyRead.String(), Output: api.RotationPolicyInfo{},
			Summary: "Shows the rotation policy of a secret.", Serve: h.getRotationPolicy},
		{Method: "DELETE", Pattern: policy, Operation: "RotationPolicyDelete", Action: authz.RotationPolicyWrite.String(), Success: http.StatusNoContent,
			Summary: "Takes the rotation policy of a secret away.", Serve: h.deleteRotationPolicy},
		{Method: "GET", Pattern: in + "/rotation-policies", Operation: "RotationPolicyList", Action: authz.RotationPolicyRead.String(), Query: pageParams,
			Output: api.RotationPolicyPage{}, Summary: "Lists the rotation policies of a vault.", Serve: h.listRotationPolicies},
		{Method: "GET", Pattern: in + "/secret-ages", Operation: "SecretAgeList", Action: authz.RotationPolicyRead.String(), Query: pageParams,
			Output: api.SecretAgePage{}, Summary: "Lists how old every secret of a vault is, against what its policy allows.", Serve: h.listAges},
		{Method: "POST", Pattern: secret + "/rotations", Operation: "RotationStart", Class: admission.Use, Action: authz.RotationRun.String(), MaxBody: maxSmallBody, Input: api.StartRotation{},
			Output: api.Rotation{}, Summary: "Starts a rotation now.", Serve: h.startRotation},
		{Method: "POST", Pattern: secret + "/rotation-plan", Operation: "RotationPlan", Action: authz.RotationRun.String(), Output: api.RotationPlan{},
			Summary: "Rehearses a rotation: reaches the target and checks everything, and changes nothing.", Serve: h.planRotation},
		{Method: "GET", Pattern: runs, Operation: "RotationList", Action: authz.RotationRead.String(), Query: list, Output: api.RotationPage{},
			Summary: "Lists rotations and revocations, newest first.", Serve: h.listRotations},
		{Method: "GET", Pattern: one, Operation: "RotationGet", Action: authz.RotationRead.String(), Query: follow, Output: api.Rotation{},
			Summary: "Shows a rotation or revocation with every step that it made.", Serve: h.getRotation},
		{Method: "POST", Pattern: one + "/orders", Operation: "RotationOrder", Class: admission.Use, Action: authz.RotationRepair.String(), MaxBody: maxSmallBody, Input: api.OrderRotation{},
			Output:  api.Rotation{},
			Summary: "Tells a run what to do: abort, replay or adopt; approve and force need actions of their own.", Serve: h.orderRotation},
		{Method: "POST", Pattern: secret + "/versions/{version}/revoke", Operation: "VersionRevoke", Class: admission.Use, Action: authz.VersionRevoke.String(), MaxBody: maxSmallBody,
			Input: api.RevokeVersion{}, Output: api.Rotation{}, Summary: "Ends an old version at its target, when nobody needs it any more or at once.", Serve: h.revokeVersion},
		{Method: "GET", Pattern: root + "/rotators", Operation: "RotatorList", Output: api.RotatorList{},
			Summary: "Lists the adapters to targets, with what each can do and what it was verified against.", Serve: h.listRotators},
	}
}

func (h *handler) setRotationPolicy(r *door.Request) error {
	var raw json.RawMessage
	if err := r.Decode(&raw); err != nil {
		return err
	}
	ctx, name := r.HTTP.Context(), r.Params.Get("name")
	policy, mistakes := rotation.ParsePolicy(raw)
	if len(mistakes) > 0 {
		// Who may set no policy is refused whatever the policy is.
		return h.Rotation.RefusePolicy(ctx, &r.Call, name, raw)
	}
	info, err := h.Rotation.PutPolicy(ctx, &r.Call, name, policy)
	return answerPolicy(r, info, err)
}

func (h *handler) getRotationPolicy(r *door.Request) error {
	info, err := h.Rotation.Policy(r.HTTP.Context(), &r.Call, r.Params.Get("name"))
	return answerPolicy(r, info, err)
}

func answerPolicy(r *door.Request, info *rotation.PolicyInfo, err error) error {
	if err != nil {
		return err
	}
	out, err := wireRotationPolicy(r, info)
	if err != nil {
		return err
	}
	return r.JSON(http.StatusOK, out)
}

func wireRotationPolicy(r *door.Request, p *rotation.PolicyInfo) (*api.RotationPolicyInfo, error) {
	out := &api.RotationPolicyInfo{Vault: r.Call.Vault.Vault.Name, Name: p.Name, DueAt: optional(p.DueAt), Cause: string(p.Cause), Succeeded: optional(p.Succeeded), Revision: p.Revision}
	raw, err := json.Marshal(p.Policy)
	if err == nil {
		err = json.Unmarshal(raw, &out.Policy) // the members are the same: a test proves it
	}
	return out, err
}

func (h *handler) deleteRotationPolicy(r *door.Request) error {
	return done(r, h.Rotation.DeletePolicy(r.HTTP.Context(), &r.Call, r.Params.Get("name")))
}

func (h *handler) listRotationPolicies(r *door.Request) error {
	after, limit, err := page(r)
	if err != nil {
		return err
	}
	list, more, err := h.Rotation.Policies(r.HTTP.Context(), &r.Call, vault.ObjectID(after), limit)
	if err != nil {
		return err
	}
	out := api.RotationPolicyPage{Items: make([]api.RotationPolicyInfo, 0, len(list))}
	for _, p := range list {
		w, err := wireRotationPolicy(r, p)
		if err != nil {
			return err
		}
		out.Items = append(out.Items, *w)
	}
	if more != "" {
		out.Next = next(string(more))
	}
	return r.JSON(http.StatusOK, out)
}

func (h *handler) listAges(r *door.Request) error {
	after, limit, err := page(r)
	if err != nil {
		return err
	}
	list, more, err := h.Rotation.Ages(r.HTTP.Context(), &r.Call, after, limit)
	if err != nil {
		return err
	}
	out, now := api.SecretAgePage{Items: make([]api.SecretAge, 0, len(list))}, h.Clock.Now()
	for _, a := range list {
		w := api.SecretAge{Name: a.Name, Version: string(a.Version), Created: a.Created, AgeSeconds: int64(a.Age / time.Second), LimitSeconds: int64(a.Limit / time.Second),
			Over: a.Over(now), Policy: a.Policy, Paused: a.Paused, Strategy: a.Strategy, Expires: optional(a.Expires), DueAt: optional(a.DueAt), Cause: string(a.Cause),
			Succeeded: optional(a.Succeeded), LimitBy: string(a.LimitBy)}
		if x := a.Exempt; x != nil {
			w.Exemption = &api.AgeExemption{By: x.By, At: x.At, Why: x.Why, Until: x.Until}
		}
		if a.Limit > 0 {
			w.Share = a.Age.Seconds() / a.Limit.Seconds()
		}
		out.Items = append(out.Items, w)
	}
	if more != "" {
		out.Next = next(more)
	}
	return r.JSON(http.StatusOK, out)
}

func (h *handler) startRotation(r *door.Request) error {
	var in api.StartRotation
	if err := r.Decode(&in); err != nil {
		return err
	}
	start := rotation.Start{Cause: rotation.Cause(in.Cause), Note: in.Note, Exposed: instant(in.Exposed)}
	var err error
	if in.Version != "" {
		if start.Version, err = vault.ParseVersionID(in.Version); err != nil {
			return err
		}
	}
	run, err := h.Rotation.Run(r.HTTP.Context(), &r.Call, r.Params.Get("name"), start)
	return h.answerRun(r, run, err)
}

func (h *handler) answerRun(r *door.Request, run *rotation.Run, err error) error {
	if err != nil {
		return err
	}
	names, err := h.Rotation.Names(r.HTTP.Context(), &r.Call, nil, run)
	if err != nil {
		return err
	}
	return r.JSON(http.StatusOK, wireRun(r, run, names))
}

func (h *handler) listRotations(r *door.Request) error {
	after, limit, err := page(r)
	if err != nil {
		return err
	}
	q := store.RunQuery{State: r.Query("state"), Kind: store.RunKind(r.Query("kind")), Open: r.Query("open") == "true", After: store.RunID(after), Limit: limit}
	if q.Kind != "" && q.Kind != store.RotationRun && q.Kind != store.RevocationRun && q.Kind != store.AuthorityRun {
		return fault.New(fault.Invalid, "the parameter \"kind\" is %s, %s or %s", store.RotationRun, store.RevocationRun, store.AuthorityRun)
	}
	list, err := h.Rotation.RunsOf(r.HTTP.Context(), &r.Call, r.Query("name"), q)
	if err != nil {
		return err
	}
	names, err := h.Rotation.Names(r.HTTP.Context(), &r.Call, nil, list...)
	if err != nil {
		return err
	}
	out := api.RotationPage{Items: make([]api.Rotation, 0, len(list))}
	for _, run := range list {
		out.Items = append(out.Items, *wireRun(r, run, names))
	}
	if len(list) == limit {
		out.Next = next(string(list[limit-1].ID))
	}
	if out.Paused, err = h.schedulePause(r); err != nil {
		return err
	}
	return r.JSON(http.StatusOK, out)
}

// maxRunWait bounds how long an answer waits for a run to go on, in seconds: less than proxies put up with.
const maxRunWait = 30

func (h *handler) getRotation(r *door.Request) error {
	ctx, id := r.HTTP.Context(), store.RunID(r.Params.Get("run"))
	if r.Query("revision") == "" {
		run, err := h.Rotation.GetRun(ctx, &r.Call, id)
		return h.answerRun(r, run, err)
	}
	revision, err := strconv.ParseInt(r.Query("revision"), 10, 64)
	wait, werr := strconv.Atoi(r.Query("wait"))
	if err != nil || werr != nil || wait < 1 || wait > maxRunWait {
		return fault.New(fault.Invalid, "the parameter \"revision\" is a number, and \"wait\" one from 1 to %d", maxRunWait)
	}
	r.Leave() // who waits for a run keeps nobody out
	run, err := h.Rotation.Follow(ctx, &r.Call, id, revision, time.Duration(wait)*time.Second)
	return h.answerRun(r, run, err)
}

func (h *handler) orderRotation(r *door.Request) error {
	var in api.OrderRotation
	if err := r.Decode(&in); err != nil {
		return err
	}
	o := rotation.Order{Kind: rotation.OrderKind(in.Order), Note: in.Note, Attested: in.Attested}
	var err error
	if in.Version != "" {
		if o.Version, err = vault.ParseVersionID(in.Version); err != nil {
			return err
		}
	}
	run, err := h.Rotation.Order(r.HTTP.Context(), &r.Call, store.RunID(r.Params.Get("run")), o)
	return h.answerRun(r, run, err)
}

func (h *handler) revokeVersion(r *door.Request) error {
	version, err := pathVersion(r)
	if err != nil {
		return err
	}
	var in api.RevokeVersion
	if err := r.Decode(&in); err != nil {
		return err
	}
	run, err := h.Rotation.Revoke(r.HTTP.Context(), &r.Call, r.Params.Get("name"), version, in.Force, in.Reason)
	return h.answerRun(r, run, err)
}
