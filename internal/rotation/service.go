package rotation

import (
	"context"
	"time"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// Service is what doors ask of rotations. Every method is one decision and one audit record, through the guard.
type Service struct{ e *Engine }

// NewService makes the service of an engine.
func NewService(e *Engine) *Service { return &Service{e} }

func live(ctx context.Context, tx store.Tx, v vault.ID, name string) (*vault.Object, error) {
	o, err := tx.Object(ctx, v, vault.Secret, name)
	if isMissing(err) || err == nil && o.Deleted != nil {
		return nil, fault.New(fault.NotFound, "a secret with the name %q was not found in this vault: check the name, or list the vault's secrets, and check which vault is meant", clip(name)).Because("SecretNotFound")
	}
	return o, err
}

// find finds a run of the call's vault. One of another vault is not found.
func (s *Service) find(ctx context.Context, call *guard.Call, id store.RunID) (r *Run, err error) {
	err = s.e.Store.View(ctx, func(tx store.Tx) error {
		stored, err := tx.Run(ctx, id)
		if isMissing(err) || err == nil && stored.Vault != call.Vault.Vault.ID {
			return runNotFound(id)
		}
		if err == nil {
			r, err = ReadRun(stored)
		}
		return err
	})
	return r, err
}

// GetRun returns one run.
func (s *Service) GetRun(ctx context.Context, call *guard.Call, id store.RunID) (r *Run, err error) {
	need := guard.Need{Action: authz.RotationRead, Kind: vault.Secret}
	if r, err = s.find(ctx, call, id); err != nil {
		return nil, s.unknownRun(ctx, call, need, err)
	}
	need.Name = r.NameKey
	return r, s.e.Guard.Read(ctx, call, &need, func() error { return nil })
}

// Runs lists runs of the call's vault, newest first.
func (s *Service) Runs(ctx context.Context, call *guard.Call, q store.RunQuery) (list []*Run, err error) {
	return s.runs(ctx, call, guard.Need{Action: authz.RotationRead, Kind: vault.Secret}, q)
}

func (s *Service) runs(ctx context.Context, call *guard.Call, need guard.Need, q store.RunQuery) (list []*Run, err error) {
	q.Tenant, q.Vault, q.DueBefore = "", call.Vault.Vault.ID, time.Time{}
	err = s.e.Guard.Read(ctx, call, &need, func() error {
		return s.e.Store.View(ctx, func(tx store.Tx) error {
			list = nil
			found, err := tx.Runs(ctx, q)
			for _, stored := range found {
				r, err := ReadRun(stored)
				if err != nil {
					return err
				}
				list = append(list, r)
			}
			return err
		})
	})
	return list, err
}
