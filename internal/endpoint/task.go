package endpoint

import (
	"cmp"
	"context"
	"time"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/schedule"
	"github.com/keywright/keywright/internal/store"
)

// Task asks people to see to the alarms of an endpoint, in the words of the tasks of rotations. It is opened with the first alarm, and over when all is well.
type Task struct {
	Opened time.Time `json:"opened"`
	// Due is by when all should be well: within the time that the endpoint says, and before the oldest certificate still presented ends.
	Due time.Time `json:"due"`
	schedule.Reminders
	// Acknowledged is when somebody said that it is on the way, and By who. Until something worse is found, the alarms are not told every day then; reminders and the escalation are.
	Acknowledged time.Time `json:"acknowledged,omitzero"`
	By           string    `json:"by,omitempty"`
}

// Care says who sees to the alarms of an endpoint.
type Care struct {
	// Assignee is a person or a queue, as the people who read it write it. Team hears of it when the assignee does not act. A letter goes to those that are addresses of mail.
	Assignee string `json:"assignee,omitempty"`
	Team     string `json:"team,omitempty"`
	// Within is by when alarms should be seen to; DefaultWithin when zero.
	Within time.Duration `json:"within,omitempty"`
	// Remind is how long before that reminders go out; DefaultReminders when empty. Escalate tells the team as well, so long before it; DefaultEscalate when zero.
	Remind   []time.Duration `json:"remind,omitempty"`
	Escalate time.Duration   `json:"escalate,omitempty"`
}

// What stands for an empty Care, and its bounds. Reminders are those of a rotation's tasks; the escalation comes earlier, because at the end clients already fail.
const (
	DefaultWithin   = 30 * day
	DefaultEscalate = 3 * day

	minWithin, maxWithin = time.Hour, 365 * day
	maxReminders         = 10
	maxWhoBytes          = 256
)

// DefaultReminders are those of an endpoint that names none.
var DefaultReminders = []time.Duration{30 * day, 14 * day, 7 * day, day}

func (c *Care) check() error {
	if len(c.Assignee) > maxWhoBytes || len(c.Team) > maxWhoBytes {
		return fault.New(fault.Invalid, "the assignee and the team have at most %d bytes each", maxWhoBytes)
	}
	if c.Within == 0 {
		c.Within = DefaultWithin
	}
	if c.Escalate == 0 {
		c.Escalate = min(DefaultEscalate, c.Within)
	}
	if c.Within < minWithin || c.Within > maxWithin {
		return fault.New(fault.Invalid, "the alarms of an endpoint are to be seen to within %s to %s, and not %s", minWithin, maxWithin, c.Within)
	}
	if c.Escalate < 0 || c.Escalate > c.Within {
		return fault.New(fault.Invalid, "the team hears of an alarm %s before its end at most, which is all the time that there is, and not %s", c.Within, c.Escalate)
	}
	if len(c.Remind) > maxReminders {
		return fault.New(fault.Invalid, "an endpoint has at most %d reminders", maxReminders)
	}
	for _, d := range c.Remind {
		if d < 0 || d > maxWithin {
			return fault.New(fault.Invalid, "a reminder goes out at most %s before the end, and not %s", maxWithin, d)
		}
	}
	return nil
}

// reminders are those of the care, or the usual ones.
func (c *Care) reminders() []time.Duration {
	if len(c.Remind) == 0 {
		return DefaultReminders
	}
	return c.Remind
}

// attend opens, moves or ends the task of an endpoint whose alarms were judged anew. What has risen has to be acknowledged anew.
func (e *Endpoint) attend(risen bool, now time.Time) {
	if e.Level() == "" {
		e.Task = nil
		return
	}
	t := Task{Opened: now}
	if e.Task != nil {
		t = *e.Task
	}
	if due := e.due(&t); !due.Equal(t.Due) {
		t.plan(&e.Care, due, now)
	}
	if risen {
		t.Acknowledged, t.By = time.Time{}, ""
	}
	e.Task = &t
}

// due is by when all should be well.
func (e *Endpoint) due(t *Task) time.Time {
	due := t.Opened.Add(cmp.Or(e.Within, DefaultWithin))
	if o := e.Oldest(); o != nil && o.Leaf.NotAfter.Before(due) {
		due = o.Leaf.NotAfter
	}
	return due
}

// plan sets when people hear of the task until it is due. What the team has heard of it is not told again, unless the end has moved away since.
func (t *Task) plan(c *Care, due, now time.Time) {
	heard := t.Escalated && t.Escalate.Before(now)
	t.Due, t.Reminders = due, schedule.Before(due, now, c.reminders(), cmp.Or(c.Escalate, DefaultEscalate))
	t.Escalated = heard && !t.Escalate.After(now)
}

// Acknowledge notes that the caller has taken the alarms of an endpoint on. One without alarms is a fault.Conflict.
func (s *Service) Acknowledge(ctx context.Context, call *guard.Call, name string) (e *Endpoint, err error) {
	n := need(authz.CertificateUpdate, name)
	if err := s.Guard.Authorize(ctx, call, &n); err != nil {
		return nil, err
	}
	op := store.NewOp(s.Clock.Now())
	err = s.Guard.Commit(ctx, call, n, op, func(tx store.Tx) error {
		if e, err = find(ctx, tx, call.Vault.Vault, name); err != nil {
			return err
		}
		if e.Task == nil {
			return fault.New(fault.Conflict, "the endpoint %q has no alarm: there is nothing to acknowledge", e.Name)
		}
		t := *e.Task
		t.Acknowledged, t.By = op.At, string(call.Caller.Principal)
		e.Task = &t
		row, err := e.row()
		if err != nil {
			return err
		}
		return tx.PutEndpoint(ctx, row)
	})
	if err != nil {
		return nil, err
	}
	e.Revision++
	return e, nil
}
