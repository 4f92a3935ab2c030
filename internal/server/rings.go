package server

import (
	"context"
	"sync"
	"time"

	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/event"
	"github.com/keywright/keywright/internal/ledger"
	"github.com/keywright/keywright/internal/principal"
	"github.com/keywright/keywright/internal/rollout"
	"github.com/keywright/keywright/internal/rotation"
	"github.com/keywright/keywright/internal/vault"
)

// rings observes open rollouts: the ledger tells who has the candidate and who used it, a probe how the application does.
type rings struct {
	ledger *ledger.Ledger
	groups func(ctx context.Context, t vault.TenantID, p principal.ID) ([]principal.ID, error)
	probe  event.Network
	clock  clock.Clock

	mu sync.Mutex
	// failed counts the probes in a row that failed, by candidate. A process that is new to a rollout begins at none.
	failed map[vault.VersionID]int
}

var _ rotation.Rings = (*rings)(nil)

// probeTimeout is how long an application may take to say how it does.
const probeTimeout = 10 * time.Second

// CheckProbe implements rotation.Rings.
func (r *rings) CheckProbe(probe string) error { return r.probe.CheckProbe(probe) }

// Observe implements rotation.Rings.
func (r *rings) Observe(ctx context.Context, s rotation.Subject, open rollout.Rollout, probe string) (rollout.Observations, error) {
	o := rollout.Observations{Ring: open.Opened - 1}
	if open.State != rollout.Open {
		return o, nil
	}
	if err := r.count(ctx, s, &open, &o); err != nil {
		return o, err
	}
	if probe != "" {
		ctx, cancel := context.WithTimeout(ctx, probeTimeout)
		defer cancel()
		o.ProbeFailures, o.ProbedAt = r.health(open.Candidate, r.probe.Probe(ctx, probe)), r.clock.Now()
	}
	return o, nil
}

// health counts failures in a row.
func (r *rings) health(candidate vault.VersionID, err error) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err == nil {
		delete(r.failed, candidate)
		return 0
	}
	r.failed[candidate]++
	return r.failed[candidate]
}

// count finds the consumers in the open rings: who got the candidate, and who still has the base and would get the candidate at the next read. One
// that is gone does not count.
func (r *rings) count(ctx context.Context, s rotation.Subject, open *rollout.Rollout, o *rollout.Observations) error {
	object := held(s)
	used := make(map[ledger.Consumer]bool) // whether the consumers in the rings have used the candidate
	got, err := r.ledger.Copies(ctx, object, open.Candidate)
	if err != nil {
		return err
	}
	for _, h := range got {
		if h.Principal != "" {
			used[h.Consumer()] = !h.Used.IsZero() || !h.Seen.IsZero()
		}
	}
	if open.Base != "" {
		v, err := r.ledger.Ask(ctx, object, ledger.Question{Old: open.Base, New: open.Candidate, Since: open.Began})
		if err != nil {
			return err
		}
		for _, h := range v.WaitingFor {
			c := h.Consumer()
			if _, known := used[c]; known || c.Principal == "" {
				continue
			}
			in, err := r.in(ctx, s, open, c)
			if err != nil {
				return err
			}
			if in {
				used[c] = false
			}
		}
	}
	o.Known = true
	for _, u := range used {
		o.Consumers++
		if u {
			o.Used++
		}
	}
	return nil
}

// in reports whether the consumer's ring is open. Where a consumer runs is known only while it reads: a ring of regions counts who came.
func (r *rings) in(ctx context.Context, s rotation.Subject, open *rollout.Rollout, c ledger.Consumer) (bool, error) {
	groups, err := r.groups(ctx, s.Tenant, c.Principal)
	if err != nil {
		return false, err
	}
	ring := open.RingOf(&rollout.Consumer{Principal: c.Principal, Groups: groups, Instance: c.Instance, Weak: c.Weak})
	return ring >= 0 && ring < open.Opened, nil
}
