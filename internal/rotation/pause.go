package rotation

import (
	"context"
	"encoding/json"
	"errors"
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

// wall is what the engine knows of the clock of its machine.
type wall struct {
	jumps
	mu sync.Mutex
	// kept is what the store holds of it; nil before it was read.
	kept []byte
}

// watchClock looks at the clock. At first it goes on from what the process before knew of it.
func (e *Engine) watchClock(ctx context.Context) error {
	e.wall.mu.Lock()
	defer e.wall.mu.Unlock()
	if e.wall.kept == nil {
		kept := []byte{}
		err := e.Store.View(ctx, func(tx store.Tx) (err error) {
			kept, err = tx.Setting(ctx, e.clockSetting())
			return err
		})
		if err != nil && !isMissing(err) {
			return fmt.Errorf("reading whether the clock was moved: %w", err)
		}
		var s clockState
		if err == nil {
			if err := json.Unmarshal(kept, &s); err != nil {
				return fmt.Errorf("reading whether the clock was moved: %w", err)
			}
		}
		e.wall.restore(s)
		e.wall.kept = append([]byte{}, kept...)
	}
	e.wall.see(e.Clock.Now())
	return nil
}

// keepClock stores what has to outlive the process, when that has changed.
func (e *Engine) keepClock(ctx context.Context) error {
	e.wall.mu.Lock()
	defer e.wall.mu.Unlock()
	doc, err := json.Marshal(e.wall.state())
	if err != nil || string(doc) == string(e.wall.kept) || len(e.wall.kept) == 0 && e.wall.never() {
		return err
	}
	err = e.Store.Update(ctx, store.NewOp(e.Clock.Now()), func(tx store.Tx) error { return tx.PutSetting(ctx, e.clockSetting(), doc) })
	if err == nil {
		e.wall.kept = doc
	}
	return err
}

func (e *Engine) clockSetting() string { return "rotation-clock/" + e.Machine }

// ClockMoved reports by how much the clock was moved when that is why a tenant's schedules stand still; 0 when none do.
func (e *Engine) ClockMoved() time.Duration { return e.wall.doubted() }

// Paused reports by how much the clock was moved when that is why nothing of the tenant is scheduled; 0 when it is not.
func (e *Engine) Paused(ctx context.Context, t vault.TenantID) (time.Duration, error) {
	if err := e.watchClock(ctx); err != nil {
		return 0, err
	}
	return e.wall.paused(t), nil
}

// now is the time by which runs of the tenant are driven. While the clock is moved it is the one from before, counted on: a run in the midst of its change comes
// to the end of that, no deadline passes, no grace ends, and nothing has to be put right when the clock comes back.
func (e *Engine) now(t vault.TenantID) time.Time { return e.wall.by(t, e.Clock.Now()) }

// scheduling returns the tenants for which something may be started, or the one empty id for all. It tells the people of the others.
func (e *Engine) scheduling(ctx context.Context) (list []vault.TenantID, err error) {
	if err := e.watchClock(ctx); err != nil {
		return nil, err
	}
	if e.wall.never() {
		return []vault.TenantID{""}, e.keepClock(ctx)
	}
	var all []*vault.Tenant
	if err := e.Store.View(ctx, func(tx store.Tx) (err error) {
		all, err = tx.Tenants(ctx)
		return err
	}); err != nil {
		return nil, err
	}
	var errs []error
	for _, t := range all {
		off := e.wall.paused(t.ID)
		if off == 0 {
			list = append(list, t.ID)
			continue
		}
		e.Logger.Error("the clock was moved: no rotation of the tenant is scheduled until it is right again, or somebody resumes", "tenant", t.ID, "by", off)
		errs = append(errs, e.tellPause(ctx, t.ID, off))
	}
	return list, errors.Join(append(errs, e.keepClock(ctx))...)
}

// tellPause emits the event of a pause, once for each vault of the tenant in which something is scheduled.
func (e *Engine) tellPause(ctx context.Context, t vault.TenantID, off time.Duration) error {
	if !e.wall.untold(t) {
		return nil
	}
	err := e.emitPause(ctx, t, off)
	if err != nil {
		e.wall.again(t)
	}
	return err
}

func (e *Engine) emitPause(ctx context.Context, t vault.TenantID, off time.Duration) error {
	vaults, err := e.scheduledVaults(ctx, t)
	if err != nil {
		return err
	}
	data, err := json.Marshal(PauseData{By: off.Round(time.Second).String(), Node: e.Machine})
	if err != nil {
		return err
	}
	for batch := range slices.Chunk(vaults, pageSize) {
		op := store.NewOp(e.now(t))
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

// scheduledVaults finds one policy with a due date in each vault of the tenant that has any.
func (e *Engine) scheduledVaults(ctx context.Context, t vault.TenantID) (list []*store.Policy, err error) {
	seen := make(map[vault.ID]bool)
	for p, err := range e.policies(ctx, store.PolicyQuery{Tenant: t, Kind: vault.Secret}) {
		if err != nil {
			return nil, err
		}
		if !p.DueAt.IsZero() && !seen[p.Vault] {
			seen[p.Vault] = true
			list = append(list, p)
		}
	}
	return list, nil
}

// Paused reports by how much the clock of this node was moved when that is why nothing of the caller's tenant is scheduled; 0 when it is not. Every caller may
// know: it is the state of the server.
func (s *Service) Paused(ctx context.Context, call *guard.Call) (by time.Duration, err error) {
	return s.e.Paused(ctx, call.Caller.Tenant)
}

// Resume takes the clock of this node for right and schedules the rotations of the caller's tenant again. The caller has made sure that it is: whatever is due by it
// starts at once, in every vault of the tenant, and so who may is decided for the tenant. It takes a reason, which is recorded. A node that is not
// paused is a fault.Conflict.
func (s *Service) Resume(ctx context.Context, call *guard.Call, reason string) error {
	need := guard.Need{Action: authz.SchedulesResume, Scope: "/", Detail: reason}
	if err := s.e.Guard.Authorize(ctx, call, &need); err != nil {
		return err
	}
	t := call.Caller.Tenant
	by, err := s.e.Paused(ctx, t)
	switch {
	case err != nil:
	case reason == "" || len(reason) > maxTextBytes:
		err = fault.New(fault.Invalid, "say in at most %d bytes why the clock is right: it is recorded", maxTextBytes)
	case by == 0:
		err = fault.New(fault.Conflict, "nothing is paused on this node: its clock is as it was").Because("NotPaused")
	}
	if err != nil {
		return s.e.Guard.Refuse(ctx, call, need, err)
	}
	need.Detail = fmt.Sprintf("with a clock that was moved by %s: %s", by.Round(time.Second), reason)
	if err = s.e.resume(ctx, call, need); err == nil {
		s.e.Logger.Warn("rotations are scheduled again with a clock that was moved: somebody made sure that it is right", "tenant", t, "by", by)
	}
	return err
}

// resume takes the clock for right once that is on record, and in the store, and looks at every open run and every lease of the tenant by it.
func (e *Engine) resume(ctx context.Context, call *guard.Call, need guard.Need) error {
	e.wall.mu.Lock()
	defer e.wall.mu.Unlock()
	t, now := call.Caller.Tenant, e.Clock.Now()
	doc, err := json.Marshal(e.wall.trusting(t, now))
	if err != nil {
		return err
	}
	if err := e.Guard.Commit(ctx, call, need, store.NewOp(now), func(tx store.Tx) error { return tx.PutSetting(ctx, e.clockSetting(), doc) }); err != nil {
		return err
	}
	e.wall.kept = doc
	// Before anybody counts by the new clock. If this fails the pause goes on, and the next look at the clock stores that.
	if err := e.rouse(ctx, t, now, rouseRuns); err != nil {
		return err
	}
	if err := e.rouse(ctx, t, now, rouseLoans); err != nil {
		return err
	}
	e.wall.trust(t, now)
	e.Wake()
	return nil
}

// rouse makes due what waits for an instant that may be far away by the clock of now, some at a time.
func (e *Engine) rouse(ctx context.Context, t vault.TenantID, now time.Time, some func(context.Context, store.Tx, vault.TenantID, time.Time) (int, error)) error {
	for n := pageSize; n == pageSize; {
		op := store.NewOp(now)
		err := e.Store.Update(ctx, op, func(tx store.Tx) (err error) {
			n, err = some(ctx, tx, t, clock.Micro(op.At))
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// never is later than anything waits for.
const never = 100 * 365 * day

// rouseRuns makes runs due that are not waiting for a person, pageSize at most, and returns how many.
func rouseRuns(ctx context.Context, tx store.Tx, t vault.TenantID, now time.Time) (n int, err error) {
	open, err := tx.Runs(ctx, store.RunQuery{Tenant: t, Open: true, DueBefore: now.Add(never)})
	for _, r := range open {
		if !r.NextAt.After(now) || n == pageSize {
			continue // the latest come last
		}
		n++
		r := *r
		r.NextAt = now
		if err := tx.PutRun(ctx, &r); err != nil {
			return n, err
		}
	}
	return n, err
}

// rouseLoans is rouseRuns for leases.
func rouseLoans(ctx context.Context, tx store.Tx, t vault.TenantID, now time.Time) (n int, err error) {
	open, err := tx.Loans(ctx, store.LoanQuery{Tenant: t, DueBefore: now.Add(never)})
	for _, l := range open {
		if !l.NextAt.After(now) || n == pageSize {
			continue
		}
		n++
		l := *l
		l.NextAt = now
		if err := tx.PutLoan(ctx, &l); err != nil {
			return n, err
		}
	}
	return n, err
}
