package server

import (
	"context"
	"net/http"
	"runtime"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/keywright/keywright/internal/admission"
	"github.com/keywright/keywright/internal/door"
	"github.com/keywright/keywright/internal/identity"
	"github.com/keywright/keywright/internal/version"
)

// metrics counts what the doors answer and tells the state of what is behind them. Names follow the Prometheus conventions;
// no label holds a name that a caller chose.
type metrics struct {
	registry *prometheus.Registry
	requests *prometheus.HistogramVec
	// series keeps the histogram of each combination: looking it up by label values costs more than observing it.
	series sync.Map // seriesKey -> prometheus.Observer

	locked, denied, throttled counter
	issued, refused           *prometheus.CounterVec
	jobs                      *prometheus.CounterVec
	jobsDone                  *prometheus.GaugeVec
	rotations                 *rotationMetrics
	endpoints                 *endpointMetrics
	renewals                  *renewalMetrics
}

// counter counts by one label.
type counter struct{ *prometheus.CounterVec }

func (c counter) count(label string) { c.WithLabelValues(label).Inc() }

type seriesKey struct {
	door, operation string
	status          int
}

// requestBuckets go from what a cached read takes to what a client gives up at, in seconds.
var requestBuckets = []float64{50e-6, 100e-6, 250e-6, 500e-6, 1e-3, 2.5e-3, 5e-3, 10e-3, 25e-3, 50e-3, 100e-3, 250e-3, 1, 2.5, 10}

func newMetrics() *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "keywright_request_duration_seconds",
			Help: "How long requests took, by door, operation and status.", Buckets: requestBuckets}, []string{"door", "operation", "status"}),
		locked: counter{counters("keywright_guessing_stopped_total", "How often guessing of credentials was slowed, by what was guessed at.", "kind")},
		denied: counter{counters("keywright_denied_requests_total", "Requests refused for lack of proof or rights, by reason.", "reason")},
		throttled: counter{counters("keywright_throttled_requests_total",
			"Requests refused because too many came, by the limit: of a principal, of a vault, or of bodies in memory.", "limit")},
		issued:  counters("keywright_tokens_issued_total", "Tokens issued, by the flow of the sign-in.", "flow"),
		refused: counters("keywright_sign_ins_refused_total", "Sign-ins refused, by flow and reason.", "flow", "reason"),
		jobs:    counters("keywright_job_runs_total", "Runs of background jobs, by result: done or failed.", "job", "result"),
		jobsDone: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "keywright_job_last_success_timestamp_seconds",
			Help: "When a background job last succeeded, as a Unix time."}, []string{"job"}),
	}
	build := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "keywright_build_info", Help: "Always 1; the labels say which build runs."},
		[]string{"version", "goversion"})
	build.WithLabelValues(version.String(), runtime.Version()).Set(1)
	m.registry.MustRegister(m.requests, m.locked, m.denied, m.throttled, m.issued, m.refused, m.jobs, m.jobsDone, build,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	m.rotations = newRotationMetrics(m.registry)
	m.endpoints = newEndpointMetrics(m.registry)
	m.renewals = newRenewalMetrics(m.registry)
	return m
}

func counters(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
}

// signIn counts what the token service decided.
func (m *metrics) signIn(e identity.SignInEvent) {
	switch {
	case e.Reason != "":
		m.refused.WithLabelValues(string(e.Flow), string(e.Reason)).Inc()
	case e.Token != "":
		m.issued.WithLabelValues(string(e.Flow)).Inc()
	}
}

// job counts a run of a background job that ended at now.
func (m *metrics) job(name string, err error, now time.Time) {
	if err != nil {
		m.jobs.WithLabelValues(name, "failed").Inc()
		return
	}
	m.jobs.WithLabelValues(name, "done").Inc()
	m.jobsDone.WithLabelValues(name).Set(float64(now.Unix()))
}

// state is one number that is read when somebody asks for it.
type state struct {
	name, help string
	read       func() float64
}

