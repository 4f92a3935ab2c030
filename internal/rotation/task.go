package rotation

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/schedule"
	"github.com/keywright/keywright/internal/secret"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// Task asks a person to do the step of a run that no program can do.
type Task struct {
	ID           string      `json:"-"`
	Run          store.RunID `json:"-"`
	Open         bool        `json:"-"`
	NameKey      string      `json:"object"`
	Assignee     string      `json:"assignee"`
	Team         string      `json:"team,omitempty"`
	Instructions string      `json:"instructions,omitempty"`
	Opened       time.Time   `json:"opened"`
	Due          time.Time   `json:"due"`
	schedule.Reminders
	// Acknowledged is when somebody said that it is on the way, and By who; Closed when it was over.
	Acknowledged time.Time `json:"acknowledged,omitzero"`
	By           string    `json:"by,omitempty"`
	Closed       time.Time `json:"closed,omitzero"`
}

// The events of tasks. Their data is a TaskData.
const (
	TaskOpened    EventType = "Keywright.TaskOpened"
	TaskReminder  EventType = "Keywright.TaskReminder"
	TaskEscalated EventType = "Keywright.TaskEscalated"
)

// TaskData is what events of tasks tell.
type TaskData struct {
	Task     string      `json:"task"`
	Run      store.RunID `json:"run"`
	Object   string      `json:"object"`
	Assignee string      `json:"assignee"`
	Team     string      `json:"team,omitempty"`
	Due      time.Time   `json:"due"`
}

// newTask is the task for the run's manual step.
func newTask(id string, r *Run, now time.Time) (*store.Task, *Task) {
	m := r.Policy.Manual
	if m == nil {
		m = &Manual{}
	}
	due := m.within().after(now)
	t := &Task{ID: id, Run: r.ID, Open: true, NameKey: r.NameKey, Assignee: m.Assignee, Team: m.Team, Instructions: m.Instructions, Opened: now, Due: due}
	remind := m.Remind
	if len(remind) == 0 {
		remind = DefaultReminders
	}
	before := make([]time.Duration, len(remind))
	for i, d := range remind {
		before[i] = d.Std()
	}
	t.Reminders = schedule.Before(due, now, before, m.Escalate.Std())
	return &store.Task{ID: id, Tenant: r.Tenant, Vault: r.Vault, Object: r.Object, Run: r.ID}, t
}

// remind takes out what is due, and says which event it is.
func (t *Task) remind(now time.Time) EventType {
	if _, escalates := t.Take(now); escalates {
		return TaskEscalated
	}
	return TaskReminder
}

// next is when somebody has to hear of the task again; zero for never.
func (t *Task) next() time.Time {
	if !t.Open {
		return time.Time{}
	}
	return t.Next()
}

// ReadTask reads a stored task.
func ReadTask(s *store.Task) (*Task, error) {
	t := &Task{}
	if err := json.Unmarshal(s.Doc, t); err != nil {
		return nil, fmt.Errorf("reading the task %s: %w", s.ID, err)
	}
	t.ID, t.Run, t.Open = s.ID, s.Run, s.Open
	return t, nil
}

func putTask(ctx context.Context, tx store.Tx, s *store.Task, t *Task) error {
	doc, err := json.Marshal(t)
	if err != nil {
		return err
	}
	n := *s
	n.Open, n.NextAt, n.Doc = t.Open, t.next(), doc
	return tx.PutTask(ctx, &n)
}

func emitTask(tx store.Tx, id string, s *store.Task, t *Task, what EventType, at time.Time) error {
	data, err := json.Marshal(TaskData{Task: t.ID, Run: t.Run, Object: t.NameKey, Assignee: t.Assignee, Team: t.Team, Due: t.Due})
	if err != nil {
		return err
	}
	tx.Emit(store.Event{ID: id, Type: string(what), Tenant: s.Tenant, Vault: s.Vault, Subject: t.NameKey, At: at, Data: data})
	return nil
}

// ask opens the task of a run that waits for a person.
func (c *commit) ask(ctx context.Context, tx store.Tx) error {
	s, t := newTask(c.task, &c.next, c.op.At)
	if err := emitTask(tx, c.task, s, t, TaskOpened, c.op.At); err != nil {
		return err
	}
	return putTask(ctx, tx, s, t)
}

// closeTasks ends the tasks of a run that does not wait any more.
func closeTasks(ctx context.Context, tx store.Tx, r *Run, now time.Time) error {
	open, err := tx.Tasks(ctx, store.TaskQuery{Run: r.ID, Open: true})
	for _, s := range open {
		t, err := ReadTask(s)
		if err != nil {
			return err
		}
		t.Open, t.Closed = false, now
		if err := putTask(ctx, tx, s, t); err != nil {
			return err
		}
	}
	return err
}

