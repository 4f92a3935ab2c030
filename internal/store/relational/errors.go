package relational

import (
	"errors"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

func taken(err error) bool { return errors.Is(err, ErrTaken) }

func notFound(what string, key any) error {
	return fault.New(fault.NotFound, "there is no %s %q", what, key)
}

// stale is the conflict of a compare-and-swap that lost.
func stale(what string, key any) error {
	return fault.New(fault.Conflict, "the %s %q was changed since it was read: read it again and repeat the change", what, key).
		Because(store.StaleRevision)
}

// CheckOp refuses an operation that could not be told from another.
func CheckOp(op store.Op) error {
	if _, err := vault.ParseVersionID(string(op.ID)); err != nil {
		return fault.Wrap(err, fault.Internal, "an update has no operation id: make one with store.NewOp")
	}
	return nil
}
