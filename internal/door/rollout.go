package door

import "github.com/keywright/keywright/internal/vault"

// RolloutHeader tells a reader which side of an open rollout it is on: RolloutCandidate or RolloutBase.
const (
	RolloutHeader    = "X-Keywright-Rollout"
	RolloutCandidate = "candidate"
	RolloutBase      = "base"
)

// Rollout tells the caller that the version was chosen by a rollout, if it was.
func (r *Request) Rollout(o *vault.Object, id vault.VersionID) {
	if o.Rollout == nil {
		return
	}
	side := RolloutBase
	if id == o.LabelOf(vault.Pending) {
		side = RolloutCandidate
	}
	r.Header().Set(RolloutHeader, side)
}
