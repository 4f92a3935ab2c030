package acme

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/redact"
)

// webhookTimeout bounds one call.
const webhookTimeout = 30 * time.Second

// WebhookConfig is a service that writes records for us.
type WebhookConfig struct {
	// URL is https, or http to a loopback address. Required.
	URL string
	// Token is sent as a bearer token. Optional.
	Token redact.String
	// Client is optional.
	Client *http.Client
}

// Webhook writes records through a service: each change is a POST of {"action": "set" or "remove", "name": …, "value": …}, and any answer of 2xx means that it is done.
type Webhook struct{ config WebhookConfig }

var _ Provider = (*Webhook)(nil)

// NewWebhook returns a provider.
func NewWebhook(config WebhookConfig) (*Webhook, error) {
	u, err := url.Parse(config.URL)
	if err != nil || u.Host == "" || u.User != nil {
		return nil, errors.New("acme: the webhook's address cannot be read")
	}
	if ip := net.ParseIP(u.Hostname()); u.Scheme != "https" && (u.Scheme != "http" || ip == nil || !ip.IsLoopback()) {
		return nil, fmt.Errorf("acme: the webhook's address must be https: %s", u.Redacted())
	}
	if config.Client == nil {
		config.Client = &http.Client{Timeout: webhookTimeout, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	}
	return &Webhook{config}, nil
}

// Set asks for a record.
func (p *Webhook) Set(ctx context.Context, name, value string) error {
	return p.post(ctx, "set", name, value)
}

// Remove asks for its end.
func (p *Webhook) Remove(ctx context.Context, name, value string) error {
	return p.post(ctx, "remove", name, value)
}

func (p *Webhook) post(ctx context.Context, action, name, value string) error {
	body, err := json.Marshal(map[string]string{"action": action, "name": name, "value": value})
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, p.config.URL, bytes.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/json")
	if p.config.Token != "" {
		r.Header.Set("Authorization", "Bearer "+p.config.Token.Reveal())
	}
	reply, err := p.config.Client.Do(r)
	if err != nil {
		return fault.Wrap(err, fault.Unavailable, "the webhook for %s cannot be reached", name)
	}
	defer reply.Body.Close()
	switch {
	case reply.StatusCode/100 == 2:
		return nil
	case reply.StatusCode >= 500 || reply.StatusCode == http.StatusTooManyRequests:
		return fault.New(fault.Unavailable, "the webhook for %s answers %s", name, reply.Status)
	default:
		return fault.New(fault.Forbidden, "the webhook refuses to %s the record %s: %s", action, name, reply.Status)
	}
}
