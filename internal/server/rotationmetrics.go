package server

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/rotation"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// rotationMetrics tell how rotations go. What needs the store is measured by a job and not when somebody asks: whoever scrapes waits for nothing.
type rotationMetrics struct {
	lasted *prometheus.HistogramVec
	ended  *prometheus.CounterVec
	open   *prometheus.GaugeVec
	leases *prometheus.GaugeVec
	// all and untouched count the rotations that ended since the start.
	all, untouched atomic.Int64

	stuck, policies, overdue, overAge, oldest, lag prometheus.Gauge
}

// stateBuckets go from a local step to the wait of a revocation, in seconds.
var stateBuckets = []float64{0.01, 0.05, 0.25, 1, 5, 30, 60, 300, 900, 3600, 4 * 3600, 86400, 7 * 86400}

func newRotationMetrics(registry *prometheus.Registry) *rotationMetrics {
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
	}
	m := &rotationMetrics{
		lasted: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "keywright_rotation_state_duration_seconds",
			Help: "How long runs stayed in a state before they left it, by kind of run and state. In queued they wait for a worker.", Buckets: stateBuckets}, []string{"kind", "state"}),
		ended: counters("keywright_rotation_runs_ended_total", "Runs that ended, by kind, result, rotator and whether a person had to do something (yes or no).",
			"kind", "result", "rotator", "touched"),
		open: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "keywright_rotation_open_runs", Help: "Runs that have not ended, by kind and state."},
			[]string{"kind", "state"}),
		leases: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "keywright_rotation_open_leases", Help: "Leases whose account may be there, by state."},
			[]string{"state"}),
		stuck:    gauge("keywright_rotation_stuck_runs", "Runs that need a person: see the list of runs in the state stuck."),
		policies: gauge("keywright_rotation_policies", "Secrets that have a rotation policy."),
		overdue:  gauge("keywright_rotation_overdue_secrets", "Secrets whose rotation is due for more than an hour and not under way."),
		overAge:  gauge("keywright_rotation_over_age_secrets", "Secrets whose current version is older than their policy allows."),
		oldest:   gauge("keywright_rotation_oldest_age_ratio", "The largest age of a current version, as a share of what its policy allows; above 1 a secret is too old."),
		lag:      gauge("keywright_rotation_queue_lag_seconds", "For how long the run that waits longest could have gone on and was not taken up."),
	}
	registry.MustRegister(m.lasted, m.ended, m.open, m.leases, m.stuck, m.policies, m.overdue, m.overAge, m.oldest, m.lag,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "keywright_rotation_untouched_ratio",
			Help: "The share of rotations since the start of the process that ended well without a person; not a number before the first."}, m.untouchedRatio))
	return m
}

func (m *rotationMetrics) untouchedRatio() float64 {
	return float64(m.untouched.Load()) / float64(m.all.Load())
}

// observe implements rotation.Config.Observe.
func (m *rotationMetrics) observe(s rotation.Step) {
	kind := string(s.Kind)
	if s.From != "" {
		m.lasted.WithLabelValues(kind, string(s.From)).Observe(s.Lasted.Seconds())
	}
	if !s.To.Terminal() {
		return
	}
	touched := "no"
	if s.Touched {
		touched = "yes"
	}
	m.ended.WithLabelValues(kind, string(s.To), s.Rotator, touched).Inc()
	if s.Kind != store.RotationRun {
		return
	}
	m.all.Add(1)
	if s.To == rotation.Done && !s.Touched {
		m.untouched.Add(1)
	}
}

// overdueAfter is how late a run may begin before its secret counts as overdue: windows and jitter are in the due date already, and the queue
// is worked off in minutes.
const overdueAfter = time.Hour

// measureBatch is how many records one transaction reads, so that the job holds no snapshot for long.
const measureBatch = 500

// measureRotations takes the figures that only the store knows.
func (k *core) measureRotations(ctx context.Context) error {
	now := k.clock.Now()
	open, err := k.measureRuns(ctx, now)
	if err != nil {
		return err
	}
	if err := k.measureLeases(ctx); err != nil {
		return err
	}
	return k.measurePolicies(ctx, now, open)
}

