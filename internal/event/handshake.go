package event

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/vault"
)

// validationTime is for how long a handshake can be confirmed by hand ("Webhook event delivery": the URL is valid for 5 minutes).
const validationTime = 5 * time.Minute

// maxAnswerBytes bounds what is read of an endpoint's answer.
const maxAnswerBytes = 64 << 10

// Handshake asks the endpoint whether it wants the events of the subscription, which is stored already, and stores the outcome: an endpoint
// proves that it belongs to who subscribes, so that nobody can aim our requests at others. An endpoint that refuses, or cannot be
// reached, is a fault.Conflict with reason EndpointValidationFailed. An active subscription is not asked again: it would miss events meanwhile.
func (s *Service) Handshake(ctx context.Context, id string) (*Subscription, error) {
	code, now := vault.NewGUID(), clock.Micro(s.Clock.Now())
	digest := sha256.Sum256([]byte(code))
	settled := false
	// The endpoint may open the validation URL while it still has the request.
	sub, err := s.change(ctx, id, func(sub *Subscription) error {
		if settled = sub.State == Active; settled {
			return nil
		}
		if sub.State == Deleting {
			return fault.New(fault.Conflict, "the event subscription %q is being deleted", sub.Name)
		}
		sub.State, sub.Detail, sub.Since, sub.Code, sub.ValidateBefore = Creating, "", now, digest[:], now.Add(validationTime)
		return nil
	})
	if err != nil || settled {
		return sub, err
	}
	result, err := s.ask(ctx, sub, code)
	if err != nil {
		return nil, err
	}
	sub, err = s.change(ctx, id, func(sub *Subscription) error {
		if sub.State == Creating { // it was not confirmed by hand meanwhile
			sub.State, sub.Detail, sub.Since, sub.Rate = result.state, result.why, clock.Micro(s.Clock.Now()), result.rate
			if sub.State != Awaiting {
				sub.Code = nil
			}
		}
		return nil
	})
	if err == nil && sub.State == Failed {
		err = fault.New(fault.Conflict, "the endpoint of the event subscription %q did not pass the handshake: %s", sub.Name, sub.Detail).
			Because("EndpointValidationFailed")
	}
	return sub, err
}

// handshake is what an endpoint answered.
type handshake struct {
	state State
	why   string
	rate  int
}

func failed(format string, args ...any) handshake {
	return handshake{state: Failed, why: fmt.Sprintf(format, args...)}
}

func (s *Service) ask(ctx context.Context, sub *Subscription, code string) (handshake, error) {
	secret, err := s.open(ctx, sub)
	if err != nil {
		return handshake{}, err
	}
	client, err := s.Network.client(sub.CA, 1)
	if err != nil {
		return handshake{}, err
	}
	defer client.CloseIdleConnections()
	link := s.Links.Validation(sub.ID, code)
	if sub.Schema == CloudEvents {
		return s.askCloud(ctx, client, sub, secret, link)
	}
	return s.askGrid(ctx, client, sub, secret, code, link)
}

// validationEvent is the type of the event that asks.
const validationEvent = "Microsoft.EventGrid.SubscriptionValidationEvent"

