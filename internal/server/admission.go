package server

import (
	"runtime"
	"time"

	"github.com/keywright/keywright/internal/admission"
	"github.com/keywright/keywright/internal/audit"
	"github.com/keywright/keywright/internal/door"
	"github.com/keywright/keywright/internal/fault"
)

// openAdmission makes what decides how many requests run at once.
func (k *core) openAdmission(c *Config) error {
	measure, err := k.delays()
	if err != nil {
		return err
	}
	k.admission, err = admission.New(admission.Config{Clock: c.Clock, Procs: runtime.GOMAXPROCS(0), MostWaiting: waiting(c.Limits.MaxConnections),
		Patience: admissionPatience, Delays: measure,
		OnShedding: func(now bool) {
			if now {
				c.Logger.Warn("the server has more to do than it can and refuses requests: see the metrics keywright_shed_requests_total and keywright_work_delay_seconds")
			} else {
				c.Logger.Info("the server refuses no requests any more")
			}
		}})
	if err != nil {
		return err
	}
	if !admissionStands {
		k.background(k.admission.Run)
	}
	return nil
}

// Tests make the patience shorter than the package's default, and let limits stay what they are.
var (
	admissionPatience time.Duration
	admissionStands   bool
)

// delays measures how long work waits for the processors and for the store.
func (k *core) delays() (func() admission.Delays, error) {
	scheduler, err := admission.NewScheduler()
	if err != nil {
		return nil, err
	}
	before := k.storeWaits()
	return func() (d admission.Delays) {
		now := k.storeWaits()
		d[admission.Processor] = scheduler.Delay()
		d[admission.Readers], d[admission.Writer] = now.Reads.Since(before.Reads), now.Writes.Since(before.Writes)
		before = now
		return d
	}, nil
}

// waiting is how many requests of one class may wait: each holds a connection, and half of those are left to others.
func waiting(connections int) int { return max(1, connections/2) }

// enter lets a request of any door in. One that is refused is counted like those without a credential: a record for each would cost more than it
// tells.
func (k *core) enter(r *door.Request) (*admission.Pass, error) {
	tenant := r.Tenant
	if c := r.Call.Caller; c != nil {
		tenant = c.Tenant
	}
	p, err := k.admission.Enter(r.HTTP.Context(), r.Route.Class, string(tenant))
	if err != nil {
		k.countShed(r, err)
	}
	return p, err
}

func (k *core) countShed(r *door.Request, err error) {
	e := fault.As(err)
	if e == nil {
		return // the client hung up
	}
	refusal := audit.Refusal{Door: r.Call.Door, Address: r.Call.Address, Reason: string(e.Reason)}
	if v := r.Call.Vault; v != nil {
		refusal.Host = v.Vault.Name
	}
	k.audit.Unauthenticated(refusal)
}
