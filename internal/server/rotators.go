package server

import (
	"net/http"
	"strings"

	"github.com/keywright/keywright/internal/rotator"
	"github.com/keywright/keywright/internal/rotator/dualkey"
	"github.com/keywright/keywright/internal/rotator/exec"
	"github.com/keywright/keywright/internal/rotator/ldap"
	"github.com/keywright/keywright/internal/rotator/manual"
	"github.com/keywright/keywright/internal/rotator/mongodb"
	"github.com/keywright/keywright/internal/rotator/mssql"
	"github.com/keywright/keywright/internal/rotator/mysql"
	"github.com/keywright/keywright/internal/rotator/nats"
	"github.com/keywright/keywright/internal/rotator/postgres"
	"github.com/keywright/keywright/internal/rotator/rabbitmq"
	"github.com/keywright/keywright/internal/rotator/redis"
	"github.com/keywright/keywright/internal/rotator/webhook"
)

// valuesPath is where services that a webhook rotator gave an order fetch its values, each once and with its own token: no door asks for another
// credential there.
const valuesPath = "/rotation/values"

// rotators are the adapters to targets that this program has, each in one line. base is where webhooks reach this server.
func (k *core) rotators(c *Config, base string) ([]rotator.Rotator, error) {
	k.values = webhook.NewValues(c.Clock)
	hooks, err := webhook.New(webhook.Config{Values: k.values, URL: base + valuesPath, Clock: c.Clock})
	if err != nil {
		return nil, err
	}
	programs, err := exec.New(exec.Config{Programs: c.Rotation.Programs, Log: c.Logger})
	if err != nil {
		return nil, err
	}
	caches, err := redis.New(redis.Config{Clock: c.Clock})
	if err != nil {
		return nil, err
	}
	list := []rotator.Rotator{
		postgres.New(),
		mysql.New(),
		mssql.New(),
		caches,
		rabbitmq.New(),
		ldap.New(),
		mongodb.New(),
		dualkey.New(),
		manual.New(),
		hooks,
		programs,
	}
	if c.Rotation.Files {
		list = append(list, nats.New())
	}
	return list, nil
}

// withValues puts the values of webhooks before the doors, at every host but the vaults'.
func (k *core) withValues(n *names, doors http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == valuesPath && !strings.HasSuffix(hostOnly(r.Host), "."+n.suffix) {
			k.values.ServeHTTP(w, r)
			return
		}
		doors.ServeHTTP(w, r)
	})
}