func (s *Service) askGrid(ctx context.Context, client *http.Client, sub *Subscription, secret *secrets, code, link string) (handshake, error) {
	question, err := json.Marshal(map[string]string{"validationCode": code, "validationUrl": link})
	if err != nil {
		return handshake{}, err
	}
	p := &parcel{ID: vault.NewGUID(), Topic: "/tenants/" + string(sub.Tenant), Type: validationEvent, Time: s.Clock.Now(), Data: question}
	body, contentType, err := p.body(EventGrid)
	if err != nil {
		return handshake{}, err
	}
	r, err := sub.request(ctx, http.MethodPost, secret, body)
	if err != nil {
		return handshake{}, err
	}
	r.Header.Set("Content-Type", contentType)
	p.headers(r.Header, sub)
	r.Header.Set("Aeg-Event-Type", "SubscriptionValidation")
	answer, err := client.Do(r)
	if err != nil {
		return failed("no answer (%s)", unanswered(plain(err)).name), nil
	}
	defer answer.Body.Close()
	switch answer.StatusCode {
	case http.StatusOK:
		var echo struct {
			Response string `json:"validationResponse"`
		}
		raw, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswerBytes))
		if err == nil && json.Unmarshal(raw, &echo) == nil && subtle.ConstantTimeCompare([]byte(echo.Response), []byte(code)) == 1 {
			return handshake{state: Active}, nil
		}
		if echo.Response != "" {
			return failed("it answered with another validation code"), nil
		}
		return awaiting, nil
	case http.StatusAccepted:
		return awaiting, nil
	}
	return failed("it answered with the status %d", answer.StatusCode), nil
}

var awaiting = handshake{state: Awaiting, why: "the endpoint did not answer the handshake: open the validation URL that it was sent, within 5 minutes"}

// askCloud asks as CloudEvents' web hooks do: who answers without a permission may grant it later, by the callback.
func (s *Service) askCloud(ctx context.Context, client *http.Client, sub *Subscription, secret *secrets, link string) (handshake, error) {
	r, err := sub.request(ctx, http.MethodOptions, secret, nil)
	if err != nil {
		return handshake{}, err
	}
	r.Header.Set("Webhook-Request-Origin", s.Links.Origin)
	r.Header.Set("Webhook-Request-Callback", link)
	answer, err := client.Do(r)
	if err != nil {
		return failed("no answer (%s)", unanswered(plain(err)).name), nil
	}
	defer answer.Body.Close()
	if answer.StatusCode < 200 || answer.StatusCode > 299 {
		return failed("it answered with the status %d", answer.StatusCode), nil
	}
	switch origin := answer.Header.Get("Webhook-Allowed-Origin"); {
	case origin == "":
		return awaiting, nil
	case origin != "*" && !strings.EqualFold(origin, s.Links.Origin):
		return failed("it allows requests of another origin than %s", s.Links.Origin), nil
	}
	rate := 0
	if allowed := answer.Header.Get("Webhook-Allowed-Rate"); allowed != "" && allowed != "*" {
		n, err := strconv.Atoi(allowed)
		if err != nil || n < 1 {
			return failed("the rate that it allows is neither a positive number nor *"), nil
		}
		rate = n
	}
	return handshake{state: Active, rate: rate}, nil
}

// Validate confirms a handshake by hand. Whatever is wrong is the same fault.NotFound: the caller is nobody who is known.
func (s *Service) Validate(ctx context.Context, id, code string) error {
	unknown := fault.New(fault.NotFound, "there is no such handshake, or its five minutes are over: subscribe again")
	now := s.Clock.Now()
	digest := sha256.Sum256([]byte(code))
	_, err := s.change(ctx, id, func(sub *Subscription) error {
		if sub.State != Awaiting && sub.State != Creating || !now.Before(sub.ValidateBefore) || subtle.ConstantTimeCompare(sub.Code, digest[:]) != 1 {
			return unknown
		}
		sub.State, sub.Detail, sub.Since, sub.Code = Active, "", clock.Micro(now), nil
		return nil
	})
	if fault.Is(err, fault.NotFound) {
		return unknown
	}
	return err
}

// request makes a request to the endpoint with everything that authenticates it.
func (sub *Subscription) request(ctx context.Context, method string, secret *secrets, body []byte) (*http.Request, error) {
	address, err := sub.address(secret)
	if err != nil {
		return nil, err
	}
	r, err := http.NewRequestWithContext(ctx, method, address, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("making a request to the endpoint of the %s: %w", sub, plain(err))
	}
	for name, value := range secret.Headers {
		r.Header.Set(name, value)
	}
	r.Header.Set("User-Agent", "Keywright-Events")
	return r, nil
}
