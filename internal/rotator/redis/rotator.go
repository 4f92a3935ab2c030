package redis

import (
	"encoding/json"
	"errors"

	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/rotator"
)

// name is the word of policies.
const name = "redis"

// Config has no useful zero value.
type Config struct {
	// Clock tells since when a session is there: Redis says how old it is.
	Clock clock.Clock
}

// Rotator changes passwords of Redis users. It keeps nothing between calls.
type Rotator struct{ clock clock.Clock }

var (
	_ rotator.Rotator    = (*Rotator)(nil)
	_ rotator.Observer   = (*Rotator)(nil)
	_ rotator.Terminator = (*Rotator)(nil)
)

// New returns a rotator.
func New(c Config) (*Rotator, error) {
	if c.Clock == nil {
		return nil, errors.New("the Redis rotator needs a clock")
	}
	return &Rotator{clock: c.Clock}, nil
}

// Describe says what the rotator can do.
func (*Rotator) Describe() rotator.Description {
	return rotator.Description{
		Name:       name,
		Title:      "Redis",
		Strategies: []rotator.Strategy{rotator.Single, rotator.Dual, rotator.Alternating},
		// With two passwords on one user, a session does not tell which it used.
		Evidence: rotator.AccountEvidence,
		Value:    rotator.DefaultValue,
		Verified: []rotator.System{{Product: "Redis", Version: "7.0"}, {Product: "Redis Sentinel", Version: "7.0"}},
		Unverified: []rotator.System{
			{Product: "Redis", Version: "6.0 to 6.2, 7.2 and later"}, {Product: "Redis Cluster", Version: "all"}, {Product: "Valkey", Version: "all"},
		},
		Config: members,
	}
}

// Check reports every mistake in a configuration.
func (*Rotator) Check(raw json.RawMessage) error {
	_, err := parse(raw)
	return err
}
