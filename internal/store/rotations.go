package store

import (
	"context"
	"time"

	"github.com/keywright/keywright/internal/vault"
)

// Rotations keeps rotation policies, runs and tasks. What is searched has a field; the rest of each record is a document of the engine's own,
// which holds no value.
type Rotations interface {
	// Policy finds the rotation policy of an object.
	Policy(ctx context.Context, o vault.ObjectID) (*Policy, error)
	// Policies lists in the order of object ids, or of DueAt when q.DueBefore is set.
	Policies(ctx context.Context, q PolicyQuery) ([]*Policy, error)
	// PutPolicy inserts a policy of revision 0 or replaces the revision that was read.
	PutPolicy(ctx context.Context, p *Policy) error
	DeletePolicy(ctx context.Context, o vault.ObjectID) error

	Run(ctx context.Context, id RunID) (*Run, error)
	// OpenRun finds the object's open run of the kind.
	OpenRun(ctx context.Context, o vault.ObjectID, k RunKind) (*Run, error)
	// Runs lists newest first, or for the queue (q.DueBefore) by descending rank, then by NextAt.
	Runs(ctx context.Context, q RunQuery) ([]*Run, error)
	// PutRun inserts a run of revision 0 or replaces the revision that was read. A second open run of one object and kind is a
	// fault.Conflict with reason RunOpen.
	PutRun(ctx context.Context, r *Run) error

	Task(ctx context.Context, id string) (*Task, error)
	// Tasks lists in the order of ids.
	Tasks(ctx context.Context, q TaskQuery) ([]*Task, error)
	PutTask(ctx context.Context, t *Task) error
}

// RunOpen is the reason of the conflict when an object has an open run of the kind already.
const RunOpen = "RunOpen"

// Policy says when and how an object's credential changes.
type Policy struct {
	Object vault.ObjectID
	Tenant vault.TenantID
	Vault  vault.ID
	Kind   vault.Kind
	// NameKey is the object's.
	NameKey string
	// DueAt is when the next run is due; zero while nothing is scheduled.
	DueAt    time.Time
	Revision int64
	Doc      []byte
}

// PolicyQuery selects policies. Empty fields select all; Limit 0 means no limit.
type PolicyQuery struct {
	Tenant vault.TenantID
	Vault  vault.ID
	// Kind is the kind of the objects.
	Kind      vault.Kind
	DueBefore time.Time
	After     vault.ObjectID
	Limit     int
}

// RunID identifies a run for ever: 32 hexadecimal digits, time-ordered.
type RunID string

// RunKind tells the durable jobs apart: the change of a credential, the end of what it replaced, and the change of an authority.
type RunKind string

// The kinds of runs.
const (
	RotationRun   RunKind = "rotation"
	RevocationRun RunKind = "revocation"
	// AuthorityRun changes a certificate authority; its object is the secret with the trust bundle.
	AuthorityRun RunKind = "authority"
)

// Run is one rotation, or one revocation, under way or over.
type Run struct {
	ID     RunID
	Kind   RunKind
	Tenant vault.TenantID
	Vault  vault.ID
	Object vault.ObjectID
	// NameKey is the object's at the beginning of the run.
	NameKey string
	// Open is true until the run has ended. A stuck run is open and has no NextAt.
	Open bool
	// State is the engine's word for where the run stands.
	State string
	// Rank puts urgent runs first in the queue; 0 is ordinary.
	Rank int
	// NextAt is when the engine looks at the run again; zero while it waits for a person.
	NextAt   time.Time
	Revision int64
	Doc      []byte
}

// RunQuery selects runs. Empty fields select all; Limit 0 means no limit.
type RunQuery struct {
	Tenant vault.TenantID
	Vault  vault.ID
	Object vault.ObjectID
	Kind   RunKind
	// State selects runs in one state, Open those that have not ended.
	State string
	Open  bool
	// DueBefore selects the open runs whose NextAt is not later.
	DueBefore time.Time
	// After is the last run of the page before, which the next page follows in its order; it cannot be used with DueBefore.
	After RunID
	Limit int
}

// Task asks a person to do one step.
type Task struct {
	// ID is 32 hexadecimal digits, time-ordered.
	ID     string
	Tenant vault.TenantID
	Vault  vault.ID
	Object vault.ObjectID
	Run    RunID
	Open   bool
	// NextAt is when somebody has to be reminded; zero for never.
	NextAt   time.Time
	Revision int64
	Doc      []byte
}

// TaskQuery selects tasks. Empty fields select all; Limit 0 means no limit.
type TaskQuery struct {
	Tenant    vault.TenantID
	Vault     vault.ID
	Run       RunID
	Open      bool
	DueBefore time.Time
	After     string
	Limit     int
}

// Leases give one holder at a time the right to act, until an instant by the store's own clock. Each new holder gets a greater fence, and
// whatever a holder writes is conditional on its fence: see CheckLease. Leases make no entry of the journal.
type Leases interface {
	// AcquireLease gives the lease to the owner for ttl when it is free, has been over for as long as the slack, or is the owner's own (then the
	// fence stays). Otherwise it is a fault.Conflict with reason LeaseHeld.
	AcquireLease(ctx context.Context, name, owner string, ttl, slack time.Duration) (*Lease, error)
	// RenewLease prolongs a lease that the owner still has under that fence, expired or not; otherwise it is a fault.Conflict with reason LeaseLost.
	RenewLease(ctx context.Context, l *Lease, ttl time.Duration) (*Lease, error)
	// CheckLease fails with reason LeaseLost unless the lease is held under that fence and has not run out.
	CheckLease(ctx context.Context, l *Lease) error
	// ReleaseLease ends a lease that is still held under that fence; otherwise it does nothing.
	ReleaseLease(ctx context.Context, l *Lease) error
}

// Reasons of conflicts over leases.
const (
	LeaseHeld = "LeaseHeld"
	LeaseLost = "LeaseLost"
)

// Lease is the right of one owner to act.
type Lease struct {
	Name, Owner string
	Fence       int64
	Until       time.Time
}
