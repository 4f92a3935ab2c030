package rollout

import (
	"fmt"
	"time"
)

// Observations are what is known about the rings that are open. Their zero value says that nothing is.
type Observations struct {
	// Ring is the index of the ring that was the last open one when they were made: what was seen before the next one was opened says
	// nothing about it.
	Ring int `json:"ring"`
	// Consumers counts the live consumers in the open rings, Used those of them that have used the candidate. Known says that they
	// were counted.
	Known     bool `json:"known"`
	Consumers int  `json:"consumers"`
	Used      int  `json:"used"`
	// Logins and Failures are the target's, with the candidate, since the ring was opened; they count only when Target is set.
	Target   bool `json:"target"`
	Logins   int  `json:"logins"`
	Failures int  `json:"failures"`
	// ProbedAt is when the latest health probe ended; ProbeFailures is how many failed in a row, 0 when it passed.
	ProbedAt      time.Time `json:"probedAt,omitzero"`
	ProbeFailures int       `json:"probeFailures"`
	// Approved is set when a person has approved that the rollout goes on from this ring.
	Approved bool `json:"approved"`
	// ReturnBy is who ordered a return, or why something else did; empty when nobody has.
	ReturnBy string `json:"returnBy,omitempty"`
}

// Decision is what Next decided.
type Decision string

// The decisions.
const (
	// OpenRing opens the next ring.
	OpenRing Decision = "open"
	// Hold leaves everything as it is.
	Hold Decision = "hold"
	// Finish makes the candidate everyone's.
	Finish Decision = "finish"
	// Return makes the base everyone's.
	Return Decision = "return"
)

// leastLogins is how many logins there must be before a rate of failures says anything (one in a thousand is the usual bound, a hundred
// logins the least sample).
const leastLogins = 100

// Next returns the rollout after at most one step, what that step was, and why. It does nothing to a rollout that has ended.
func Next(r Rollout, o Observations, now time.Time) (Rollout, Decision, string) {
	switch r.State {
	case Finished, Returned:
		return r, Hold, "the rollout has ended"
	case Waiting:
		if o.ReturnBy != "" {
			return r.end(Returned, now), Return, "it was ordered: " + o.ReturnBy
		}
		r.State, r.Began = Open, now
		return r.open(now)
	}
	if why := r.back(&o, now); why != "" {
		return r.end(Returned, now), Return, why
	}
	if why := r.holds(&o, now); why != "" {
		return r, Hold, why
	}
	if r.Opened < len(r.Rings) {
		return r.open(now)
	}
	return r.end(Finished, now), Finish, "the gate of the last ring holds"
}

func (r Rollout) open(now time.Time) (Rollout, Decision, string) {
	why := "it is the first ring"
	if r.Opened > 0 {
		why = fmt.Sprintf("the gate of the ring %q holds", r.Rings[r.Opened-1].Name)
	}
	r.Opened++
	r.Changed = now
	return r, OpenRing, why
}

func (r Rollout) end(s State, now time.Time) Rollout {
	r.State, r.Changed = s, now
	return r
}

// current says whether the observations are about the ring that was opened last.
func (r *Rollout) current(o *Observations) bool { return o.Ring == r.Opened-1 }

// back says why the rollout must return; it is empty when it must not. Failures of an earlier ring are not forgiven, but they were
// counted with that ring and have been judged with it.
func (r *Rollout) back(o *Observations, now time.Time) string {
	rules := &r.Return
	if o.ReturnBy != "" {
		return "it was ordered: " + o.ReturnBy
	}
	if r.current(o) && o.Target {
		if rules.Failures != nil && o.Failures > *rules.Failures {
			return fmt.Sprintf("%d logins with the candidate failed, more than %d", o.Failures, *rules.Failures)
		}
		if total := o.Logins + o.Failures; rules.FailurePermille > 0 && total >= leastLogins && o.Failures*1000 > rules.FailurePermille*total {
			return fmt.Sprintf("%d of %d logins with the candidate failed, more than %d in a thousand", o.Failures, total, rules.FailurePermille)
		}
	}
	if rules.Probes > 0 && o.ProbeFailures >= rules.Probes && !o.ProbedAt.Before(r.Changed) {
		return fmt.Sprintf("%d health probes failed in a row", o.ProbeFailures)
	}
	if rules.Stuck > 0 && now.Sub(r.Changed) >= rules.Stuck {
		if why := r.holds(o, now); why != "" {
			return fmt.Sprintf("the ring %q has been open for %s and its gate does not hold: %s", r.Rings[r.Opened-1].Name, now.Sub(r.Changed), why)
		}
	}
	return ""
}

// holds says what the gate of the last open ring still waits for; it is empty when the gate holds.
func (r *Rollout) holds(o *Observations, now time.Time) string {
	g := &r.Rings[r.Opened-1].Gate
	if open := now.Sub(r.Changed); open < g.MinTime {
		return fmt.Sprintf("the ring has been open for %s of %s", open, g.MinTime)
	}
	if g.Probe && (o.ProbedAt.Before(r.Changed) || o.ProbeFailures > 0) {
		return "no health probe has passed since the ring was opened, or the latest failed"
	}
	if g.observes() && !r.current(o) {
		return "nothing has been observed since the ring was opened"
	}
	if g.UsedPercent > 0 && (!o.Known || o.Used*100 < g.UsedPercent*o.Consumers) {
		return fmt.Sprintf("%d of %d consumers have used the candidate, and %d%% must", o.Used, o.Consumers, g.UsedPercent)
	}
	if (g.MaxFailures != nil || g.MinLogins > 0) && !o.Target {
		return "the target has not said who logged in"
	}
	if g.MaxFailures != nil && o.Failures > *g.MaxFailures {
		return fmt.Sprintf("%d logins with the candidate failed, and %d may", o.Failures, *g.MaxFailures)
	}
	if o.Logins < g.MinLogins {
		return fmt.Sprintf("there were %d logins with the candidate of %d", o.Logins, g.MinLogins)
	}
	if g.Approval && !o.Approved {
		return "a person has to approve"
	}
	return ""
}

// observes says whether the gate asks for something that is counted from the opening of its ring.
func (g *Gate) observes() bool {
	return g.UsedPercent > 0 || g.MaxFailures != nil || g.MinLogins > 0 || g.Approval
}
