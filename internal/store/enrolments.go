package store

import (
	"context"
	"time"

	"github.com/keywright/keywright/internal/vault"
)

// Enrolments keeps what the clients of an issuer have there: accounts, orders and authorizations, each a document of the service's own. Journal entries
// of its changes name no change.
type Enrolments interface {
	// Enrolment finds one record.
	Enrolment(ctx context.Context, issuer vault.ObjectID, kind, id string) (*Enrolment, error)
	// EnrolmentByAlias finds the record that has an alias.
	EnrolmentByAlias(ctx context.Context, issuer vault.ObjectID, kind, alias string) (*Enrolment, error)
	// Enrolments lists in the order of ids.
	Enrolments(ctx context.Context, q EnrolmentQuery) ([]*Enrolment, error)
	// PutEnrolment inserts a record of revision 0 or replaces the revision that was read. An alias that another record of the issuer and the kind has is
	// a fault.Conflict without a reason.
	PutEnrolment(ctx context.Context, e *Enrolment) error
	// ExpireEnrolments removes what has expired at now, at most limit records, and returns how many it removed.
	ExpireEnrolments(ctx context.Context, now time.Time, limit int) (int, error)
}

// Enrolment is one record. Those of a vault go with it.
type Enrolment struct {
	Vault  vault.ID
	Issuer vault.ObjectID
	Kind   string
	ID     string
	// Alias is another name of the record, unique among those of its issuer and kind; empty for none.
	Alias string
	// Expires is when the record may be removed; zero for never.
	Expires  time.Time
	Revision int64
	Doc      []byte
}

// EnrolmentQuery selects an issuer's records of one kind. Limit 0 means no limit.
type EnrolmentQuery struct {
	Issuer vault.ObjectID
	Kind   string
	After  string
	Limit  int
}
