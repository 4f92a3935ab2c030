package rotation

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

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
	// Since is from when the lease counts until Expires, when that is not Issued: its last renewal, or when people took a clock for right that had been moved.
	Since time.Time `json:"since,omitzero"`
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
