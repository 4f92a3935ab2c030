package webhook

import (
	"context"
	"encoding/json"
	"net/url"
	"slices"
	"strings"

	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/rotator"
	"github.com/keywright/keywright/internal/rotator/contract"
	"github.com/keywright/keywright/internal/rotator/endpoint"
)

// Name is the word by which policies ask for this rotator.
const Name = "webhook"

// Config is what the rotator needs of the server.
type Config struct {
	// Values hands out the values, and URL is where services reach it: https.
	Values *Values
	URL    string
	// Clock is for signatures.
	Clock clock.Clock
}

// Rotator asks web services. It implements rotator.Rotator and rotator.Blind.
type Rotator struct{ config Config }

var (
	_ rotator.Rotator = (*Rotator)(nil)
	_ rotator.Blind   = (*Rotator)(nil)
)

// New returns a rotator for webhooks.
func New(c Config) (*Rotator, error) {
	u, err := url.Parse(c.URL)
	switch {
	case c.Values == nil || c.Clock == nil:
		return nil, fault.New(fault.Invalid, "the webhook rotator needs a store of values and a clock")
	case err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return nil, fault.New(fault.Invalid, "the address at which webhooks fetch values must be https://host/path, and is %q", c.URL)
	}
	return &Rotator{c}, nil
}

// How a service learns who asks.
const (
	authHMAC = "hmac"
	authMTLS = "mtls"
)

// config is the target's part of a policy.
type config struct {
	URL  string       `json:"url"`
	Auth string       `json:"auth"`
	TLS  endpoint.TLS `json:"tls"`
	// Probe is nil for true.
	Probe *bool `json:"probe"`

	url *url.URL
}

func (c *config) probes() bool { return c.Probe == nil || *c.Probe }

func parse(raw json.RawMessage) (*config, error) {
	c := &config{Auth: authHMAC}
	if err := rotator.Decode(Name, raw, c); err != nil {
		return nil, err
	}
	var m endpoint.Mistakes
	var err error
	c.url, err = url.Parse(c.URL)
	switch {
	case c.URL == "":
		m.Add("url is missing: write the https address of the service")
	case err != nil || c.url.Scheme != "https" || c.url.Hostname() == "":
		m.Add("url is not an https address: credentials are not ordered in clear")
	case c.url.User != nil || c.url.RawQuery != "" || c.url.Fragment != "":
		m.Add("url has a user, a query or a fragment: addresses are logged, so nothing secret may stand in them")
	}
	if c.Auth != authHMAC && c.Auth != authMTLS {
		m.Add("auth is %q: write %s or %s", c.Auth, authHMAC, authMTLS)
	}
	m.TLS(c.TLS, false)
	return c, m.Err(Name)
}

// address is host:port of the service.
func (c *config) address() string {
	if c.url.Port() == "" {
		return c.url.Host + ":443"
	}
	return c.url.Host
}

// Describe says what the rotator can do.
func (*Rotator) Describe() rotator.Description {
	return rotator.Description{
		Name: Name, Title: "Webhook",
		Strategies: slices.Clone(contract.Strategies),
		Evidence:   rotator.NoEvidence,
		Value:      rotator.DefaultValue,
		Verified:   []rotator.System{{Product: "the reference receiver of the contract", Version: "1"}},
		Unverified: []rotator.System{{Product: "any other service", Version: "any"}},
		Config: []rotator.Member{
			{Name: "url", Type: "https address", Required: true, Help: "Where the service takes orders."},
			{Name: "auth", Type: "hmac or mtls", Help: "How the service learns who asks: a signature with the administrator's value (the default), or the client certificate and key in it."},
			{Name: "tls", Type: "{ca, serverName}", Help: "Trusted certificates in PEM in place of the system's, and the service's name where it is not the host."},
			{Name: "probe", Type: "boolean", Help: "false for a service that cannot try credentials: then its word is the only proof, and whatever is unknown waits for a person."},
		},
	}
}

// Check reports every mistake of a configuration.
func (*Rotator) Check(raw json.RawMessage) error {
	_, err := parse(raw)
	return err
}

// Probes reports whether the service can try credentials.
func (*Rotator) Probes(raw json.RawMessage) bool {
	c, err := parse(raw)
	return err == nil && c.probes()
}

// receiver is the service of a target.
func (r *Rotator) receiver(t *rotator.Target) (*contract.Receiver, error) {
	c, err := parse(t.Config)
	if err != nil {
		return nil, rotator.Fail(rotator.Misconfigured, err, "the policy's configuration of the target cannot be used")
	}
	s, err := newService(r, c, t)
	if err != nil {
		return nil, err
	}
	return &contract.Receiver{Name: "the service at " + strings.TrimSuffix(c.url.Host, "."), Endpoint: c.address(), Blind: !c.probes(), Send: s.send}, nil
}

// Preflight asks the service whether the plan can succeed.
func (r *Rotator) Preflight(ctx context.Context, t *rotator.Target, p rotator.Plan) (*rotator.Report, error) {
	s, err := r.receiver(t)
	if err != nil {
		return nil, err
	}
	report, err := s.Preflight(ctx, t, p)
	if err != nil {
		return nil, err
	}
	return report, nil
}

// Set asks the service to make the account accept the credential.
func (r *Rotator) Set(ctx context.Context, t *rotator.Target, c rotator.Change) error {
	s, err := r.receiver(t)
	if err != nil {
		return err
	}
	return s.Set(ctx, t, c)
}

// Probe asks the service to try the credential.
func (r *Rotator) Probe(ctx context.Context, t *rotator.Target, c rotator.Credential) (rotator.Logins, error) {
	s, err := r.receiver(t)
	if err != nil {
		return nil, err
	}
	return s.Probe(ctx, t, c)
}

// Revoke asks the service to make the account refuse the credential.
func (r *Rotator) Revoke(ctx context.Context, t *rotator.Target, c rotator.Change) error {
	s, err := r.receiver(t)
	if err != nil {
		return err
	}
	return s.Revoke(ctx, t, c)
}
