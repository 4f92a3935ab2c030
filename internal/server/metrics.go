package server

import (
	"context"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/keywright/keywright/internal/door"
)

// metrics counts what the doors answer. Names follow the Prometheus conventions; no label holds a name that a caller
// chose.
type metrics struct {
	registry *prometheus.Registry
	requests *prometheus.HistogramVec
	// series keeps the histogram of each combination: looking it up by label values costs more than observing it.
	series sync.Map // seriesKey -> prometheus.Observer
	locked *prometheus.CounterVec
}

type seriesKey struct {
	door, operation string
	status          int
}

// requestBuckets go from what a cached read takes to what a client gives up at, in seconds.
var requestBuckets = []float64{50e-6, 100e-6, 250e-6, 500e-6, 1e-3, 2.5e-3, 5e-3, 10e-3, 25e-3, 50e-3, 100e-3, 250e-3, 1, 2.5, 10}

func newMetrics(k *core) *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "keywright_request_duration_seconds",
			Help: "How long requests took, by door, operation and status.", Buckets: requestBuckets}, []string{"door", "operation", "status"}),
		locked: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "keywright_guessing_stopped_total",
			Help: "How often guessing of credentials was slowed, by what was guessed at."}, []string{"kind"}),
	}
	m.registry.MustRegister(m.requests, m.locked, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "keywright_store_healthy",
		Help: "1 while the store takes reads and writes."}, func() float64 {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		return boolean(k.store.Health(ctx) == nil)
	}))
	return m
}

func boolean(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// observe implements the doors' Observe.
func (m *metrics) observe(doorName string, r *door.Request, status int, took time.Duration) {
	key := seriesKey{doorName, "none", status}
	if r.Route != nil {
		key.operation = r.Route.Operation
	}
	o, ok := m.series.Load(key)
	if !ok {
		o, _ = m.series.LoadOrStore(key, m.requests.WithLabelValues(key.door, key.operation, strconv.Itoa(status)))
	}
	o.(prometheus.Observer).Observe(took.Seconds())
}

func (m *metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{Registry: m.registry})
}