// watch adds the state of what is behind the doors.
func (m *metrics) watch(k *core) {
	m.watchMail(k)
	log, cache := k.audit.log.State, k.secrets.CacheStats
	for _, s := range []state{
		{"keywright_store_healthy", "1 while the store takes reads and writes.", func() float64 {
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			return boolean(k.store.Health(ctx) == nil)
		}},
		{"keywright_keyring_maintaining", "1 while keys and versions are moved to newer keys.", func() float64 { return boolean(k.keys.Stats().Maintaining) }},
		{"keywright_store_alarm", "1 while an operator has to see to the store although it works: the disk failed under a checkpoint, or the node does not hear of other nodes.",
			func() float64 { return boolean(k.storeAlarm() != nil) }},
		{"keywright_audit_unsynced_records", "Acknowledged audit records that power loss could still take.",
			func() float64 { s := log(); return float64(s.Records - s.Synced) }},
		{"keywright_audit_reserve_segments", "Segments that are kept for when the disk is full.",
			func() float64 { return float64(log().ReserveFree) }},
		{"keywright_audit_reserve_target_segments", "Segments that the reserve has while all is well.",
			func() float64 { return float64(log().ReserveTarget) }},
		{"keywright_audit_alarm", "1 while the audit log lives on its reserve or cannot be written.",
			func() float64 { return boolean(log().Alarm != nil) }},
		{"keywright_audit_writable", "0 while the audit log takes no records, so that nothing is served.",
			func() float64 { return boolean(!log().Closed) }},
		{"keywright_audit_sequencer_lag_commits", "By how many commits the audit log is behind the newest change.",
			func() float64 { return float64(k.journal.lag()) }},
		{"keywright_audit_unshipped_records", "Records of this node's audit log that the store does not have; 0 where the node has its store for itself.",
			func() float64 { n, _ := k.unshipped(); return n }},
		{"keywright_audit_unshipped_seconds", "Since when this node may have records that the store does not have; 0 where the node has its store for itself.",
			func() float64 { _, s := k.unshipped(); return s }},
		{"keywright_node_age_seconds", "How far what the node remembers is behind the store; from 1 on it answers nothing by it.", func() float64 { return max(0, k.age().Seconds()) }},
		{"keywright_node_has_turn", "1 while the background work that one node at a time does is this node's.", func() float64 { return boolean(k.turn.Mine()) }},
		{"keywright_open_connections", "Open connections of all listeners.", func() float64 { return float64(k.connections.open.Load()) }},
		{"keywright_change_streams", "Open streams of changes.", func() float64 { return float64(k.feed.Stats().Open) }},
		{"keywright_request_body_bytes", "Bytes that the bodies of requests under way hold.", func() float64 { return float64(k.bodies.held.Load()) }},
		{"keywright_ledger_lag_records", "Records of the audit log that the ledger has not taken in.", func() float64 { n, _ := k.ledgerLag(); return n }},
		{"keywright_ledger_lag_seconds", "For how long the ledger has not been level with the audit log.", func() float64 { _, s := k.ledgerLag(); return s }},
		{"keywright_rotation_schedules_paused", "1 while rotations of a tenant do not start by schedule because the clock was moved.",
			func() float64 { return boolean(k.engine.ClockMoved() != 0) }},
		{"keywright_keyring_locked", "1 while the keyring is locked.", func() float64 { return boolean(k.keys.Locked()) }},
		{"keywright_keyring_cached_keys", "Unwrapped keys in memory.", func() float64 { return float64(k.keys.Stats().Cached) }},
		{"keywright_secret_cache_secrets", "Secrets in the cache of sealed values.", func() float64 { return float64(cache().Objects) }},
		{"keywright_secret_cache_bytes", "Memory that the cache of sealed values takes, about.", func() float64 { return float64(cache().Bytes) }},
	} {
		m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: s.name, Help: s.help}, s.read))
	}
	for _, s := range []state{
		{"keywright_audit_records_total", "Records in the node's audit log.", func() float64 { return float64(log().Records) }},
		{"keywright_connection_waits_total", "How often a listener had as many connections as it may, so that further ones wait.",
			func() float64 { return float64(k.connections.waits.Load()) }},
		{"keywright_change_events_total", "Changes that streams told their callers.", func() float64 { return float64(k.feed.Stats().Events) }},
		{"keywright_change_resets_total", "How often a stream could not be resumed, so that its caller read everything anew.",
			func() float64 { return float64(k.feed.Stats().Resets) }},
		{"keywright_keyring_loads_total", "Keys that were read from the store and unwrapped.", func() float64 { return float64(k.keys.Stats().Loads) }},
		{"keywright_keyring_moved_total", "Keys and versions that this node moved to newer keys.", func() float64 { return float64(k.keys.Stats().Moved) }},
		{"keywright_keyring_destroyed_total", "Keys that this node destroyed because nothing needed them any more.",
			func() float64 { return float64(k.keys.Stats().Destroyed) }},
		{"keywright_secret_cache_hits_total", "Reads that found the sealed value in memory.", func() float64 { return float64(cache().Hits) }},
		{"keywright_secret_cache_misses_total", "Reads that asked the store.", func() float64 { return float64(cache().Misses) }},
		{"keywright_node_late_requests_total", "Requests refused because the node was behind the store.", func() float64 { return float64(k.late.Load()) }},
		{"keywright_events_delivered_total", "Events that subscribers took.", func() float64 { return float64(k.events.Counts().Delivered) }},
		{"keywright_event_failures_total", "Attempts to deliver an event that failed.", func() float64 { return float64(k.events.Counts().Failed) }},
		{"keywright_event_dead_letters_total", "Events that could not be delivered.", func() float64 { return float64(k.events.Counts().Dead) }},
	} {
		m.registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: s.name, Help: s.help}, s.read))
	}
	m.watchAdmission(k.admission)
}

