package redis

import (
	"crypto/tls"
	"encoding/json"
	"regexp"

	"github.com/keywright/keywright/internal/rotator"
	"github.com/keywright/keywright/internal/rotator/endpoint"
)

// config is the target's configuration.
type config struct {
	System       string       `json:"system"`
	Endpoints    []string     `json:"endpoints"`
	TLS          endpoint.TLS `json:"tls"`
	Plaintext    bool         `json:"plaintext"`
	Ephemeral    bool         `json:"ephemeral"`
	AllowDefault bool         `json:"allowDefault"`
}

var members = []rotator.Member{
	{Name: "system", Type: "string", Required: true, Help: "A name for this deployment, the same in every policy that reaches it, by whatever addresses: letters, digits, dots and dashes."},
	{Name: "endpoints", Type: "array of host:port", Required: true, Help: "All nodes, replicas and sentinels on which the user exists: lists do not replicate."},
	{Name: "tls", Type: "object {ca, serverName}", Help: "How certificates are verified: ca is PEM, instead of the machine's own; serverName is the name in them, when it is not the endpoint's host."},
	{Name: "plaintext", Type: "boolean", Help: "Connects without TLS: for loopback and networks that are encrypted otherwise."},
	{Name: "ephemeral", Type: "boolean", Help: "Accepts servers that keep users nowhere: after a restart somebody else has to set the current password."},
	{Name: "allowDefault", Type: "boolean", Help: "Allows the user default, as whom everybody begins."},
}

var systemName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9.-]{0,62}$`)

func parse(raw json.RawMessage) (*config, error) {
	var c config
	if err := rotator.Decode(name, raw, &c); err != nil {
		return nil, err
	}
	if err := c.mistakes().Err(name); err != nil {
		return nil, err
	}
	return &c, nil
}

func (c *config) mistakes() (wrong endpoint.Mistakes) {
	if !systemName.MatchString(c.System) {
		wrong.Add("system is %q: name the deployment with at most 63 letters, digits, dots and dashes", c.System)
	}
	wrong.Addresses("endpoints", c.Endpoints)
	wrong.TLS(c.TLS, c.Plaintext)
	return wrong
}

// secure returns nil for bare connections.
func (c *config) secure() (*tls.Config, error) {
	if c.Plaintext {
		return nil, nil
	}
	return c.TLS.Config()
}

// identity names an account of the deployment.
func (c *config) identity(account string) string { return name + ":" + c.System + "/" + account }