// measureRuns counts the open runs and returns the objects that have an open rotation.
func (k *core) measureRuns(ctx context.Context, now time.Time) (map[vault.ObjectID]bool, error) {
	type series struct {
		kind  store.RunKind
		state string
	}
	counts, open, lag := make(map[series]int), make(map[vault.ObjectID]bool), time.Duration(0)
	q := store.RunQuery{Open: true, Limit: measureBatch}
	for {
		n := 0
		err := k.store.View(ctx, func(tx store.Tx) error {
			page, err := tx.Runs(ctx, q)
			n = len(page)
			for _, r := range page {
				counts[series{r.Kind, r.State}]++
				if r.Kind != store.RevocationRun {
					open[r.Object] = true
				}
				if !r.NextAt.IsZero() {
					lag = max(lag, now.Sub(r.NextAt))
				}
				q.After = r.ID
			}
			return err
		})
		if err != nil {
			return nil, err
		}
		if n < measureBatch {
			break
		}
	}
	m, stuck := k.metrics.rotations, 0
	m.open.Reset()
	for s, n := range counts {
		m.open.WithLabelValues(string(s.kind), s.state).Set(float64(n))
		if s.state == string(rotation.Stuck) {
			stuck += n
		}
	}
	m.stuck.Set(float64(stuck))
	m.lag.Set(lag.Seconds())
	return open, nil
}

// measureLeases counts the leases whose account may be there. Each state has a figure, so that an alarm on one is not without data.
func (k *core) measureLeases(ctx context.Context) error {
	counts := make(map[string]int)
	q := store.LoanQuery{Open: true, Limit: measureBatch}
	for n := measureBatch; n == measureBatch; {
		err := k.store.View(ctx, func(tx store.Tx) error {
			page, err := tx.Loans(ctx, q)
			n = len(page)
			for _, l := range page {
				counts[l.State]++
				q.After = l.ID
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	for _, s := range rotation.LoanStates {
		if s != rotation.LoanRevoked {
			k.metrics.rotations.leases.WithLabelValues(string(s)).Set(float64(counts[string(s)]))
		}
	}
	return nil
}

// measurePolicies compares every policy with what it asks for.
func (k *core) measurePolicies(ctx context.Context, now time.Time, open map[vault.ObjectID]bool) error {
	policies, overdue, overAge, oldest := 0, 0, 0, 0.0
	q := store.PolicyQuery{Kind: vault.Secret, Limit: measureBatch}
	for {
		n := 0
		err := k.store.View(ctx, func(tx store.Tx) error {
			page, err := tx.Policies(ctx, q)
			n = len(page)
			for _, p := range page {
				q.After = p.Object
				info, err := rotation.ReadPolicy(p)
				if err != nil {
					return err
				}
				if info.Policy.Strategy == "" {
					continue // what is kept of a secret without a policy
				}
				policies++
				if !p.DueAt.IsZero() && now.Sub(p.DueAt) > overdueAfter && !open[p.Object] {
					overdue++
				}
				share, err := ageShare(ctx, tx, p, now)
				if err != nil {
					return err
				}
				if oldest = max(oldest, share); share > 1 {
					overAge++
				}
			}
			return err
		})
		if err != nil {
			return err
		}
		if n < measureBatch {
			break
		}
	}
	m := k.metrics.rotations
	m.policies.Set(float64(policies))
	m.overdue.Set(float64(overdue))
	m.overAge.Set(float64(overAge))
	m.oldest.Set(oldest)
	return nil
}

// ageShare is the age of a secret's current version, as a share of what its policy allows; 0 where there is no such bound.
func ageShare(ctx context.Context, tx store.Tx, p *store.Policy, now time.Time) (float64, error) {
	info, err := rotation.ReadPolicy(p)
	if err != nil || info.Policy.MaxAge <= 0 {
		return 0, err
	}
	o, err := tx.Object(ctx, p.Vault, p.Kind, p.NameKey)
	if fault.Is(err, fault.NotFound) || err == nil && (o.Deleted != nil || o.Current == "") {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	v, err := tx.Version(ctx, o.ID, o.Current)
	if err != nil {
		return 0, err
	}
	return now.Sub(v.Attributes.Created).Seconds() / info.Policy.MaxAge.Std().Seconds(), nil
}
