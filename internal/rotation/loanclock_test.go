package rotation_test

import (
	"testing"
	"time"

	"github.com/keywright/keywright/internal/clock/clocktest"
	"github.com/keywright/keywright/internal/guard/guardtest"
	"github.com/keywright/keywright/internal/rotation"
	"github.com/keywright/keywright/internal/rotator"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// A clock that is set ends no lease early and lets none live on: leases count by the clock from before, and anew once a person takes the new one for right.
func TestMovedClockHurtsNoLease(t *testing.T) {
	for _, by := range []time.Duration{24 * time.Hour, -24 * time.Hour} {
		t.Run(by.String(), func(t *testing.T) {
			var machine clocktest.Stepped
			w := newLendingWith(t, guardtest.Options{Clock: &machine})
			restarted := func() *rotation.Engine {
				c := w.newEngine(nil).Config
				c.Rotators, c.Node, c.Machine = []rotator.Rotator{w.lender}, vault.NewGUID(), "m1"
				e, err := rotation.New(c)
				must(t, err)
				return e
			}
			w.engine = restarted()
			first, user, pass, err := w.lend(w.engine, 0)
			must(t, err)
			works := func(when string) {
				t.Helper()
				must(t, w.engine.TendLoans(w.Ctx))
				if l := w.loan(first.ID); l.State != rotation.LoanActive || !w.target.accepts(user, pass) {
					t.Fatalf("%s the lease is %s because of %s", when, l.State, l.Why)
				}
			}
			near := func(what string, got time.Time, now time.Time, want time.Duration) {
				t.Helper()
				if d := got.Sub(now) - want; d.Abs() > time.Minute {
					t.Errorf("%s is %s from now, want %s", what, got.Sub(now), want)
				}
			}
			before := time.Now() // which is what the clock would show
			machine.Step(by)
			works("after the step")
			must(t, w.engine.Tick(w.Ctx)) // which stores what is known of the clock
			w.engine = restarted()
			works("after the step and a restart")
			n, err := w.service(w.engine).Renew(w.Ctx, w.Call(w.user), first.ID, 2*time.Hour)
			must(t, err)
			near("the end of a lease that was renewed meanwhile", n.Expires, before, 2*time.Hour)
			second, account, _, err := w.lend(w.engine, 0)
			must(t, err)
			near("the end of a lease that was issued meanwhile", second.Expires, before, time.Hour)
			near("what the target was told of it", w.lender.until[account], before, 3*time.Hour)

			must(t, w.service(w.engine).Resume(w.Ctx, w.Call(w.owner()), "the time server says so too"))
			works("after somebody resumed")
			now := machine.Now()
			for id, want := range map[store.LoanID]time.Duration{first.ID: 2 * time.Hour, second.ID: time.Hour} {
				l := w.loan(id)
				near("the end of a lease by the new clock", l.Expires, now, want)
				if !l.NextAt.Equal(l.Expires) || l.Latest.Before(l.Expires) || l.Latest.Sub(now) > 3*time.Hour {
					t.Errorf("the lease is looked at %s, ends %s and can be moved to %s", l.NextAt, l.Expires, l.Latest)
				}
			}
			// From here on the clock is as good as any.
			must(t, w.at(by+61*time.Minute, nil).TendLoans(w.Ctx))
			if a, b := w.loan(first.ID), w.loan(second.ID); a.State != rotation.LoanActive || b.State != rotation.LoanRevoked || b.Why != rotation.LeaseExpired {
				t.Errorf("an hour later the leases are %s and %s", a.State, b.State)
			}
		})
	}
}
