package server

import (
	"github.com/keywright/keywright/internal/rotator"
	"github.com/keywright/keywright/internal/rotator/ldap"
	"github.com/keywright/keywright/internal/rotator/mysql"
	"github.com/keywright/keywright/internal/rotator/postgres"
	"github.com/keywright/keywright/internal/rotator/rabbitmq"
	"github.com/keywright/keywright/internal/rotator/redis"
)

// rotators are the adapters to targets that this program has, each in one line.
func rotators(c *Config) ([]rotator.Rotator, error) {
	caches, err := redis.New(redis.Config{Clock: c.Clock})
	if err != nil {
		return nil, err
	}
	return []rotator.Rotator{
		postgres.New(),
		mysql.New(),
		caches,
		rabbitmq.New(),
		ldap.New(),
	}, nil
}
