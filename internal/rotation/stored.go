package rotation

import (
	"time"

	"github.com/keywright/keywright/internal/store"
)

// Stored reads the policy that a record of the store holds, and when a run last promoted a version; a zero instant for never.
func Stored(p *store.Policy) (Policy, time.Time, error) {
	d, err := readPolicy(p)
	if err != nil {
		return Policy{}, time.Time{}, err
	}
	return d.Policy, d.State.Succeeded, nil
}
