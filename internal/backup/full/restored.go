package full

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/store"
)

// LastRestored returns from which backup the store was restored last; nil when it never was.
func LastRestored(ctx context.Context, s store.Store) (r *Restored, err error) {
	err = s.View(ctx, func(tx store.Tx) error {
		r, err = restoredIn(ctx, tx)
		return err
	})
	return r, err
}

func restoredIn(ctx context.Context, tx store.Tx) (*Restored, error) {
	text, err := tx.Setting(ctx, RestoredSetting)
	if fault.Is(err, fault.NotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	r := new(Restored)
	if err := json.Unmarshal(text, r); err != nil {
		return nil, fmt.Errorf("decoding from which backup the store was restored: %w", err)
	}
	return r, nil
}

// RecordRestore tells the audit log that the store was restored, which no server could do while that happened. It does nothing when it was told before.
func (s *Service) RecordRestore(ctx context.Context) error {
	r, err := LastRestored(ctx, s.Store)
	if err != nil || r == nil || r.Recorded {
		return err
	}
	first, err := s.Guard.Operator(ctx)
	if err != nil {
		return err
	}
	r.Recorded = true
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	now := s.Clock.Now()
	need := guard.Need{Action: authz.BackupWrite, Scope: scope, Reason: "Restored",
		Detail: fmt.Sprintf("backup %s of %s, restored at %s; %d objects or vaults had been purged since and were left out", r.Backup, r.Made.UTC().Format(time.RFC3339),
			r.At.UTC().Format(time.RFC3339), r.Left)}
	return s.Guard.Commit(ctx, guard.System(first, "BackupRestore", now), need, store.NewOp(now), func(tx store.Tx) error {
		there, err := restoredIn(ctx, tx)
		if err != nil || there == nil || there.Recorded {
			return err // another node told it
		}
		return tx.PutSetting(ctx, RestoredSetting, text)
	})
}
