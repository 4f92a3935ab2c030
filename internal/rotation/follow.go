package rotation

import (
	"context"
	"time"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/principal"
	"github.com/keywright/keywright/internal/rotator"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// followEvery is how often a run that somebody waits on is looked at: faster than a person sees, and slower than costs anything.
const followEvery = 100 * time.Millisecond

// Follow returns a run as soon as it is not at the revision any more, and at the latest when the time has passed; an ended run returns at once.
func (s *Service) Follow(ctx context.Context, call *guard.Call, id store.RunID, revision int64, most time.Duration) (r *Run, err error) {
	if r, err = s.GetRun(ctx, call, id); err != nil {
		return nil, err
	}
	end := time.NewTimer(most)
	defer end.Stop()
	look := time.NewTicker(followEvery)
	defer look.Stop()
	for r.Revision == revision && r.Open() {
		select {
		case <-ctx.Done():
			return r, nil
		case <-end.C:
			return r, nil
		case <-look.C:
		}
		if r, err = s.find(ctx, call, id); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// RunsOf lists runs of the call's vault, or of one of its secrets alone, newest first.
func (s *Service) RunsOf(ctx context.Context, call *guard.Call, name string, q store.RunQuery) (list []*Run, err error) {
	if name == "" {
		return s.Runs(ctx, call, q)
	}
	need := guard.Need{Action: authz.RotationRead, Kind: vault.Secret, Name: name}
	if err := s.e.Guard.Authorize(ctx, call, &need); err != nil {
		return nil, err
	}
	err = s.e.Store.View(ctx, func(tx store.Tx) error {
		o, err := live(ctx, tx, call.Vault.Vault.ID, name)
		if err == nil {
			q.Object = o.ID
		}
		return err
	})
	if err != nil {
		return nil, s.e.Guard.Refuse(ctx, call, need, err)
	}
	return s.runs(ctx, call, need, q)
}

// Names are the display names of the principals that runs tell of and that still exist: who may see a run may know who stands in it.
func (s *Service) Names(ctx context.Context, call *guard.Call, holders []Holder, runs ...*Run) (map[string]string, error) {
	names := make(map[string]string)
	want := func(id string) {
		if id != "" {
			names[id] = ""
		}
	}
	for _, h := range holders {
		want(h.Principal)
	}
	for _, r := range runs {
		want(r.Start.Actor)
		for _, h := range r.Waiting {
			want(h.Principal)
		}
		for _, o := range r.Orders {
			want(o.By)
		}
		if i := r.Incident; i != nil {
			want(i.By)
			want(i.ClosedBy)
			if i.Cause != nil {
				want(i.Cause.By)
			}
		}
	}
	err := s.e.Store.View(ctx, func(tx store.Tx) error {
		for id := range names {
			p, err := tx.Principal(ctx, call.Vault.Vault.Tenant, principal.ID(id))
			if err == nil {
				names[id] = p.Name
			} else if !isMissing(err) {
				return err
			}
		}
		return nil
	})
	return names, err
}

// GetTask returns one task.
func (s *Service) GetTask(ctx context.Context, call *guard.Call, id string) (t *Task, err error) {
	need := guard.Need{Action: authz.RotationRead, Kind: vault.Secret}
	if t, err = s.task(ctx, call, id); err != nil {
		return nil, s.unknownRun(ctx, call, need, err)
	}
	need.Name = t.NameKey
	return t, s.e.Guard.Read(ctx, call, &need, func() error { return nil })
}

// Rotators describes the adapters that this server has.
func (s *Service) Rotators() []rotator.Description {
	list := make([]rotator.Description, 0, len(s.e.Config.Rotators))
	for _, r := range s.e.Config.Rotators {
		list = append(list, r.Describe())
	}
	return list
}
