package full

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/keywright/keywright/internal/archive"
	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/store"
)

// Report is what a proof of a backup found. It holds no value.
type Report struct {
	Header archive.Header
	// Tables are the sums of the file, which were found to be those of what it holds.
	Tables []archive.TableEnd
	Rows   int64
	// Vaults, Objects and Versions were found in the restored store; Opened of the versions were opened, and Keys of the keyring's keys.
	Vaults, Objects, Versions, Opened, Keys int64
	// Tombstones are in it; none of the objects that they name is.
	Tombstones int64
	// Checkpoints of audit logs were found to be signed by the logs' keys.
	Checkpoints int64
	// Problems says in sentences what is wrong, at most maxProblems of it; Wrong counts them all.
	Problems []string
	Wrong    int64
	Took     time.Duration
}

// OK reports whether the backup was found to be whole.
func (r *Report) OK() bool { return r.Wrong == 0 }

const maxProblems = 20

// Problem adds something that is wrong.
func (r *Report) Problem(format string, args ...any) {
	if r.Wrong++; len(r.Problems) < maxProblems {
		r.Problems = append(r.Problems, fmt.Sprintf(format, args...))
	}
}

// Verify begins a proof of a backup: it is restored into a scratch store, and so many of its values, or all of them when sample is 0, are opened.
func (s *Service) Verify(ctx context.Context, call *guard.Call, id string, sample int) (*Backup, error) {
	need := guard.Need{Action: authz.BackupVerify, Scope: scope, Detail: "backup " + fault.Clip(id)}
	if err := s.Guard.Operate(ctx, call, &need); err != nil {
		return nil, err
	}
	w, owner := &work{s: s}, s.owner()
	b, err := s.get(ctx, id)
	if err != nil {
		return nil, s.Guard.Refuse(ctx, call, need, err)
	}
	f, _, err := s.openFile(b)
	if err != nil {
		return nil, s.Guard.Refuse(ctx, call, need, err)
	}
	err = s.Guard.Commit(ctx, call, need, store.NewOp(s.Clock.Now()), func(tx store.Tx) (err error) {
		if w.lease, err = s.acquire(ctx, tx, owner); err != nil {
			return err
		}
		if b, err = getIn(ctx, tx, id); err != nil {
			return err
		}
		b.Proof, b.open = &Proof{State: Running, Started: clock.Micro(s.Clock.Now()), Node: s.Node}, true
		return b.put(ctx, tx)
	})
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	b.revision++
	w.b = b
	told := *b
	progress := new(archive.Progress)
	w.progress = func(b *Backup) {
		p := *b.Proof
		p.Rows = progress.Rows.Load()
		b.Proof = &p
	}
	var report *Report
	w.start(func(ctx context.Context) (err error) {
		defer f.Close()
		from, err := archive.Open(f, &archive.Unsealing{Ctx: ctx, Seal: s.Seal()})
		if err != nil {
			return err
		}
		if from.Header.ID != id {
			return fault.New(fault.Invalid, "the file is that of another backup, %s", from.Header.ID)
		}
		from.Progress = progress
		report, err = s.Prove(ctx, from, sample)
		return err
	}, func(b *Backup, err error) {
		w.progress(b)
		b.Proof.Ended, b.Proof.Report = clock.Micro(s.Clock.Now()), report
		switch {
		case err != nil:
			b.Proof.State, b.Proof.Error = Failed, s.told("the proof of the backup", id, err)
		case !report.OK():
			b.Proof.State, b.Proof.Error = Failed, fmt.Sprintf("%d things are wrong with it", report.Wrong)
		default:
			b.Proof.State = Done
		}
	})
	return &told, nil
}
