package mysql

import (
	"encoding/json"

	"github.com/keywright/keywright/internal/rotator"
)

// name is the word of policies.
const name = "mysql"

// Rotator changes passwords at MariaDB and MySQL. It has no state.
type Rotator struct{}

var (
	_ rotator.Rotator    = Rotator{}
	_ rotator.Observer   = Rotator{}
	_ rotator.Terminator = Rotator{}
)

// New returns a rotator.
func New() Rotator { return Rotator{} }

// Describe says what the rotator can do.
func (Rotator) Describe() rotator.Description {
	return rotator.Description{
		Name:       name,
		Title:      "MariaDB and MySQL",
		Strategies: []rotator.Strategy{rotator.Single, rotator.Dual, rotator.Alternating},
		// With two passwords on one account, a session does not tell which it used.
		Evidence: rotator.AccountEvidence,
		Value:    rotator.DefaultValue,
		Verified: []rotator.System{{Product: "MariaDB", Version: "10.11"}, {Product: "MySQL", Version: "9.7"}},
		Unverified: []rotator.System{
			{Product: "MariaDB", Version: "10.4 to 10.10, 11"}, {Product: "MariaDB Galera Cluster", Version: "all"},
			{Product: "MySQL", Version: "8.0.14 to 9.6"}, {Product: "MySQL Group Replication", Version: "all"},
		},
		Config: members,
	}
}

// Check reports every mistake in a configuration.
func (Rotator) Check(raw json.RawMessage) error {
	_, err := parse(raw)
	return err
}
