package nats

import (
	"encoding/json"
	"path/filepath"

	"github.com/keywright/keywright/internal/rotator"
	"github.com/keywright/keywright/internal/rotator/endpoint"
)

// Name is the word by which policies ask for this rotator.
const Name = "nats"

// Rotator implements rotator.Rotator and Observer. Its zero value is ready, and it keeps nothing.
type Rotator struct{}

// New returns a rotator for NATS.
func New() *Rotator { return &Rotator{} }

// config is the target's part of a policy.
type config struct {
	Servers   []server     `json:"servers"`
	TLS       endpoint.TLS `json:"tls"`
	Plaintext bool         `json:"plaintext"`
}

// server is one of the cluster's, on this machine.
type server struct {
	Endpoint      string `json:"endpoint"`
	Monitoring    string `json:"monitoring"`
	MonitoringTLS bool   `json:"monitoringTLS"`
	UsersFile     string `json:"usersFile"`
	PIDFile       string `json:"pidFile"`
	ConfigFile    string `json:"configFile"`
	Program       string `json:"program"`
}

// Describe says what the rotator can do.
func (*Rotator) Describe() rotator.Description {
	return rotator.Description{
		Name: Name, Title: "NATS (users in the server's configuration)",
		Strategies:  []rotator.Strategy{rotator.Alternating},
		Evidence:    rotator.AccountEvidence,
		SelfService: true,
		Value:       rotator.DefaultValue,
		Verified:    []rotator.System{{Product: "NATS server", Version: "2.9.10"}},
		Unverified:  []rotator.System{{Product: "NATS server", Version: "2.10 to 2.15"}},
		Config: []rotator.Member{
			{Name: "servers", Type: "list of {endpoint, monitoring, monitoringTLS, usersFile, pidFile, configFile, program}", Required: true,
				Help: "The servers, each with host:port for clients and for monitoring, and absolute paths: the file of users that its configuration includes, its PID file, and, for a check before each reload, its configuration and its program."},
			{Name: "tls", Type: "{ca, serverName}", Help: "Trusted certificates in PEM in place of the system's, and the servers' name where it is not the host."},
			{Name: "plaintext", Type: "boolean", Help: "Talk without TLS, so that probed values cross the network in clear."},
		},
	}
}

// Check reports every mistake of a configuration.
func (*Rotator) Check(raw json.RawMessage) error {
	_, err := parse(raw)
	return err
}

func parse(raw json.RawMessage) (*config, error) {
	c := &config{}
	if err := rotator.Decode(Name, raw, c); err != nil {
		return nil, err
	}
	var m endpoint.Mistakes
	if len(c.Servers) == 0 {
		m.Add("servers is missing: name every server at which clients log in")
	}
	endpoints := map[string]bool{}
	for _, s := range c.Servers {
		if endpoints[s.Endpoint] {
			m.Add("servers names the endpoint %q twice", s.Endpoint)
		}
		endpoints[s.Endpoint] = true
		m.Address("servers.endpoint", s.Endpoint)
		m.Address("servers.monitoring", s.Monitoring)
		for member, path := range map[string]string{"usersFile": s.UsersFile, "pidFile": s.PIDFile} {
			if !filepath.IsAbs(path) {
				m.Add("servers.%s is %q: write an absolute path", member, path)
			}
		}
		if (s.ConfigFile == "") != (s.Program == "") || s.Program != "" && (!filepath.IsAbs(s.ConfigFile) || !filepath.IsAbs(s.Program)) {
			m.Add("servers.configFile and servers.program belong together, as absolute paths")
		}
	}
	m.TLS(c.TLS, c.Plaintext)
	return c, m.Err(Name)
}

// open reads the configuration of a verb's target.
func open(t *rotator.Target) (*config, error) {
	c, err := parse(t.Config)
	if err != nil {
		return nil, rotator.Fail(rotator.Misconfigured, err, "the policy's configuration of the target cannot be used")
	}
	return c, nil
}
