package rotation

import (
	"time"

	"github.com/keywright/keywright/internal/rotator"
)

// loanCall is what a lease does at its target.
type loanCall string

const (
	callProvision loanCall = "provision"
	callRemove    loanCall = "remove"
)

// loanSeen is what came of a call; its zero value says that the lease was picked up, and nothing is known.
type loanSeen struct {
	of    loanCall
	class rotator.Class
	err   *Trouble
	// undelivered is true when nobody waits for the answer any more.
	undelivered bool
	roll        float64
	// trusted is when a person last took the clock for right that had been moved; zero for never.
	trusted time.Time
}

// irrevocableRetry is how often an account is tried on that could not be removed: whoever puts the target right need not come back to each.
const irrevocableRetry = time.Hour

// nextLoan is the state machine of leases: it returns the lease as it stands then, the call that follows once that is stored, and whether people have to hear of it.
func nextLoan(l Loan, seen loanSeen, now time.Time) (n Loan, call loanCall, alert bool) {
	l.count(seen.trusted, now)
	switch seen.of {
	case callProvision:
		return l.provisioned(seen, now), "", false
	case callRemove:
		return l.removed(seen, now)
	}
	switch {
	case !l.Open(), l.NextAt.IsZero(), l.NextAt.After(now):
		return l, "", false
	case l.State == LoanCreating:
		l.end(Interrupted, now) // whoever made it is gone, and gave the value to nobody
	case l.State == LoanActive && now.Before(l.Expires):
		l.NextAt = l.Expires
		return l, "", false
	case l.State == LoanActive:
		l.end(LeaseExpired, now)
	}
	return l, callRemove, false
}

// count makes the end of the lease fit the clock. When people took a clock for right that had been moved, nobody knows how much of the lease was over by then: what it
// was given begins anew. What lies ahead was written by a clock that has been set back since, and counts from now on. The target's own end stays where it was put.
func (l *Loan) count(trusted, now time.Time) {
	began := later(l.Issued, l.Since)
	since := earlier(later(began, trusted), now)
	if l.State != LoanActive || since.Equal(began) {
		return
	}
	l.Since, l.Expires = since, since.Add(l.Expires.Sub(began))
	if since.Before(began) {
		l.Latest = earlier(l.Latest, l.Policy.Lease.MaxTTL.after(since))
	}
	l.Latest = later(l.Latest, l.Expires)
}

// end orders the removal of the account.
func (l *Loan) end(why Reason, at time.Time) {
	l.State, l.Why, l.Tries, l.NextAt = LoanRevoking, why, 0, at
}

func (l Loan) provisioned(seen loanSeen, now time.Time) Loan {
	switch {
	case seen.err == nil && !seen.undelivered:
		l.State, l.NextAt = LoanActive, l.Expires
	case seen.err == nil:
		l.end(LeaseUndelivered, now)
	default:
		t := *seen.err
		t.State, t.At = State(l.State), now
		l.LastError = &t
		l.end(LeaseNotMade, now)
		if seen.class == rotator.Doubt {
			l.NextAt = l.Pace.Call.after(now) // it may still be made
		}
	}
	return l
}

func (l Loan) removed(seen loanSeen, now time.Time) (Loan, loanCall, bool) {
	if seen.err == nil {
		l.State, l.Ended, l.NextAt, l.LastError = LoanRevoked, now, time.Time{}, nil
		return l, "", false
	}
	t := *seen.err
	t.State, t.At = State(l.State), now
	l.LastError = &t
	l.Tries++
	hopeless := seen.class == rotator.Denied || seen.class == rotator.Misconfigured || l.Tries >= l.Pace.Tries
	if l.State != LoanIrrevocable && !hopeless {
		most := min(l.Pace.Cap.Std(), l.Pace.Base.Std()<<min(l.Tries, 30))
		l.NextAt = now.Add(time.Duration(seen.roll * float64(most)))
		return l, "", false
	}
	alert := l.State != LoanIrrevocable
	l.State = LoanIrrevocable
	l.NextAt = now.Add(irrevocableRetry/2 + time.Duration(seen.roll*float64(irrevocableRetry)))
	return l, "", alert
}
