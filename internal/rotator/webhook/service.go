package webhook

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"strconv"

	"github.com/keywright/keywright/internal/rotator"
	"github.com/keywright/keywright/internal/rotator/contract"
	"github.com/keywright/keywright/internal/rotator/endpoint"
)

// Headers of an order.
const (
	headerIdempotency = "Idempotency-Key"
	headerKey         = "Keywright-Key"
	headerTimestamp   = "Keywright-Timestamp"
	headerSignature   = "Keywright-Signature"
)

// minKey is the least length of a key for signatures, in bytes: that of SHA-256's strength against guessing, halved.
const minKey = 16

// service is one web service, for one verb.
type service struct {
	rotator *Rotator
	config  *config
	admin   rotator.Credential
	tls     *tls.Config
}

func newService(r *Rotator, c *config, t *rotator.Target) (*service, error) {
	s := &service{rotator: r, config: c, admin: t.Admin}
	var err error
	if s.tls, err = c.TLS.Config(); err != nil {
		return nil, rotator.Fail(rotator.Misconfigured, err, "the policy's configuration of the target cannot be used")
	}
	if c.Auth == authHMAC {
		if len(t.Admin.Value) < minKey {
			return nil, rotator.Fail(rotator.Denied, nil, "the administrator's value signs orders and must have at least %d bytes: name a secret with a username, which the service knows the key by, and a password, the key", minKey)
		}
		return s, nil
	}
	pair, err := tls.X509KeyPair(t.Admin.Value, t.Admin.Value)
	if err != nil { // its words may quote the key
		return nil, rotator.Fail(rotator.Denied, nil, "the administrator's value is no certificate with its key in PEM, by which the service learns who asks")
	}
	s.tls.Certificates = []tls.Certificate{pair}
	return s, nil
}

// send posts an order and reads the reply.
func (s *service) send(ctx context.Context, o *contract.Order) (*contract.Reply, error) {
	tokens, err := s.deposit(o)
	defer func() {
		for _, token := range tokens {
			s.rotator.config.Values.drop(token)
		}
	}()
	if err != nil {
		return nil, err
	}
	body, err := json.Marshal(o)
	if err != nil {
		return nil, rotator.Fail(rotator.NotApplied, err, "encoding an order")
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, s.config.URL, bytes.NewReader(body))
	if err != nil {
		return nil, rotator.Fail(rotator.Misconfigured, err, "the address of the service cannot be used")
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set(headerIdempotency, o.Key())
	if s.config.Auth == authHMAC {
		s.sign(request, body)
	}
	answer, sent, err := endpoint.Exchange(request, s.tls, contract.MaxReplyBytes)
	switch {
	case err != nil && !sent:
		return nil, rotator.Fail(rotator.NotApplied, err, "the service at %s was not reached: see that it is up and its certificate is trusted", s.config.url.Host)
	case err != nil:
		return nil, rotator.Fail(rotator.Doubt, err, "waiting for the service at %s", s.config.url.Host)
	}
	return s.read(answer)
}

// deposit lets the values wait for the service, and puts their tokens into the order.
func (s *service) deposit(o *contract.Order) (tokens []string, err error) {
	for _, p := range o.Parts() {
		if p.Token = s.rotator.config.Values.put(p.Value, o.Deadline); p.Token == "" {
			return tokens, rotator.Fail(rotator.NotApplied, nil, "too many values wait to be fetched by services")
		}
		tokens = append(tokens, p.Token)
	}
	if len(tokens) > 0 {
		o.Values = s.rotator.config.URL
	}
	return tokens, nil
}

// sign proves who asks, when, and what: HMAC-SHA256 over the time, the idempotency key and the body, with line feeds between.
func (s *service) sign(request *http.Request, body []byte) {
	now := strconv.FormatInt(s.rotator.config.Clock.Now().Unix(), 10)
	request.Header.Set(headerKey, s.admin.Account)
	request.Header.Set(headerTimestamp, now)
	m := hmac.New(sha256.New, s.admin.Value)
	m.Write([]byte(now + "\n" + request.Header.Get(headerIdempotency) + "\n"))
	m.Write(body)
	request.Header.Set(headerSignature, "v1="+hex.EncodeToString(m.Sum(nil)))
}

// read turns an answer into a reply. Only 200 has one: statuses come from proxies too, which know nothing of what happened.
func (s *service) read(a *endpoint.Answer) (*contract.Reply, error) {
	at := s.config.url.Host
	switch {
	case a.Status == http.StatusOK:
		reply, err := contract.Parse(a.Body)
		if err != nil {
			return nil, rotator.Fail(rotator.Doubt, err, "the service at %s did not keep to the contract", at)
		}
		return reply, nil
	case a.Status == http.StatusUnauthorized, a.Status == http.StatusForbidden:
		return nil, rotator.Fail(rotator.Denied, nil, "the service at %s does not take orders from this server (status %d): check the key or certificate of the policy's administrator, and the clocks", at, a.Status)
	case a.Status == http.StatusTooManyRequests:
		return nil, rotator.Fail(rotator.Busy, nil, "the service at %s asks to wait", at)
	case a.Status < 500 && a.Status != http.StatusRequestTimeout: // redirects included
		return nil, rotator.Fail(rotator.Misconfigured, nil, "the service at %s does not take orders at this address (status %d): correct url", at, a.Status)
	default:
		return nil, rotator.Fail(rotator.Doubt, nil, "the service at %s answered with status %d", at, a.Status)
	}
}
