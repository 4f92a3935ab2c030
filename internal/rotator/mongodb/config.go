package mongodb

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/keywright/keywright/internal/rotator"
	"github.com/keywright/keywright/internal/rotator/endpoint"
)

// Name is the word by which policies ask for this rotator.
const Name = "mongodb"

// config is the target's part of a policy.
type config struct {
	Endpoints []string     `json:"endpoints"`
	Database  string       `json:"database"`
	TLS       endpoint.TLS `json:"tls"`
}

var members = []rotator.Member{
	{Name: "endpoints", Type: "list of host:port", Required: true, Help: "Every mongos, or every member of the replica set that clients log in to: each is probed, and one that takes writes is changed."},
	{Name: "database", Type: "string", Help: "The database in which the accounts and the administrator are defined; admin unless it is given."},
	{Name: "tls", Type: "{ca, serverName}", Help: "Trusted certificates in PEM in place of the system's, and the servers' name where it is not the host."},
}

func parse(raw json.RawMessage) (*config, error) {
	c := &config{Database: "admin"}
	if err := rotator.Decode(Name, raw, c); err != nil {
		return nil, err
	}
	var m endpoint.Mistakes
	m.Addresses("endpoints", c.Endpoints)
	if c.Database == "" || len(c.Database) > 63 || strings.ContainsAny(c.Database, "/\\. \"$\x00") {
		m.Add("database is no name of a database: leave it away for admin")
	}
	m.TLS(c.TLS, false)
	return c, m.Err(Name)
}

// Rotator changes users of MongoDB. It keeps nothing.
type Rotator struct{}

var (
	_ rotator.Rotator  = (*Rotator)(nil)
	_ rotator.Observer = (*Rotator)(nil)
)

// New returns a rotator for MongoDB.
func New() *Rotator { return &Rotator{} }

// Describe says what the rotator can do.
func (*Rotator) Describe() rotator.Description {
	return rotator.Description{
		Name: Name, Title: "MongoDB",
		Strategies: []rotator.Strategy{rotator.Single, rotator.Alternating},
		Evidence:   rotator.AccountEvidence,
		Value:      rotator.DefaultValue,
		Unverified: []rotator.System{
			{Product: "MongoDB", Version: "4.4 to 8.0", By: "a wire protocol fake with the Go driver"},
			{Product: "Amazon DocumentDB, Azure Cosmos DB for MongoDB, MongoDB Atlas", Version: "any"},
		},
		Config: slices.Clone(members),
	}
}

// Check reports every mistake of a configuration.
func (*Rotator) Check(raw json.RawMessage) error {
	_, err := parse(raw)
	return err
}
