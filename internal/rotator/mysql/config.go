package mysql

import (
	"crypto/tls"
	"encoding/json"
	"slices"

	"github.com/keywright/keywright/internal/rotator"
	"github.com/keywright/keywright/internal/rotator/endpoint"
)

// config is the target's configuration.
type config struct {
	Endpoints       []string     `json:"endpoints"`
	Replicas        []string     `json:"replicas"`
	TLS             endpoint.TLS `json:"tls"`
	Plaintext       bool         `json:"plaintext"`
	Plugin          string       `json:"plugin"`
	AllowPrivileged bool         `json:"allowPrivileged"`
}

var members = []rotator.Member{
	{Name: "endpoints", Type: "array of host:port", Required: true, Help: "The servers where passwords are changed: one for each group of servers that replicate from it."},
	{Name: "replicas", Type: "array of host:port", Help: "The servers that get the change by replication: they are probed and their sessions count."},
	{Name: "tls", Type: "object {ca, serverName}", Help: "How certificates are verified: ca is PEM, instead of the machine's own; serverName is the name in them, when it is not the endpoint's host."},
	{Name: "plaintext", Type: "boolean", Help: "Connects without TLS: for loopback and networks that are encrypted otherwise."},
	{Name: "plugin", Type: "string", Help: "The authentication plugin for new passwords, mysql_native_password, ed25519 or caching_sha2_password; without it a row keeps its own."},
	{Name: "allowPrivileged", Type: "boolean", Help: "Allows accounts with administrative rights, such as root."},
}

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
	wrong.Addresses("endpoints", c.Endpoints)
	if len(c.Replicas) > 0 {
		wrong.Addresses("replicas", c.Replicas)
	}
	for _, r := range c.Replicas {
		if slices.Contains(c.Endpoints, r) {
			wrong.Add("%q is an endpoint and a replica: choose one", r)
		}
	}
	wrong.TLS(c.TLS, c.Plaintext)
	if c.Plugin != "" && hashers[c.Plugin] == nil {
		wrong.Add("plugin is %q: use mysql_native_password, ed25519 or caching_sha2_password", c.Plugin)
	}
	return wrong
}

// all are the servers that are probed.
func (c *config) all() []string { return slices.Concat(c.Endpoints, c.Replicas) }

// tlsFor returns nil for a bare connection.
func (c *config) tlsFor(address string) (*tls.Config, error) {
	if c.Plaintext {
		return nil, nil
	}
	settings, err := c.TLS.Config()
	if err == nil && settings.ServerName == "" {
		settings.ServerName = endpoint.Host(address)
	}
	return settings, err
}