// Tasks lists the tasks of the call's vault in the order of their ids, those after the given one first.
func (s *Service) Tasks(ctx context.Context, call *guard.Call, open bool, after string, limit int) (list []*Task, err error) {
	need := guard.Need{Action: authz.RotationRead, Kind: vault.Secret}
	err = s.e.Guard.Read(ctx, call, &need, func() error {
		return s.e.Store.View(ctx, func(tx store.Tx) error {
			list = nil
			found, err := tx.Tasks(ctx, store.TaskQuery{Vault: call.Vault.Vault.ID, Open: open, After: after, Limit: limit})
			for _, stored := range found {
				t, err := ReadTask(stored)
				if err != nil {
					return err
				}
				list = append(list, t)
			}
			return err
		})
	})
	return list, err
}

// Acknowledge notes that somebody has taken the task on. Reminders of the end still go out.
func (s *Service) Acknowledge(ctx context.Context, call *guard.Call, id string) error {
	t, err := s.task(ctx, call, id)
	if err != nil {
		return s.unknownRun(ctx, call, guard.Need{Action: authz.RotationRun, Kind: vault.Secret}, err)
	}
	need := guard.Need{Action: authz.RotationRun, Kind: vault.Secret, Name: t.NameKey, Reason: "task " + id}
	if err := s.e.Guard.Authorize(ctx, call, &need); err != nil {
		return err
	}
	op := store.NewOp(s.e.now(call.Vault.Vault.Tenant))
	return s.e.Guard.Commit(ctx, call, need, op, func(tx store.Tx) error {
		stored, err := tx.Task(ctx, id)
		if err != nil {
			return err
		}
		t, err := ReadTask(stored)
		if err != nil {
			return err
		}
		if !t.Open {
			return fault.New(fault.Conflict, "the task %s is over", id)
		}
		t.Acknowledged, t.By = op.At, string(call.Caller.Principal)
		return putTask(ctx, tx, stored, t)
	})
}

func (s *Service) task(ctx context.Context, call *guard.Call, id string) (t *Task, err error) {
	err = s.e.Store.View(ctx, func(tx store.Tx) error {
		stored, err := tx.Task(ctx, id)
		if isMissing(err) || err == nil && stored.Vault != call.Vault.Vault.ID {
			return fault.New(fault.NotFound, "the task %q was not found in this vault", clip(id)).Because("TaskNotFound")
		}
		if err == nil {
			t, err = ReadTask(stored)
		}
		return err
	})
	return t, err
}

// Submit hands in the value that a person set at the target. It stays pending until a login proves it; where nothing can look, attested says that
// the person vouches for it. Who submits must be allowed to set the secret.
func (s *Service) Submit(ctx context.Context, call *guard.Call, task string, in secret.Input, attested bool) (*Run, error) {
	t, err := s.task(ctx, call, task)
	if err != nil {
		return nil, s.unknownRun(ctx, call, guard.Need{Action: authz.SecretSet, Kind: vault.Secret}, err)
	}
	need := guard.Need{Action: authz.SecretSet, Kind: vault.Secret, Name: t.NameKey, Reason: "task " + task}
	if err := s.e.Guard.Authorize(ctx, call, &need); err != nil {
		return nil, err
	}
	r, err := s.find(ctx, call, t.Run)
	if err != nil {
		return nil, err
	}
	l, err := r.Policy.Format.parse(in.Value)
	if err != nil {
		return nil, s.e.Guard.Refuse(ctx, call, need, err)
	}
	l.value.Zero()
	moves := s.e.Secrets.Rotation(call.Vault.Vault, r.NameKey, r.Object)
	op := store.NewOp(s.e.now(call.Vault.Vault.Tenant))
	in.Enabled = true
	ver, err := moves.Seal(ctx, op, in)
	if err != nil {
		return nil, s.e.Guard.Refuse(ctx, call, need, err)
	}
	need.Version = ver.ID
	order := Order{Kind: SubmitOrder, At: op.At, By: string(call.Caller.Principal), Version: ver.ID, Attested: attested}
	var n Run
	err = s.e.Guard.Commit(ctx, call, need, op, func(tx store.Tx) error {
		if err := moves.Pend(ctx, tx, ver); err != nil {
			return err
		}
		n, err = take(ctx, tx, r.ID, order)
		return err
	})
	if err == nil {
		s.e.Wake()
	}
	return &n, err
}
