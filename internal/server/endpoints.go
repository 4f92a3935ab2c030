package server

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/keywright/keywright/internal/endpoint"
	"github.com/keywright/keywright/internal/ledger"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// openEndpoints makes the service that watches which certificates are presented where.
func (k *core) openEndpoints(c *Config) (err error) {
	// Who registers an endpoint does not operate the server: it is reached under the rules of other addresses that users name.
	k.endpoints, err = endpoint.New(endpoint.Config{Guard: k.guard, Store: k.store, Clock: c.Clock, Logger: c.Logger, Dial: outside(c, c.EndpointAllow).Dial,
		Node: k.audit.node + "/" + vault.NewGUID(), Evidence: presented{k.ledger}, Mail: k.letters()})
	return err
}

// presented lets the ledger know which versions of certificates endpoints present. Nodes fetch a certificate with its key as the secret of the same name: that is
// what they hold, and a node that fetched it from the address at which it presents it is known by that.
type presented struct{ ledger *ledger.Ledger }

// Seen implements endpoint.Evidence.
func (p presented) Seen(ctx context.Context, seen endpoint.Presented) error {
	o := ledger.Observation{Object: ledger.Object{Tenant: seen.Tenant, Vault: seen.Vault, Kind: vault.Secret, Name: seen.Name}, Version: seen.Version, At: seen.At}
	for _, a := range seen.Addresses {
		o.Sessions = append(o.Sessions, ledger.Session{Address: a})
	}
	return p.ledger.Seen(ctx, o)
}

// endpointsEvery is how often endpoints are looked for that are due.
const endpointsEvery = 10 * time.Second

// watchEndpoints looks at endpoints until ctx ends: every few seconds at those that are due, and at once at new ones.
func (k *core) watchEndpoints(ctx context.Context) {
	k.whenWoken(ctx, "watch-endpoints", endpointsEvery, k.endpoints.Woken(), func(ctx context.Context) error {
		_, err := k.endpoints.Due(ctx)
		return err
	})
}

// endpointMetrics tell what is presented. What needs the store is measured by a job and not when somebody asks.
type endpointMetrics struct {
	watched, mismatches, unseen prometheus.Gauge
	// alarms is by kind and level, oldest the least time that is left to a certificate still presented.
	alarms *prometheus.GaugeVec
	oldest prometheus.Gauge
}

func newEndpointMetrics(registry *prometheus.Registry) *endpointMetrics {
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
	}
	m := &endpointMetrics{
		watched:    gauge("keywright_endpoints", "Endpoints that are watched."),
		mismatches: gauge("keywright_endpoint_mismatches", "Endpoints that present another certificate than the vault has, grace included."),
		unseen:     gauge("keywright_endpoints_unseen", "Endpoints at which no certificate was ever seen."),
		oldest: gauge("keywright_endpoint_oldest_expiry_seconds",
			"How long the certificate is still valid that ends first of all that endpoints present; negative behind its end, not a number while none was seen."),
		alarms: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "keywright_endpoint_alarms", Help: "Alarms of endpoints that stand, by kind and level."}, []string{"kind", "level"}),
	}
	registry.MustRegister(m.watched, m.mismatches, m.unseen, m.oldest, m.alarms)
	return m
}

// measureEndpoints takes the figures that only the store knows. Each kind has one for each level, so that an alarm on one is not without data.
func (k *core) measureEndpoints(ctx context.Context) error {
	type series struct {
		kind  endpoint.Kind
		level endpoint.Level
	}
	now, counts := k.clock.Now(), make(map[series]int)
	watched, mismatches, unseen := 0, 0, 0
	var ends time.Time
	q := store.EndpointQuery{Limit: measureBatch}
	for n := measureBatch; n == measureBatch; {
		err := k.store.View(ctx, func(tx store.Tx) error {
			page, err := tx.Endpoints(ctx, q)
			n = len(page)
			for _, row := range page {
				q.After = row.ID
				e, err := endpoint.Read(row)
				if err != nil {
					return err
				}
				watched++
				mismatch := false
				for _, a := range e.Alarms {
					mismatch = mismatch || a.Kind.Mismatch()
					if !a.Raised.IsZero() {
						counts[series{a.Kind, a.Level}]++
					}
				}
				if mismatch {
					mismatches++
				}
				switch o := e.Oldest(); {
				case o == nil:
					unseen++
				case ends.IsZero() || o.Leaf.NotAfter.Before(ends):
					ends = o.Leaf.NotAfter
				}
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	m := k.metrics.endpoints
	m.watched.Set(float64(watched))
	m.mismatches.Set(float64(mismatches))
	m.unseen.Set(float64(unseen))
	m.oldest.Set(secondsUntil(ends, now))
	for _, kind := range endpoint.Kinds {
		for _, level := range []endpoint.Level{endpoint.Notice, endpoint.Warning, endpoint.Critical} {
			m.alarms.WithLabelValues(string(kind), string(level)).Set(float64(counts[series{kind, level}]))
		}
	}
	return nil
}
