package rotation

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// SchedulePaused is the event of a vault with rotation policies whose schedules stand still because the server's clock was moved. Its data is a PauseData.
const SchedulePaused EventType = "Keywright.SchedulePaused"

// PauseData is what the event of a pause tells: by how much the clock was moved, ahead or, with a minus, back, and on which node.
type PauseData struct {
	By   string `json:"by"`
	Node string `json:"node"`
}

// maxJump is how far the clock of the wall may move away from the one that only counts before nothing is started any more: a wrong date would make
// everything due at once.
const maxJump = 5 * time.Minute

// jumps notices that the wall clock was set. Its zero value is ready.
type jumps struct {
	mu   sync.Mutex
	last time.Time
	off  time.Duration
	// trusted is when a person took a moved clock for right.
	trusted time.Time
	// told is true once people know of the pause.
	told bool
}

// see takes an instant with its monotonic reading, and returns how far the wall clock was moved since the first.
func (j *jumps) see(now time.Time) time.Duration {
	j.mu.Lock()
	defer j.mu.Unlock()
	if !j.last.IsZero() {
		j.off += now.Round(0).Sub(j.last.Round(0)) - now.Sub(j.last)
	}
	j.last = now
	if j.off.Abs() <= maxJump {
		j.told = false
	}
	return j.off
}

// trust takes the clock as it is now for the right one.
func (j *jumps) trust(now time.Time) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.off, j.told, j.trusted = 0, false, now.Round(0)
}

// since is when a person last took a moved clock for right.
func (j *jumps) since() time.Time {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.trusted
}

// untold takes the turn to tell people of a pause, if nobody has.
func (j *jumps) untold() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	turn := !j.told
	j.told = true
	return turn
}

// again lets the next one tell, since this one could not.
func (j *jumps) again() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.told = false
}

// Paused reports by how much the clock was moved when that is why nothing is scheduled; 0 when it is not.
func (e *Engine) Paused() time.Duration {
	if off := e.jumps.see(e.Clock.Now()); off.Abs() > maxJump {
		return off
	}
	return 0
}

// now is the time by which runs are driven. While the clock is moved it is the one from before, counted on: a run in the midst of its change comes to the end
// of that, no deadline passes, no grace ends, and nothing has to be put right when the clock comes back.
func (e *Engine) now() time.Time {
	now := e.Clock.Now()
	if off := e.jumps.see(now); off.Abs() > maxJump {
		return now.Round(0).Add(-off)
	}
	return now
}

// Resume takes the clock for right, as a person has made sure, and looks at every open run by it.
func (e *Engine) Resume(ctx context.Context) error {
	now := e.Clock.Now()
	if err := e.rouse(ctx, now); err != nil {
		return err
	}
	e.jumps.trust(now)
	e.Wake()
	return nil
}

// rouse makes all runs due that are not waiting for a person: what they wait for may be far away by the clock of now.
func (e *Engine) rouse(ctx context.Context, now time.Time) error {
	const never = 100 * 365 * day
	for {
		op, n := store.NewOp(now), 0
		err := e.Store.Update(ctx, op, func(tx store.Tx) error {
			n = 0
			// The latest come last: whatever is due already stays as it is.
			open, err := tx.Runs(ctx, store.RunQuery{Open: true, DueBefore: clock.Micro(op.At.Add(never))})
			for _, r := range open {
				if !r.NextAt.After(op.At) || n == agesBatch {
					continue
				}
				n++
				r := *r
				r.NextAt = clock.Micro(op.At)
				if err := tx.PutRun(ctx, &r); err != nil {
					return err
				}
			}
			return err
		})
		if err != nil || n < agesBatch {
			return err
		}
	}
}

// tellPause emits the event of a pause, once for each vault in which something is scheduled.
func (e *Engine) tellPause(ctx context.Context, off time.Duration) error {
	if !e.jumps.untold() {
		return nil
	}
	err := e.emitPause(ctx, off)
	if err != nil {
		e.jumps.again()
	}
	return err
}

func (e *Engine) emitPause(ctx context.Context, off time.Duration) error {
	vaults, err := e.scheduledVaults(ctx)
	if err != nil {
		return err
	}
	data, err := json.Marshal(PauseData{By: off.Round(time.Second).String(), Node: e.Node})
	if err != nil {
		return err
	}
	for batch := range slices.Chunk(vaults, agesBatch) {
		op := store.NewOp(e.now())
		ids := make([]string, len(batch))
		for i := range ids {
			ids[i] = string(vault.NewVersionID(op.At))
		}
		if err := e.Store.Update(ctx, op, func(tx store.Tx) error {
			for i, p := range batch {
				tx.Emit(store.Event{ID: ids[i], Type: string(SchedulePaused), Tenant: p.Tenant, Vault: p.Vault, At: op.At, Data: data})
			}
			return nil
		}); err != nil {
			return err
		}
	}
	return nil
}

// scheduledVaults finds one policy with a due date in each vault that has any.
func (e *Engine) scheduledVaults(ctx context.Context) (list []*store.Policy, err error) {
	seen := make(map[vault.ID]bool)
	q := store.PolicyQuery{Limit: agesBatch}
	for {
		var page []*store.Policy
		err := e.Store.View(ctx, func(tx store.Tx) (err error) {
			page, err = tx.Policies(ctx, q)
			return err
		})
		if err != nil {
			return nil, err
		}
		for _, p := range page {
			if !p.DueAt.IsZero() && !seen[p.Vault] {
				seen[p.Vault] = true
				list = append(list, p)
			}
		}
		if len(page) < q.Limit {
			return list, nil
		}
		q.After = page[len(page)-1].Object
	}
}

// Paused reports by how much the clock of this node was moved when that is why it schedules nothing; 0 when it is not.
func (s *Service) Paused(ctx context.Context, call *guard.Call) (by time.Duration, err error) {
	need := guard.Need{Action: authz.RotationRead, Kind: vault.Secret}
	err = s.e.Guard.Read(ctx, call, &need, func() error {
		by = s.e.Paused()
		return nil
	})
	return by, err
}

// Resume takes the clock of this node for right and schedules again. The caller has made sure that it is: whatever is due by it starts at once. It takes a
// reason, which is recorded. A node that is not paused is a fault.Conflict.
func (s *Service) Resume(ctx context.Context, call *guard.Call, reason string) error {
	need := guard.Need{Action: authz.RotationRepair, Kind: vault.Secret, Reason: "the schedules resume: " + reason}
	return s.e.Guard.Read(ctx, call, &need, func() error {
		by := s.e.Paused()
		switch {
		case reason == "" || len(reason) > maxTextBytes:
			return fault.New(fault.Invalid, "say in at most %d bytes why the clock is right: it is recorded", maxTextBytes)
		case by == 0:
			return fault.New(fault.Conflict, "nothing is paused on this node: its clock is as it was")
		}
		need.Reason = fmt.Sprintf("the schedules resume with a clock that was moved by %s: %s", by.Round(time.Second), reason)
		return s.e.Resume(ctx)
	})
}
