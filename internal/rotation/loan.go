package rotation

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/keywright/keywright/internal/rotator"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// Dynamic credentials: an account is made at the target for each who asks, and removed when its lease is over. (In the store a lease is a loan: what it calls
// a lease is the right of one worker to act.)
//
//	creating -> active -> revoking -> revoked
//	    \----------------/    \-> irrevocable, tried on
//
// The row with the account's name is stored before the account is made, and the name holds the row's id: whatever a crash leaves at a target is found by one or by the
// other. No value is stored. Who did not get the answer asks again, and what was made for the first answer is removed.

// LoanState is where a lease stands.
type LoanState string

// The states of leases. All but the last mean that the target may have the account.
const (
	LoanCreating    LoanState = "creating"
	LoanActive      LoanState = "active"
	LoanRevoking    LoanState = "revoking"
	LoanIrrevocable LoanState = "irrevocable"
	LoanRevoked     LoanState = "revoked"
)

// LoanStates lists them in their order.
var LoanStates = []LoanState{LoanCreating, LoanActive, LoanRevoking, LoanIrrevocable, LoanRevoked}

// The reasons for which leases end.
const (
	LeaseExpired     Reason = "LeaseExpired"
	LeaseReturned    Reason = "LeaseReturned"
	LeaseRevoked     Reason = "LeaseRevoked"
	LeaseNotMade     Reason = "LeaseNotMade"
	LeaseUndelivered Reason = "LeaseUndelivered"
)

// LeaseRules bound the leases of a dynamic credential.
type LeaseRules struct {
	// TTL is how long a lease lives when nobody says how long, MaxTTL how long it can at most, renewed or not.
	TTL    Duration `json:"ttl"`
	MaxTTL Duration `json:"maxTTL"`
	// Most is how many there may be at once; 0 means DefaultMostLeases.
	Most int `json:"most,omitempty"`
}

// Bounds of leases.
const (
	// MinLease is how short a lease may be: making and removing an account takes seconds.
	MinLease = Duration(10 * time.Second)
	// MaxLease is how long one may live: what is needed for longer is an account of its own, and rotated.
	MaxLease = Duration(90 * day)
	// DefaultMostLeases bounds the accounts of one policy, and MostLeases what a policy may ask for.
	DefaultMostLeases = 1000
	MostLeases        = 10_000
)

func (r *LeaseRules) most() int {
	if r.Most == 0 {
		return DefaultMostLeases
	}
	return r.Most
}

// Loan is the document of one lease.
type Loan struct {
	ID       store.LoanID   `json:"-"`
	Tenant   vault.TenantID `json:"-"`
	Vault    vault.ID       `json:"-"`
	Object   vault.ObjectID `json:"-"`
	NameKey  string         `json:"-"`
	State    LoanState      `json:"-"`
	NextAt   time.Time      `json:"-"`
	Revision int64          `json:"-"`

	// Account is the login at the target, Holder the principal for which it was made.
	Account string `json:"account"`
	Holder  string `json:"holder"`
	// Policy and Pace are frozen, so that an account is removed from where it was made.
	Policy Policy `json:"policy"`
	Pace   Pace   `json:"pace"`
	// Issued is when it was asked for, Expires when it ends, Latest how far that can be moved. Renewed counts how often it was.
	Issued  time.Time `json:"issued"`
	Expires time.Time `json:"expires"`
	Latest  time.Time `json:"latest"`
	Renewed int       `json:"renewed,omitempty"`
	// Why is why it ends, By who wanted that, when it was somebody, and Note what they said. Ended is when the account was gone.
	Why   Reason    `json:"why,omitempty"`
	By    string    `json:"by,omitempty"`
	Note  string    `json:"note,omitempty"`
	Ended time.Time `json:"ended,omitzero"`
	// Tries counts failures to remove the account, LastError is the last one.
	Tries     int      `json:"tries,omitempty"`
	LastError *Trouble `json:"lastError,omitempty"`
}

// loanPrefix begins the names of all accounts that are lent by the policy of an object. It is part of the object's random end: two installations that share a
// target do not take each other's accounts for theirs.
func loanPrefix(o vault.ObjectID) string {
	s := string(o)
	return "kw_" + s[max(0, len(s)-12):] + "_"
}

// loanOf finds the lease for which an account was made.
func loanOf(o vault.ObjectID, account string) (store.LoanID, bool) {
	id, ok := strings.CutPrefix(account, loanPrefix(o))
	if !ok || len(id) != 32 || strings.Trim(id, "0123456789abcdef") != "" {
		return "", false
	}
	return store.LoanID(id), true
}

// Open reports whether the target may have the account.
func (l *Loan) Open() bool { return l.State != LoanRevoked }

// Record is the lease as the store keeps it.
func (l *Loan) Record() (*store.Loan, error) {
	doc, err := json.Marshal(l)
	if err != nil {
		return nil, fmt.Errorf("encoding the lease %s: %w", l.ID, err)
	}
	return &store.Loan{ID: l.ID, Tenant: l.Tenant, Vault: l.Vault, Object: l.Object, NameKey: l.NameKey, Open: l.Open(), State: string(l.State), NextAt: l.NextAt,
		Revision: l.Revision, Doc: doc}, nil
}

// ReadLoan is the inverse of Record.
func ReadLoan(s *store.Loan) (*Loan, error) {
	l := &Loan{}
	if err := json.Unmarshal(s.Doc, l); err != nil {
		return nil, fmt.Errorf("reading the lease %s: %w", s.ID, err)
	}
	l.ID, l.Tenant, l.Vault, l.Object, l.NameKey, l.State, l.NextAt, l.Revision = s.ID, s.Tenant, s.Vault, s.Object, s.NameKey, LoanState(s.State), s.NextAt, s.Revision
	return l, nil
}

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
}

// irrevocableRetry is how often an account is tried on that could not be removed: whoever puts the target right need not come back to each.
const irrevocableRetry = time.Hour

// nextLoan is the state machine of leases: it returns the lease as it stands then, the call that follows once that is stored, and whether people have to hear of it.
func nextLoan(l Loan, seen loanSeen, now time.Time) (n Loan, call loanCall, alert bool) {
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
