package rotation

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/keywright/keywright/internal/store"
)

// Task asks a person to do the step of a run that no program can do.
type Task struct {
	ID           string      `json:"-"`
	Run          store.RunID `json:"-"`
	NameKey      string      `json:"object"`
	Assignee     string      `json:"assignee"`
	Team         string      `json:"team,omitempty"`
	Instructions string      `json:"instructions,omitempty"`
	Opened       time.Time   `json:"opened"`
	Due          time.Time   `json:"due"`
	Remind       []time.Time `json:"remind,omitempty"`
	Escalate     time.Time   `json:"escalate"`
	Escalated    bool        `json:"escalated,omitempty"`
	Reminded     int         `json:"reminded,omitempty"`
	// Acknowledged is when somebody said that it is on the way, and By who; Closed when it was over.
	Acknowledged time.Time `json:"acknowledged,omitzero"`
	By           string    `json:"by,omitempty"`
	Closed       time.Time `json:"closed,omitzero"`
}

// newTask is the record of a task for the run's manual step.
func newTask(id string, r *Run, now time.Time) *store.Task {
	m := r.Policy.Manual
	if m == nil {
		m = &Manual{}
	}
	due := m.within().after(now)
	t := &Task{NameKey: r.NameKey, Assignee: m.Assignee, Team: m.Team, Instructions: m.Instructions, Opened: now, Due: due, Escalate: due.Add(-m.Escalate.Std())}
	remind := m.Remind
	if len(remind) == 0 {
		remind = DefaultReminders
	}
	for _, before := range remind {
		if at := due.Add(-before.Std()); at.After(now) {
			t.Remind = append(t.Remind, at)
		}
	}
	slices.SortFunc(t.Remind, time.Time.Compare)
	doc, _ := json.Marshal(t) // of times and texts alone
	return &store.Task{ID: id, Tenant: r.Tenant, Vault: r.Vault, Object: r.Object, Run: r.ID, Open: true, NextAt: t.next(), Doc: doc}
}

// next is when somebody has to hear of the task again; zero for never.
func (t *Task) next() time.Time {
	var at time.Time
	if len(t.Remind) > 0 {
		at = t.Remind[0]
	}
	if !t.Escalated && (at.IsZero() || t.Escalate.Before(at)) {
		at = t.Escalate
	}
	return at
}

// ReadTask reads a stored task.
func ReadTask(s *store.Task) (*Task, error) {
	t := &Task{}
	if err := json.Unmarshal(s.Doc, t); err != nil {
		return nil, fmt.Errorf("reading the task %s: %w", s.ID, err)
	}
	t.ID, t.Run = s.ID, s.Run
	return t, nil
}
