package api

import "time"

// LeaseRules bound the leases of a dynamic credential: how long one lives when nobody says, how long at most, and how many there may be at once.
type LeaseRules struct {
	TTL    string `json:"ttl"`
	MaxTTL string `json:"maxTTL"`
	Most   int    `json:"most,omitempty"`
}

// The states of leases. In all but the last the target may have the account.
const (
	LeaseCreating    = "creating"
	LeaseActive      = "active"
	LeaseRevoking    = "revoking"
	LeaseIrrevocable = "irrevocable"
	LeaseRevoked     = "revoked"
)

// Lease is an account at a target that was made for one caller, and is removed when the lease is over.
type Lease struct {
	ID    string `json:"id"`
	Vault string `json:"vault"`
	// Name is the secret's by whose policy it was leased.
	Name string `json:"name"`
	// Value is the secret's value with the login in it. It is told once, to who leases.
	Value *Text `json:"value,omitempty"`
	// Account is the login, Holder the principal that leased it.
	Account    string `json:"account"`
	Holder     string `json:"holder"`
	HolderName string `json:"holderName,omitempty"`
	State      string `json:"state"`
	// Issued is when it began, Expires when it ends, Latest how far that can be moved. Renewed counts how often it was.
	Issued  time.Time `json:"issued"`
	Expires time.Time `json:"expires"`
	Latest  time.Time `json:"latest"`
	Renewed int       `json:"renewed,omitempty"`
	// Reason is why it ends, By who wanted that and Note what they said. Ended is when the account was gone.
	Reason string     `json:"reason,omitempty"`
	By     string     `json:"by,omitempty"`
	ByName string     `json:"byName,omitempty"`
	Note   string     `json:"note,omitempty"`
	Ended  *time.Time `json:"ended,omitempty"`
	// Tries counts failures to remove the account, LastError is the last one, and Next when it is tried again.
	Tries     int              `json:"tries,omitempty"`
	LastError *RotationFailure `json:"lastError,omitempty"`
	Next      *time.Time       `json:"next,omitempty"`
}

// IssueLease asks for a lease, or for more time. TTLSeconds is from now; 0 means what the policy says.
type IssueLease struct {
	TTLSeconds int64 `json:"ttlSeconds,omitempty"`
}

// EndLease has the account of a lease removed. Note is why, and is recorded.
type EndLease struct {
	Note string `json:"note,omitempty"`
}

// LeasePage is a page of leases, the oldest first.
type LeasePage struct {
	Items []Lease `json:"items"`
	Next  string  `json:"next,omitempty"`
}
