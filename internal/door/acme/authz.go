package acme

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/keywright/keywright/internal/door"
	"github.com/keywright/keywright/internal/fault"
)

// authorizationWire and challengeWire are what clients see.
type authorizationWire struct {
	Identifier Identifier      `json:"identifier"`
	Status     string          `json:"status"`
	Expires    time.Time       `json:"expires"`
	Challenges []challengeWire `json:"challenges"`
	Wildcard   bool            `json:"wildcard,omitempty"`
}

type challengeWire struct {
	Type      string     `json:"type"`
	URL       string     `json:"url"`
	Token     string     `json:"token"`
	Status    string     `json:"status"`
	Validated *time.Time `json:"validated,omitempty"`
	Error     *Problem   `json:"error,omitempty"`
}

// newAuthorization offers the challenges that can prove a name: a wildcard by DNS alone, an address not by DNS.
func newAuthorization(o Order, i Identifier, trusted bool) Authorization {
	name, wildcard := strings.CutPrefix(i.Value, "*.")
	a := Authorization{ID: randomID(), AccountID: o.AccountID, OrderID: o.ID, Identifier: Identifier{Type: i.Type, Value: name}, Wildcard: wildcard, Status: statusPending, Expires: o.Expires}
	types := []string{http01, dns01, tlsalpn01}
	switch {
	case wildcard:
		types = []string{dns01}
	case i.Type == typeIP:
		types = []string{http01, tlsalpn01}
	}
	token := randomID()
	for _, t := range types {
		a.Challenges = append(a.Challenges, Challenge{Type: t, Token: token, Status: statusPending})
	}
	if trusted {
		a.Status = statusValid
	}
	return a
}

func (s *exchange) challengeWire(a Authorization, c Challenge) challengeWire {
	wire := challengeWire{Type: c.Type, URL: s.URL + pathChallenge + a.ID + "/" + c.Type, Token: c.Token, Status: c.Status, Error: c.Problem}
	if !c.Validated.IsZero() {
		wire.Validated = &c.Validated
	}
	return wire
}

func (s *exchange) authorizationReply(a Authorization) *reply {
	wire := authorizationWire{Identifier: a.Identifier, Status: a.Status, Expires: a.Expires, Wildcard: a.Wildcard, Challenges: []challengeWire{}}
	for _, c := range a.Challenges {
		// Section 7.1.4: of an authorization that has come to an end, only the challenge that decided is shown.
		if a.Status == statusPending || c.Status == a.Status {
			wire.Challenges = append(wire.Challenges, s.challengeWire(a, c))
		}
	}
	return &reply{status: http.StatusOK, body: wire}
}

// ownAuthorization reads an authorization of the account; one that has taken too long is invalid.
func (s *exchange) ownAuthorization(r *door.Request, m *message) (Authorization, error) {
	a, err := s.Store.Authorization(r.HTTP.Context(), r.Params.Get("id"))
	if err == nil && a.AccountID != m.account.ID || fault.Is(err, fault.NotFound) {
		return Authorization{}, notFound()
	}
	if err != nil {
		return Authorization{}, err
	}
	if a.Status == statusPending && !s.Clock.Now().Before(a.Expires) {
		a.Status = statusInvalid
	}
	return a, nil
}

// authorization shows one, or lets it go (section 7.5.2). With it goes the order: it cannot be fulfilled any more.
func (s *exchange) authorization(r *door.Request, m *message) (*reply, error) {
	a, err := s.ownAuthorization(r, m)
	if err != nil {
		return nil, err
	}
	if m.asGet() {
		return s.authorizationReply(a), nil
	}
	var in struct {
		Status string `json:"status"`
	}
	if err := decode(m.payload, &in); err != nil {
		return nil, err
	}
	if in.Status != statusDeactivated {
		return nil, malformed("An authorization can be deactivated, and nothing else.")
	}
	a, err = s.Store.UpdateAuthorization(r.HTTP.Context(), a.ID, func(a *Authorization) error {
		if a.Status == statusPending || a.Status == statusValid {
			a.Status = statusDeactivated
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if err := s.settle(r.HTTP.Context(), a.OrderID); err != nil {
		return nil, err
	}
	return s.authorizationReply(a), nil
}

// challenge shows a challenge, or looks for its answer (section 7.5.1). The client waits meanwhile.
func (s *exchange) challenge(r *door.Request, m *message) (*reply, error) {
	a, err := s.ownAuthorization(r, m)
	if err != nil {
		return nil, err
	}
	kind := r.Params.Get("type")
	n := -1
	for i, c := range a.Challenges {
		if c.Type == kind {
			n = i
		}
	}
	if n < 0 {
		return nil, notFound()
	}
	if !m.asGet() && a.Status == statusPending && a.Challenges[n].Status == statusPending {
		if a, err = s.validate(r.HTTP.Context(), m.account, a, n); err != nil {
			return nil, err
		}
	}
	return &reply{status: http.StatusOK, body: s.challengeWire(a, a.Challenges[n]), links: []string{"<" + s.URL + pathAuthz + a.ID + `>;rel="up"`}}, nil
}

// validate looks for the answer to a challenge and keeps what came of it. A client that goes away before leaves the challenge as it was.
func (s *exchange) validate(ctx context.Context, account Account, a Authorization, n int) (Authorization, error) {
	c := a.Challenges[n]
	const what = "challenges of this account have failed"
	if err := s.rates.failures.left(account.ID, what, s.Clock.Now()); err != nil {
		return a, err
	}
	select {
	case s.rates.looks <- struct{}{}:
		defer func() { <-s.rates.looks }()
	default:
		return a, fault.New(fault.Throttled, "Too many challenges are being looked at: try again.").After(time.Second)
	}
	found := s.Validator.look(ctx, c.Type, a.Identifier, c.Token, c.Token+"."+account.Thumbprint)
	if ctx.Err() != nil {
		return a, fault.Wrap(ctx.Err(), fault.Unavailable, "the client went away while its challenge was validated")
	}
	if found != nil {
		_ = s.rates.failures.take(account.ID, what, s.Clock.Now()) // there was one left
	}
	now := s.Clock.Now().UTC().Truncate(time.Second)
	a, err := s.Store.UpdateAuthorization(ctx, a.ID, func(a *Authorization) error {
		if a.Status != statusPending {
			return nil // decided meanwhile
		}
		c := &a.Challenges[n]
		c.Validated, c.Status, a.Status = now, statusValid, statusValid
		if found != nil {
			c.Problem, c.Status, a.Status = found, statusInvalid, statusInvalid
		}
		return nil
	})
	if err != nil {
		return a, err
	}
	return a, s.settle(ctx, a.OrderID)
}

// settle brings an order into the state that its authorizations give it.
func (s *exchange) settle(ctx context.Context, id string) error {
	o, err := s.Store.Order(ctx, id)
	if err != nil {
		return err
	}
	status := statusReady
	for _, authz := range o.Authorizations {
		a, err := s.Store.Authorization(ctx, authz)
		if err != nil {
			return err
		}
		switch {
		case a.Status == statusPending && status == statusReady:
			status = statusPending
		case a.Status != statusPending && a.Status != statusValid:
			status = statusInvalid
		}
	}
	_, err = s.Store.UpdateOrder(ctx, id, func(o *Order) error {
		if o.Status == statusPending || o.Status == statusReady && status == statusInvalid {
			o.Status = status
		}
		return nil
	})
	return err
}
