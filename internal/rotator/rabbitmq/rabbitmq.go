package rabbitmq

import (
	"encoding/json"
	"slices"

	"github.com/keywright/keywright/internal/rotator"
	"github.com/keywright/keywright/internal/rotator/endpoint"
)

// Name is the word by which policies ask for this rotator.
const Name = "rabbitmq"

// Rotator implements rotator.Rotator, Observer, Terminator and Provisioner. Its zero value is ready, and it keeps nothing.
type Rotator struct{}

// New returns a rotator for RabbitMQ.
func New() *Rotator { return &Rotator{} }

// config is the target's part of a policy.
type config struct {
	ManagementEndpoint string       `json:"managementEndpoint"`
	AMQPEndpoints      []string     `json:"amqpEndpoints"`
	VHost              string       `json:"vhost"`
	TLS                endpoint.TLS `json:"tls"`
	Plaintext          bool         `json:"plaintext"`
	Dynamic            *dynamic     `json:"dynamic"`
}

// dynamic are the rights of accounts that live as long as a lease.
type dynamic struct {
	Tags        []string     `json:"tags"`
	Permissions []permission `json:"permissions"`
}

// permission is what a user may do on one virtual host, in the words of the management API: each pattern is a regular expression over
// the names of resources.
type permission struct {
	VHost     string `json:"vhost"`
	Configure string `json:"configure"`
	Write     string `json:"write"`
	Read      string `json:"read"`
}

// Describe says what the rotator can do.
func (*Rotator) Describe() rotator.Description {
	return rotator.Description{
		Name: Name, Title: "RabbitMQ",
		Strategies: []rotator.Strategy{rotator.Single, rotator.Alternating, rotator.Dynamic},
		Evidence:   rotator.AccountEvidence,
		Value:      rotator.DefaultValue,
		Verified:   []rotator.System{{Product: "RabbitMQ", Version: "3.10.8"}},
		Unverified: []rotator.System{{Product: "RabbitMQ", Version: "3.12 to 4.x"}, {Product: "Amazon MQ for RabbitMQ", Version: "any"}},
		Config: []rotator.Member{
			{Name: "managementEndpoint", Type: "host:port", Required: true, Help: "Where the management API is, by which passwords are changed."},
			{Name: "amqpEndpoints", Type: "list of host:port", Required: true, Help: "Every address at which clients log in; each is probed."},
			{Name: "vhost", Type: "string", Help: "A virtual host that the accounts may open, for the probe; / unless it is given."},
			{Name: "tls", Type: "{ca, serverName}", Help: "Trusted certificates in PEM in place of the system's, and the servers' name where it is not the host."},
			{Name: "plaintext", Type: "boolean", Help: "Talk without TLS, so that the administrator's password and probed values cross the network in clear."},
			{Name: "dynamic", Type: "{tags, permissions: [{vhost, configure, write, read}]}", Help: "The rights of accounts that live as long as a lease."},
		},
	}
}

// Check reports every mistake of a configuration.
func (*Rotator) Check(raw json.RawMessage) error {
	_, err := parse(raw)
	return err
}

func parse(raw json.RawMessage) (*config, error) {
	c := &config{VHost: "/"}
	if err := rotator.Decode(Name, raw, c); err != nil {
		return nil, err
	}
	var m endpoint.Mistakes
	if c.ManagementEndpoint == "" {
		m.Add("managementEndpoint is missing: write the host:port of the management API")
	} else {
		m.Address("managementEndpoint", c.ManagementEndpoint)
	}
	m.Addresses("amqpEndpoints", c.AMQPEndpoints)
	if c.VHost == "" {
		m.Add("vhost is empty: leave it away for /")
	}
	m.TLS(c.TLS, c.Plaintext)
	if c.Dynamic != nil {
		c.Dynamic.check(&m)
	}
	return c, m.Err(Name)
}

func (d *dynamic) check(m *endpoint.Mistakes) {
	if slices.Contains(d.Tags, "administrator") {
		m.Add("dynamic.tags has administrator: an account for a lease must not be able to make others")
	}
	if len(d.Permissions) == 0 {
		m.Add("dynamic.permissions is missing: an account without any cannot log in to a virtual host")
	}
	for i, p := range d.Permissions {
		if p.VHost == "" {
			m.Add("dynamic.permissions[%d] has no vhost", i)
		}
	}
}
