package rotation

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// policyDoc is the document of a stored policy: what people set, and what the engine has to remember between runs.
type policyDoc struct {
	Policy Policy      `json:"policy"`
	State  policyState `json:"state,omitzero"`
}

// policyState survives changes of the policy.
type policyState struct {
	// Places are where the versions sit that the target may accept.
	Places map[vault.VersionID]Place `json:"places,omitempty"`
	// Set is when the policy was set first, Succeeded when a run last promoted a version. Neither a restart nor an import changes them.
	Set       time.Time `json:"set"`
	Succeeded time.Time `json:"succeeded,omitzero"`
	// Length is how long the last run took, which the next window has to hold.
	Length Duration `json:"length,omitempty"`
	// Children are the secrets that follow this one.
	Children []vault.ObjectID `json:"children,omitempty"`
	// Cause is why the next run is due.
	Cause Cause `json:"cause,omitempty"`
	// Exempt is why the default maximum age does not apply; Told is the version of which people heard that it is too old.
	Exempt *Exemption      `json:"exempt,omitempty"`
	Told   vault.VersionID `json:"told,omitempty"`
	// Incidents are those that are open.
	Incidents []incidentRef `json:"incidents,omitempty"`
}

// none reports whether people have set no policy: the document is then about the secret's age alone.
func (d *policyDoc) none() bool { return d.Policy.Strategy == "" }

// remembers reports whether there is something to be kept of a secret without a policy.
func (d *policyDoc) remembers() bool {
	return d.State.Exempt != nil || d.State.Told != "" || len(d.State.Incidents) > 0
}

func readPolicy(p *store.Policy) (*policyDoc, error) {
	d := &policyDoc{}
	if err := json.Unmarshal(p.Doc, d); err != nil {
		return nil, fmt.Errorf("reading the rotation policy of %s: %w", p.Object, err)
	}
	return d, nil
}

// due says when the next run is due, and notes why: the first of schedule, end of validity and maximum age. Zero is never. It counts from the last
// success, or from when the version was made and the policy set: that a server starts or a policy is imported makes nothing due.
func (d *policyDoc) due(o vault.ObjectID, current *vault.Version) time.Time {
	p := &d.Policy
	d.State.Cause = ""
	if p.Paused || d.none() {
		return time.Time{}
	}
	var at time.Time
	first := func(t time.Time, why Cause) {
		if !t.IsZero() && (at.IsZero() || t.Before(at)) {
			at, d.State.Cause = t, why
		}
	}
	last := later(d.State.Set, d.State.Succeeded)
	w := p.windows(d.State.Length)
	if due, ok := w.Due(last, string(o), w.need); ok {
		first(due.At, Scheduled)
	}
	if current != nil {
		if exp := current.Attributes.Expires; !exp.IsZero() {
			first(w.align(last, exp.Add(-p.BeforeExpiry.Std())), Expiring)
		}
		if p.MaxAge > 0 {
			// So early that the run is over by then.
			first(w.align(last, p.MaxAge.after(current.Attributes.Created).Add(-min(p.MaxAge.Std()/10, day))), TooOld)
		}
	}
	return clock.Micro(at)
}
