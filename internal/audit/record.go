package audit

import (
	"net/netip"
	"time"

	"github.com/keywright/keywright/internal/vault"
)

// Outcome is how a decision ended.
type Outcome uint8

// The outcomes.
const (
	Allowed Outcome = iota + 1
	Denied
	Failed
)

// Caller is who asked.
type Caller struct {
	Principal, AppID, UPN, Kind string
}

// Record tells of one decision, never of a value.
type Record struct {
	Time                           time.Time
	ID                             string
	Tenant                         vault.TenantID
	VaultID, VaultName             string
	Door, Operation, Action, Scope string
	Caller                         Caller
	Address                        netip.Addr
	ObjectKind, ObjectName         string
	Version                        string
	Outcome                        Outcome
	Kind, Reason                   string
	CorrelationID, ClientRequestID string
	APIVersion, UserAgent, Path    string
	Duration                       time.Duration
}
