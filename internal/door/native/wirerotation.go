package native

import (
	"net/http"

	"github.com/keywright/keywright/client/api"
	"github.com/keywright/keywright/internal/door"
	"github.com/keywright/keywright/internal/rotation"
	"github.com/keywright/keywright/internal/rotator"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// wireRun is a run as the API shows it. names are those of the principals in it.
func wireRun(r *door.Request, run *rotation.Run, names map[string]string) *api.Rotation {
	out := &api.Rotation{ID: string(run.ID), Kind: string(run.Kind), Vault: r.Call.Vault.Vault.Name, Name: run.NameKey, State: string(run.State), Reason: string(run.Reason),
		Open: run.Open(), Urgent: run.Start.Cause.Urgent(), Revision: run.Revision, Cause: string(run.Start.Cause), Actor: run.Start.Actor, ActorName: names[run.Start.Actor], Note: run.Start.Note,
		LeakedVersion: string(run.Start.Version), Exposed: optional(run.Start.Exposed), Parent: string(run.Start.Parent), Strategy: string(run.Policy.Strategy),
		Rotator: run.Policy.Rotator, Account: run.Plan.Next.Account, Slot: run.Plan.Next.Slot, System: run.System, Warnings: run.Warnings, Base: string(run.Base),
		Pending: string(run.Pending), Current: string(run.Current), Old: texts(run.Old), Since: run.Since, Next: optional(run.NextAt), Ended: optional(run.Ended),
		Tries: run.Tries, Stuck: string(run.Stuck), Promoted: optional(run.Promoted), Waiting: wireWaiting(run.Waiting, names), Forced: string(run.Forced),
		Ordered: run.Obeyed < len(run.Orders) && run.Open(), Steps: make([]api.RotationStep, 0, len(run.History)),
		Incident: wireIncident(run.Incident, names), Succession: wireSuccession(run)}
	if len(run.History) > 0 {
		out.Created = run.History[0].At
	}
	if run.Kind == store.RevocationRun {
		at := run.Over
		if len(run.Old) > 0 {
			at = run.Places[run.Old[0]]
		}
		out.Account, out.Slot = at.Account, at.Slot
	}
	if run.Policy.Deadline > 0 && !run.Promoted.IsZero() {
		out.Deadline = optional(run.Promoted.Add(run.Policy.Deadline.Std()))
	}
	if e := run.LastError; e != nil {
		out.LastError = &api.RotationFailure{Class: e.Class, Message: e.Message, State: string(e.State), At: e.At}
	}
	if len(run.Matrix) > 0 {
		out.Matrix = make(map[string]string, len(run.Matrix))
		for v, verdict := range run.Matrix {
			out.Matrix[string(v)] = verdict
		}
	}
	for _, m := range run.History {
		out.Steps = append(out.Steps, api.RotationStep{At: m.At, From: string(m.From), To: string(m.To), Reason: string(m.Reason)})
	}
	for _, o := range run.Orders {
		out.Orders = append(out.Orders, api.RotationOrder{Order: string(o.Kind), At: o.At, By: o.By, ByName: names[o.By], Note: o.Note, Version: string(o.Version)})
	}
	return out
}

func texts(list []vault.VersionID) []string {
	var out []string
	for _, v := range list {
		out = append(out, string(v))
	}
	return out
}

func wireWaiting(list []rotation.Holder, names map[string]string) []api.RotationHolder {
	var out []api.RotationHolder
	for _, w := range list {
		out = append(out, api.RotationHolder{Principal: w.Principal, Name: names[w.Principal], Instance: w.Instance, Why: w.Why, Last: optional(w.Last)})
	}
	return out
}

func (h *handler) planRotation(r *door.Request) error {
	p, err := h.Rotation.Plan(r.HTTP.Context(), &r.Call, r.Params.Get("name"))
	return h.answerPlan(r, p, err)
}

func (h *handler) answerPlan(r *door.Request, p *rotation.Rehearsal, err error) error {
	if err != nil {
		return err
	}
	names, err := h.Rotation.Names(r.HTTP.Context(), &r.Call, p.AtRisk)
	if err != nil {
		return err
	}
	out := api.RotationPlan{Vault: r.Call.Vault.Vault.Name, Name: r.Params.Get("name"), Ready: p.Safe, Problem: p.Refused, Reason: string(p.Reason),
		Strategy: string(p.Policy.Strategy), Rotator: p.Policy.Rotator, Current: string(p.Current), Holding: p.Holding.Account, Account: p.Plan.Next.Account,
		Slot: p.Plan.Next.Slot, System: p.System, Warnings: p.Warnings, LengthSeconds: p.Length.Std().Seconds(), LengthMeasured: p.Measured, Gap: p.Gap,
		Approval: p.Approval, Revoke: texts(p.Plan.Revoke), EarliestSeconds: p.RevokedAfter.Std().Seconds(), DeadlineSeconds: p.Policy.Deadline.Std().Seconds(),
		AtRisk: wireWaiting(p.AtRisk, names), Certificates: p.Certificates, Bundles: p.Bundles}
	for _, a := range p.Authorities {
		out.Authorities = append(out.Authorities, wireHeir(a))
	}
	if p.Policy.Deadline > 0 {
		out.Overdue = string(p.Policy.Overdue.Then)
	}
	if out.AtRisk == nil {
		out.AtRisk = []api.RotationHolder{}
	}
	return r.JSON(http.StatusOK, out)
}

func (h *handler) listRotators(r *door.Request) error {
	out := api.RotatorList{Items: []api.Rotator{}}
	for _, d := range h.Rotation.Rotators() {
		w := api.Rotator{Name: d.Name, Title: d.Title, Evidence: string(d.Evidence), SelfService: d.SelfService, LoginsBeforeLockout: d.LoginsBeforeLockout,
			Value: api.ValueRules(d.Value), Verified: wireSystems(d.Verified), Unverified: wireSystems(d.Unverified)}
		for _, s := range d.Strategies {
			w.Strategies = append(w.Strategies, string(s))
		}
		for _, m := range d.Config {
			w.Config = append(w.Config, api.TargetMember(m))
		}
		out.Items = append(out.Items, w)
	}
	return r.JSON(http.StatusOK, out)
}

func wireSystems(list []rotator.System) []api.TargetSystem {
	out := make([]api.TargetSystem, 0, len(list))
	for _, s := range list {
		out = append(out, api.TargetSystem(s))
	}
	return out
}
