package store

import (
	"context"
	"time"

	"github.com/keywright/keywright/internal/vault"
)

// Loans keeps the accounts that were made at targets for a time: one for each who asked. What is searched has a field; the rest of a record is a document
// of the engine's own, which holds no value. (A Lease is something else: the right of one worker to act.)
type Loans interface {
	Loan(ctx context.Context, id LoanID) (*Loan, error)
	// Loans lists in the order of ids, or of NextAt when q.DueBefore is set.
	Loans(ctx context.Context, q LoanQuery) ([]*Loan, error)
	// CountLoans counts the open loans of an object, at most limit.
	CountLoans(ctx context.Context, o vault.ObjectID, limit int) (int, error)
	// PutLoan inserts a loan of revision 0 or replaces the revision that was read.
	PutLoan(ctx context.Context, l *Loan) error
}

// LoanChanged is a change of a loan; its Key is the id.
const LoanChanged ChangeKind = "loan"

// LoanID identifies a loan for ever: 32 hexadecimal digits, time-ordered.
type LoanID string

// Loan is one account at a target, from before it is made until the target is known not to have it any more.
type Loan struct {
	ID     LoanID
	Tenant vault.TenantID
	Vault  vault.ID
	// Object is the secret whose policy says what is lent, NameKey its name at the time.
	Object  vault.ObjectID
	NameKey string
	// Open is true until the account is gone. State is the engine's word for where the loan stands.
	Open  bool
	State string
	// NextAt is when the engine looks at the loan again; zero for never.
	NextAt   time.Time
	Revision int64
	Doc      []byte
}

// LoanQuery selects loans. Empty fields select all; Limit 0 means no limit.
type LoanQuery struct {
	Tenant vault.TenantID
	Vault  vault.ID
	Object vault.ObjectID
	State  string
	// Open selects those whose account may be there; DueBefore those of them whose NextAt is not later.
	Open      bool
	DueBefore time.Time
	After     LoanID
	Limit     int
}