// watchAdmission adds what the classes of requests do, and how long work waits.
func (m *metrics) watchAdmission(c *admission.Control) {
	gauge := func(name, help, label, value string, read func() float64) {
		m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help, ConstLabels: prometheus.Labels{label: value}}, read))
	}
	for _, class := range admission.Limited() {
		gauge("keywright_admission_limit", "How many requests of a class may run at once now; 0 while they are not counted.", "class", class.String(),
			func() float64 { return float64(c.Stats(class).Limit) })
		gauge("keywright_admission_running", "Requests of a class that run, as far as they are counted.", "class", class.String(),
			func() float64 { return float64(c.Stats(class).Running) })
		gauge("keywright_admission_waiting", "Requests of a class that wait for their turn.", "class", class.String(),
			func() float64 { return float64(c.Stats(class).Waiting) })
		m.registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "keywright_shed_requests_total",
			Help: "Requests of a class that waited for their turn in vain.", ConstLabels: prometheus.Labels{"class": class.String()}},
			func() float64 { return float64(c.Stats(class).Refused) }))
	}
	for _, r := range admission.Resources() {
		gauge("keywright_work_delay_seconds", "How long work waited for the processors, and for the store, when it was last measured.", "resource", r.String(),
			func() float64 { return c.Delay(r).Seconds() })
	}
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "keywright_shedding",
		Help: "1 while requests were refused within the last minute because the server has more to do than it can."},
		func() float64 { return boolean(c.Shedding()) }))
}

func boolean(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// observe implements the doors' Observe.
func (m *metrics) observe(doorName string, r *door.Request, status int, took time.Duration) {
	key := seriesKey{doorName, operationOf(r), status}
	o, ok := m.series.Load(key)
	if !ok {
		o, _ = m.series.LoadOrStore(key, m.requests.WithLabelValues(key.door, key.operation, strconv.Itoa(status)))
	}
	o.(prometheus.Observer).Observe(took.Seconds())
}

func (m *metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{Registry: m.registry})
}
