package native

import (
	"net/http"
	"slices"
	"time"

	"github.com/keywright/keywright/client/api"
	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/door"
	"github.com/keywright/keywright/internal/endpoint"
)

// maxEndpointBody bounds the body that registers an endpoint, in bytes: trusted certificates are the most of it.
const maxEndpointBody = 64 << 10

// certificateEndpointRoutes has the places where certificates are presented.
func (h *handler) certificateEndpointRoutes() []door.Route {
	const all = root + "/vaults/{vault}/certificate-endpoints"
	const one = all + "/{name}"
	certificate := door.Param{Name: "certificate", Summary: "The certificate whose endpoints are wanted; all when absent."}
	return []door.Route{
		{Method: "GET", Pattern: all, Operation: "CertificateEndpointList", Action: authz.CertificateList.String(), Query: append(slices.Clone(pageParams), certificate),
			Output: api.CertificateEndpointList{}, Summary: "Lists the places where certificates are presented, with what was seen there.", Serve: h.listEndpoints},
		{Method: "GET", Pattern: one, Operation: "CertificateEndpointGet", Action: authz.CertificateGet.String(), Output: api.CertificateEndpoint{},
			Summary: "Shows an endpoint and what was seen there.", Serve: h.getEndpoint},
		{Method: "PUT", Pattern: one, Operation: "CertificateEndpointSet", Action: authz.CertificateUpdate.String(), MaxBody: maxEndpointBody, Input: api.SetCertificateEndpoint{},
			Output: api.CertificateEndpoint{}, Summary: "Registers a place where a certificate is presented, or changes the one of that name.", Serve: h.setEndpoint},
		{Method: "DELETE", Pattern: one, Operation: "CertificateEndpointRemove", Action: authz.CertificateUpdate.String(), Success: http.StatusNoContent,
			Summary: "Ends the watching of an endpoint.", Serve: h.removeEndpoint},
		{Method: "POST", Pattern: one + "/check", Operation: "CertificateEndpointCheck", Action: authz.CertificateUpdate.String(), Output: api.CertificateEndpoint{},
			Summary: "Looks at an endpoint now.", Serve: h.checkEndpoint},
		{Method: "POST", Pattern: one + "/acknowledge", Operation: "CertificateEndpointAcknowledge", Action: authz.CertificateUpdate.String(), Output: api.CertificateEndpoint{},
			Summary: "Says that the caller has taken the alarms of an endpoint on.", Serve: h.acknowledgeEndpoint},
	}
}

// The states of an endpoint.
const (
	endpointNew   = "new"
	endpointOK    = "ok"
	endpointAlarm = "alarm"
)

func presentedOf(s *endpoint.Sight) *api.PresentedCertificate {
	if !s.Seen() {
		return nil
	}
	return &api.PresentedCertificate{SHA256: s.Leaf.SHA256, Serial: s.Leaf.Serial, Subject: s.Leaf.Subject, Issuer: s.Leaf.Issuer, NotBefore: s.Leaf.NotBefore,
		NotAfter: s.Leaf.NotAfter, Version: string(s.Version)}
}

