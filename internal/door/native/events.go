package native

import (
	"net/http"
	"strconv"
	"time"

	"github.com/keywright/keywright/client/api"
	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/door"
	"github.com/keywright/keywright/internal/event"
	"github.com/keywright/keywright/internal/eventing"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/redact"
	"github.com/keywright/keywright/internal/vault"
)

func (h *handler) eventRoutes() []door.Route {
	const all = root + "/vaults/{vault}/event-subscriptions"
	const one = all + "/{subscription}"
	read, write := authz.EventSubscriptionRead.String(), authz.EventSubscriptionWrite.String()
	return []door.Route{
		{Method: "GET", Pattern: all, Operation: "EventSubscriptionList", Action: read, Output: api.EventSubscriptionList{}, Serve: h.listSubscriptions,
			Summary: "Lists who is told of the events of a vault."},
		{Method: "PUT", Pattern: one, Operation: "EventSubscriptionCreate", Action: write, MaxBody: maxSmallBody, Input: api.CreateEventSubscription{},
			Output: api.EventSubscription{}, Summary: "Subscribes an endpoint to the events of a vault, after asking it.", Serve: h.createSubscription},
		{Method: "GET", Pattern: one, Operation: "EventSubscriptionGet", Action: read, Output: api.EventSubscription{}, Serve: h.getSubscription,
			Summary: "Shows a subscription and how its deliveries are."},
		{Method: "DELETE", Pattern: one, Operation: "EventSubscriptionDelete", Action: authz.EventSubscriptionDelete.String(), Success: http.StatusNoContent,
			Serve: h.deleteSubscription, Summary: "Removes a subscription with everything that was still to be delivered."},
		{Method: "POST", Pattern: one + "/validate", Operation: "EventSubscriptionValidate", Action: write, Output: api.EventSubscription{}, Serve: h.validateSubscription,
			Summary: "Repeats the handshake with a subscription's endpoint."},
		{Method: "GET", Pattern: one + "/dead-letters", Operation: "DeadLetterList", Action: read, Query: pageParams, Output: api.DeadLetterList{}, Serve: h.listDeadLetters,
			Summary: "Lists the events that could not be delivered to a subscriber, oldest first."},
		{Method: "POST", Pattern: one + "/dead-letters/replay", Operation: "DeadLetterReplay", Action: write, MaxBody: maxSmallBody, Input: api.ReplayDeadLetters{},
			Output: api.ReplayedDeadLetters{}, Summary: "Delivers dead letters again.", Serve: h.replayDeadLetters},
	}
}

// ownVault finds a live vault of the caller's tenant. What the caller may do with it, the service decides.
func (h *handler) ownVault(r *door.Request) (*vault.Vault, error) {
	view, err := h.view(r)
	if err != nil {
		return nil, err
	}
	return view.Vault, nil
}

func wireSubscription(v *vault.Vault, s *eventing.Subscription) api.EventSubscription {
	return api.EventSubscription{Name: s.Name, Vault: v.Name, Endpoint: s.Endpoint, Query: s.Query, Headers: s.Headers, Schema: string(s.Schema),
		Types: s.Filter.Types, SubjectBegins: s.Filter.SubjectBegins, SubjectEnds: s.Filter.SubjectEnds, MaxAttempts: s.MaxAttempts,
		TTLMinutes: int(s.TTL / time.Minute), Concurrency: s.Concurrency, State: string(s.State), Detail: s.Detail, Created: s.Created,
		Waiting: s.Waiting, Dead: s.Dead}
}

// answerSubscription answers with a subscription, unless there is an error.
func answerSubscription(r *door.Request, v *vault.Vault, s *eventing.Subscription, err error) error {
	if err != nil {
		return err
	}
	return r.JSON(http.StatusOK, wireSubscription(v, s))
}

func (h *handler) listSubscriptions(r *door.Request) error {
	v, err := h.ownVault(r)
	if err != nil {
		return err
	}
	found, err := h.Eventing.List(r.HTTP.Context(), &r.Call, v)
	if err != nil {
		return err
	}
	out := api.EventSubscriptionList{Items: make([]api.EventSubscription, 0, len(found))}
	for _, s := range found {
		out.Items = append(out.Items, wireSubscription(v, s))
	}
	return r.JSON(http.StatusOK, out)
}

