package server

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"
)

// renewalMetrics tell which renewals of certificates do not come through. The store is asked by a job and not when somebody measures.
type renewalMetrics struct{ stalled, failing prometheus.Gauge }

func newRenewalMetrics(registry *prometheus.Registry) *renewalMetrics {
	m := &renewalMetrics{
		stalled: prometheus.NewGauge(prometheus.GaugeOpts{Name: "keywright_certificate_renewals_stalled", Help: "Renewals of certificates that are due and cannot begin."}),
		failing: prometheus.NewGauge(prometheus.GaugeOpts{Name: "keywright_certificate_renewals_failing", Help: "Renewals of certificates whose issuer answers with errors, and is asked again."}),
	}
	registry.MustRegister(m.stalled, m.failing)
	return m
}

// measureRenewals takes the figures that only the store knows.
func (k *core) measureRenewals(ctx context.Context) error {
	t, err := k.certificates.Troubled(ctx)
	if err != nil {
		return err
	}
	k.metrics.renewals.stalled.Set(float64(t.Stalled))
	k.metrics.renewals.failing.Set(float64(t.Failing))
	return nil
}
