package tenancy

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/object"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// Start begins to sweep in the background: at once, and then at every interval, until Stop or the end of ctx. A second Start
// without a Stop does nothing.
func (s *Service) Start(ctx context.Context) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stop != nil {
		return
	}
	ctx, s.stop = context.WithCancel(ctx)
	s.done = make(chan struct{})
	go s.run(ctx, s.done)
}

// Stop ends the sweep and waits for a transaction under way. It may be called twice, and before Start.
func (s *Service) Stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stop == nil {
		return
	}
	s.stop()
	<-s.done
	s.stop, s.done = nil, nil
}

func (s *Service) run(ctx context.Context, done chan<- struct{}) {
	defer close(done)
	tick := time.NewTicker(s.SweepInterval)
	defer tick.Stop()
	for {
		if swept, err := s.Sweep(ctx); err != nil && ctx.Err() == nil {
			s.Logger.ErrorContext(ctx, "purging what is over its retention failed; it is tried again at the next sweep", "error", err,
				"vaults", swept.Vaults, "objects", swept.Objects)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// Swept counts what a sweep purged.
type Swept struct{ Vaults, Objects int }

// Sweep purges every deleted vault and object whose retention is over, in the name of the system. What cannot be purged is
// reported after the rest was.
func (s *Service) Sweep(ctx context.Context) (swept Swept, err error) {
	verr := s.sweepVaults(ctx, &swept)
	oerr := s.sweepObjects(ctx, &swept)
	return swept, errors.Join(verr, oerr)
}

func (s *Service) sweepVaults(ctx context.Context, swept *Swept) error {
	var errs []error
	for after := ""; ; {
		var batch []*vault.Vault
		err := s.Store.View(ctx, func(tx store.Tx) (err error) {
			batch, err = tx.Vaults(ctx, store.VaultQuery{Deleted: true, PurgeBefore: s.Clock.Now(), After: after, Limit: sweepBatch})
			return err
		})
		if err != nil {
			return errors.Join(append(errs, err)...)
		}
		for _, v := range batch {
			after = vault.NameKey(v.Name)
			if put, err := s.postponeVault(ctx, v); put || err != nil {
				if err != nil && !errors.Is(err, guard.ErrAgain) {
					errs = append(errs, err)
				}
				continue
			}
			call := guard.System(v.Tenant, "VaultPurge", s.Clock.Now()).About(v)
			did, err := s.purge(ctx, call, guard.Need{Action: authz.DeletedVaultPurge, Scope: authz.VaultScope(v).String()}, v.ID)
			switch {
			case err != nil:
				errs = append(errs, err)
			case did:
				swept.Vaults++
			}
		}
		if len(batch) < sweepBatch {
			return errors.Join(errs...)
		}
	}
}

// sweepBatch is how many entries the sweep reads at once.
const sweepBatch = 100

// toldFailures is how many failures of a sweep are told one by one; of the others, only the number is.
const toldFailures = 10

// sweepObjects purges object by object, each in a transaction with a record of its own. It goes on behind those that fail, however many
// they are: a tenant whose key is out of reach must not keep the others' objects.
func (s *Service) sweepObjects(ctx context.Context, swept *Swept) error {
	var errs []error
	failed := 0
	query := store.ObjectQuery{PurgeBefore: s.Clock.Now(), Limit: sweepBatch}
	for {
		var batch []*vault.Object
		err := s.Store.View(ctx, func(tx store.Tx) (err error) {
			batch, err = tx.Objects(ctx, query)
			return err
		})
		if err != nil {
			return errors.Join(append(errs, err)...)
		}
		for _, o := range batch {
			query.Behind = o
			switch did, err := stepped(s.sweepObject(ctx, o)); {
			case did:
				swept.Objects++
			case err != nil:
				if failed++; failed <= toldFailures {
					errs = append(errs, err)
				}
			}
		}
		if len(batch) < sweepBatch {
			break
		}
	}
	if failed > toldFailures {
		errs = append(errs, fmt.Errorf("%d objects could not be purged in all", failed))
	}
	return errors.Join(errs...)
}

// purges names the operation and action of purging an object of each kind.
var purges = map[vault.Kind]struct {
	operation string
	action    authz.Action
}{
	vault.Secret:      {"SecretPurge", authz.SecretPurge},
	vault.Key:         {"KeyPurge", authz.KeyPurge},
	vault.Certificate: {"CertificatePurge", authz.CertificatePurge},
}

// sweepObject purges one object that was found over its retention. One that is not so any more is a guard.ErrAgain.
func (s *Service) sweepObject(ctx context.Context, o *vault.Object) error {
	var v *vault.Vault
	err := s.Store.View(ctx, func(tx store.Tx) (err error) {
		v, err = tx.Vault(ctx, o.Vault)
		return err
	})
	if fault.Is(err, fault.NotFound) {
		return guard.ErrAgain // the vault was purged meanwhile, and the object with it
	}
	if err != nil {
		return err
	}
	if put, err := s.postponeObject(ctx, v, o); put || err != nil {
		return again(err)
	}
	p, op := purges[o.Kind], store.NewOp(s.Clock.Now())
	call := guard.System(v.Tenant, p.operation, op.At).About(v)
	need := guard.Need{Action: p.action, Kind: o.Kind, Name: o.Name}
	return s.Guard.Commit(ctx, call, need, op, func(tx store.Tx) error {
		found, err := tx.Object(ctx, o.Vault, o.Kind, o.Name)
		// It may have been purged or recovered meanwhile, or be another one that got the name since.
		if fault.Is(err, fault.NotFound) || err == nil && (found.ID != o.ID || found.Deleted == nil || found.Deleted.PurgeAt.After(op.At)) {
			return guard.ErrAgain
		}
		if err != nil {
			return err
		}
		if err := object.CheckHeld(ctx, tx, v, found, op.At); err != nil {
			return guard.ErrAgain // held since it was looked at: the next sweep puts it off
		}
		return tx.DeleteObject(ctx, found, op.At)
	})
}