func (h *handler) createSubscription(r *door.Request) error {
	v, err := h.ownVault(r)
	if err != nil {
		return err
	}
	var in api.CreateEventSubscription
	if err := r.Decode(&in); err != nil {
		return err
	}
	spec := event.Spec{Name: r.Params.Get("subscription"), Endpoint: redact.String(in.Endpoint.Reveal()), Schema: event.Schema(in.Schema),
		Filter: event.Filter{Types: in.Types, SubjectBegins: in.SubjectBegins, SubjectEnds: in.SubjectEnds}, MaxAttempts: in.MaxAttempts,
		// Minutes that do not fit are as wrong as those that are out of range.
		TTL: time.Duration(max(-1, min(in.TTLMinutes, 1<<20))) * time.Minute, Concurrency: in.Concurrency, CA: in.CA, Headers: make(map[string]redact.String, len(in.Headers))}
	for name, value := range in.Headers {
		spec.Headers[name] = redact.String(value.Reveal())
	}
	s, err := h.Eventing.Create(r.HTTP.Context(), &r.Call, v, spec)
	return answerSubscription(r, v, s, err)
}

func (h *handler) getSubscription(r *door.Request) error {
	v, err := h.ownVault(r)
	if err != nil {
		return err
	}
	s, err := h.Eventing.Get(r.HTTP.Context(), &r.Call, v, r.Params.Get("subscription"))
	return answerSubscription(r, v, s, err)
}

func (h *handler) deleteSubscription(r *door.Request) error {
	v, err := h.ownVault(r)
	if err != nil {
		return err
	}
	return done(r, h.Eventing.Delete(r.HTTP.Context(), &r.Call, v, r.Params.Get("subscription")))
}

func (h *handler) validateSubscription(r *door.Request) error {
	v, err := h.ownVault(r)
	if err != nil {
		return err
	}
	s, err := h.Eventing.Validate(r.HTTP.Context(), &r.Call, v, r.Params.Get("subscription"))
	return answerSubscription(r, v, s, err)
}

func (h *handler) listDeadLetters(r *door.Request) error {
	v, err := h.ownVault(r)
	if err != nil {
		return err
	}
	text, limit, err := page(r)
	if err != nil {
		return err
	}
	after := int64(0)
	if text != "" {
		if after, err = strconv.ParseInt(text, 10, 64); err != nil {
			return fault.New(fault.Invalid, "the place to go on is none: take it from the answer before")
		}
	}
	found, err := h.Eventing.DeadLetters(r.HTTP.Context(), &r.Call, v, r.Params.Get("subscription"), after, limit)
	if err != nil {
		return err
	}
	out := api.DeadLetterList{Items: make([]api.DeadLetter, 0, len(found))}
	for _, l := range found {
		out.Items = append(out.Items, api.DeadLetter{Seq: l.Seq, ID: l.ID, Type: l.EventType, Subject: l.Subject, Time: l.EventTime, Reason: l.DeadLetterReason,
			Attempts: l.DeliveryAttempts, Outcome: l.LastDeliveryOutcome, Status: l.LastHTTPStatusCode, LastAttempt: optional(l.LastDeliveryAttemptTime)})
	}
	if len(found) == limit {
		out.Next = next(strconv.FormatInt(found[limit-1].Seq, 10))
	}
	return r.JSON(http.StatusOK, out)
}

func (h *handler) replayDeadLetters(r *door.Request) error {
	v, err := h.ownVault(r)
	if err != nil {
		return err
	}
	var in api.ReplayDeadLetters
	if err := r.Decode(&in); err != nil {
		return err
	}
	n, err := h.Eventing.Replay(r.HTTP.Context(), &r.Call, v, r.Params.Get("subscription"), in.Seq)
	if err != nil {
		return err
	}
	return r.JSON(http.StatusOK, api.ReplayedDeadLetters{Count: n})
}