func wireEndpoint(r *door.Request, e *endpoint.Endpoint) *api.CertificateEndpoint {
	out := &api.CertificateEndpoint{Vault: r.Call.Vault.Vault.Name, Name: e.Name, Certificate: e.Certificate, Address: e.Address, ServerName: e.ServerName, Protocol: string(e.Protocol),
		EverySeconds: int64(e.Every / time.Second), TimeoutSeconds: int64(e.Timeout / time.Second), GraceSeconds: int64(e.Grace / time.Second), CA: e.CA,
		State: endpointOK, Level: string(e.Level()), Expected: string(e.Expected), Checked: optional(e.Checked), Next: optional(e.NextAt), Created: e.Created, Updated: e.Updated}
	switch {
	case out.Level != "":
		out.State = endpointAlarm
	case e.Checked.IsZero():
		out.State = endpointNew
	}
	if o := e.Oldest(); o != nil {
		left := int64(o.Leaf.NotAfter.Sub(r.Call.Started) / time.Second)
		out.Oldest, out.SecondsLeft = presentedOf(o), &left
	}
	for _, a := range e.Alarms {
		out.Alarms = append(out.Alarms, api.EndpointAlarm{Kind: string(a.Kind), Level: string(a.Level), Since: a.Since, Raised: optional(a.Raised), Detail: a.Detail, Addresses: a.Addresses})
	}
	out.EndpointCare = api.EndpointCare{Assignee: e.Assignee, Team: e.Team, WithinSeconds: int64(e.Within / time.Second), EscalateSeconds: int64(e.Escalate / time.Second)}
	for _, d := range e.Remind {
		out.RemindSeconds = append(out.RemindSeconds, int64(d/time.Second))
	}
	if t := e.Task; t != nil {
		out.Task = &api.EndpointTask{Opened: t.Opened, Due: t.Due, Reminders: t.Remind, Escalate: t.Escalate, Escalated: t.Escalated, Acknowledged: optional(t.Acknowledged), By: t.By}
	}
	for i := range e.Sights {
		s := &e.Sights[i]
		out.Addresses = append(out.Addresses, api.EndpointAddress{Address: s.Address, Seen: optional(s.At), Presented: presentedOf(s), Failures: s.Failures, Error: s.Error})
	}
	return out
}

func endpointAnswer(r *door.Request, e *endpoint.Endpoint, err error) error {
	if err != nil {
		return err
	}
	return r.JSON(http.StatusOK, wireEndpoint(r, e))
}

func (h *handler) listEndpoints(r *door.Request) error {
	after, limit, err := page(r)
	if err != nil {
		return err
	}
	found, err := h.Endpoints.List(r.HTTP.Context(), &r.Call, endpoint.Page{Certificate: r.Query("certificate"), After: after, Limit: limit})
	if err != nil {
		return err
	}
	out := api.CertificateEndpointList{Items: make([]api.CertificateEndpoint, 0, len(found.Endpoints))}
	for _, e := range found.Endpoints {
		out.Items = append(out.Items, *wireEndpoint(r, e))
	}
	if found.Next != "" {
		out.Next = next(found.Next)
	}
	return r.JSON(http.StatusOK, out)
}

func (h *handler) getEndpoint(r *door.Request) error {
	e, err := h.Endpoints.Get(r.HTTP.Context(), &r.Call, r.Params.Get("name"))
	return endpointAnswer(r, e, err)
}

// seconds reads a duration. One that does not fit is as wrong as one that is out of range.
func seconds(n int64) time.Duration { return time.Duration(max(-1, min(n, 1<<30))) * time.Second }

func (h *handler) setEndpoint(r *door.Request) error {
	var in api.SetCertificateEndpoint
	if err := r.Decode(&in); err != nil {
		return err
	}
	care := endpoint.Care{Assignee: in.Assignee, Team: in.Team, Within: seconds(in.WithinSeconds), Escalate: seconds(in.EscalateSeconds)}
	for _, n := range in.RemindSeconds {
		care.Remind = append(care.Remind, seconds(n))
	}
	e, err := h.Endpoints.Set(r.HTTP.Context(), &r.Call, endpoint.Spec{Name: r.Params.Get("name"), Certificate: in.Certificate, Address: in.Address, ServerName: in.ServerName,
		Protocol: endpoint.Protocol(in.Protocol), Every: seconds(in.EverySeconds), Timeout: seconds(in.TimeoutSeconds), Grace: seconds(in.GraceSeconds), CA: in.CA, Care: care})
	return endpointAnswer(r, e, err)
}

func (h *handler) removeEndpoint(r *door.Request) error {
	return done(r, h.Endpoints.Remove(r.HTTP.Context(), &r.Call, r.Params.Get("name")))
}

func (h *handler) acknowledgeEndpoint(r *door.Request) error {
	e, err := h.Endpoints.Acknowledge(r.HTTP.Context(), &r.Call, r.Params.Get("name"))
	return endpointAnswer(r, e, err)
}

func (h *handler) checkEndpoint(r *door.Request) error {
	e, err := h.Endpoints.Check(r.HTTP.Context(), &r.Call, r.Params.Get("name"))
	return endpointAnswer(r, e, err)
}
