package mssql

import (
	"encoding/json"
	"slices"

	"github.com/keywright/keywright/internal/rotator"
	"github.com/keywright/keywright/internal/rotator/endpoint"
)

// Name is the word by which policies ask for this rotator.
const Name = "mssql"

// How a password is sent.
const (
	sendHash = "hash"
	sendText = "text"
)

// maxName is the longest name of a login, in characters: sysname.
const maxName = 128

// config is the target's part of a policy.
type config struct {
	Endpoints []string     `json:"endpoints"`
	Database  string       `json:"database"`
	TLS       endpoint.TLS `json:"tls"`
	Send      string       `json:"send"`
}

var members = []rotator.Member{
	{Name: "endpoints", Type: "list of host:port", Required: true, Help: "Every instance that has the logins: the one server, or each replica of the availability group. Each is changed and probed."},
	{Name: "database", Type: "string", Help: "The database that logins open and whose rights a pair is compared by; master unless it is given."},
	{Name: "tls", Type: "{ca, serverName}", Help: "Trusted certificates in PEM in place of the system's, and the servers' name where it is not the host."},
	{Name: "send", Type: "hash or text", Help: "hash (the default) sends passwords hashed, which the server's password policy cannot look at; text sends them plain, inside TLS."},
}

func parse(raw json.RawMessage) (*config, error) {
	c := &config{Database: "master", Send: sendHash}
	if err := rotator.Decode(Name, raw, c); err != nil {
		return nil, err
	}
	var m endpoint.Mistakes
	m.Addresses("endpoints", c.Endpoints)
	if n := len([]rune(c.Database)); n == 0 || n > maxName {
		m.Add("database must have 1 to %d characters, or be left away", maxName)
	}
	if c.Send != sendHash && c.Send != sendText {
		m.Add("send is %q: write %s or %s", c.Send, sendHash, sendText)
	}
	m.TLS(c.TLS, false)
	return c, m.Err(Name)
}

// Rotator changes logins of SQL Server. It keeps nothing.
type Rotator struct{}

var (
	_ rotator.Rotator    = (*Rotator)(nil)
	_ rotator.Observer   = (*Rotator)(nil)
	_ rotator.Terminator = (*Rotator)(nil)
)

// New returns a rotator for SQL Server.
func New() *Rotator { return &Rotator{} }

// Describe says what the rotator can do.
func (*Rotator) Describe() rotator.Description {
	value := rotator.DefaultValue
	value.Classes = true // three of four classes, as the policy of Windows wants
	return rotator.Description{
		Name: Name, Title: "SQL Server",
		Strategies: []rotator.Strategy{rotator.Single, rotator.Alternating},
		Evidence:   rotator.AccountEvidence,
		Value:      value,
		Unverified: []rotator.System{
			{Product: "SQL Server", Version: "2017 to 2025", By: "a TDS protocol fake with the go-mssqldb driver"},
			{Product: "Azure SQL Managed Instance", Version: "any"},
		},
		LoginsBeforeLockout: 5, // with CHECK_POLICY the threshold is that of Windows, often 5 or 10
		Config:              slices.Clone(members),
	}
}

// Check reports every mistake of a configuration.
func (*Rotator) Check(raw json.RawMessage) error {
	_, err := parse(raw)
	return err
}
