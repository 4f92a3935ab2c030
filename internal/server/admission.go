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
	scheduler, err := admission.NewScheduler()
	if err != nil {
		return err
	}
	k.admission, err = admission.New(admission.Config{Clock: c.Clock, Procs: runtime.GOMAXPROCS(0), MostWaiting: waiting(c.Limits.MaxConnections),
		Patience: admissionPatience, Delays: func() (d admission.Delays) {
			d[admission.Processor] = scheduler.Delay()
			return d
		},
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
	k.background(k.admission.Run)
	return nil
}

var admissionPatience time.Duration // the package's default; a test makes it shorter

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
