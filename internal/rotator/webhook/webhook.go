package webhook

import (
	"encoding/json"
	"net/url"
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
type Rotator struct {
	contract.Verbs
	config Config
}

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
	r := &Rotator{config: c}
	r.Verbs = r.receiver
	return r, nil
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
	contract.Sight

	url *url.URL
}

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
	return contract.Describe(Name, "Webhook", "service",
		rotator.Member{Name: "url", Type: "https address", Required: true, Help: "Where the service takes orders."},
		rotator.Member{Name: "auth", Type: "hmac or mtls", Help: "How the service learns who asks: a signature with the administrator's value (the default), or the client certificate and key in it."},
		rotator.Member{Name: "tls", Type: "{ca, serverName}", Help: "Trusted certificates in PEM in place of the system's, and the service's name where it is not the host."})
}

// Check reports every mistake of a configuration.
func (*Rotator) Check(raw json.RawMessage) error {
	_, err := parse(raw)
	return err
}

// Probes reports whether the service can try credentials.
func (*Rotator) Probes(raw json.RawMessage) bool {
	c, err := parse(raw)
	return err == nil && !c.Blind()
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
	return &contract.Receiver{Name: "the service at " + strings.TrimSuffix(c.url.Host, "."), Endpoint: c.address(), Blind: c.Blind(), Send: s.send}, nil
}
