package full

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"filippo.io/age"

	"github.com/keywright/keywright/internal/archive"
	"github.com/keywright/keywright/internal/authz"
	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/guard"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/vault"
)

// Create begins a backup, which is kept for that long; 0 means as configured.
func (s *Service) Create(ctx context.Context, call *guard.Call, keep time.Duration) (*Backup, error) {
	need := guard.Need{Action: authz.BackupWrite, Scope: scope}
	if err := s.Guard.Operate(ctx, call, &need); err != nil {
		return nil, err
	}
	if keep != 0 && keep < leastKeep {
		return nil, s.Guard.Refuse(ctx, call, need, fault.New(fault.Invalid, "the backup is to be kept for %s: give %s or more", keep, leastKeep))
	}
	return s.begin(ctx, call, need, keep, string(call.Caller.Principal))
}

func (s *Service) begin(ctx context.Context, call *guard.Call, need guard.Need, keep time.Duration, by string) (*Backup, error) {
	if s.Dir == "" {
		return nil, s.Guard.Refuse(ctx, call, need, fault.New(fault.Conflict, "no directory is configured for backups of the installation: name one in the server's configuration"))
	}
	if keep == 0 {
		keep = s.Keep
	}
	op := store.NewOp(s.Clock.Now())
	b := &Backup{ID: string(vault.NewVersionID(op.At)), State: Running, Made: op.At, Expires: clock.Micro(op.At.Add(keep)), Node: s.Node, By: by, Release: s.Release,
		Seal: s.Seal().Name(), To: s.Recipients, open: true}
	b.File = "keywright-" + op.At.UTC().Format("20060102T150405Z") + "-" + b.ID + ".kwb"
	w, owner := &work{s: s, b: b}, s.owner()
	need.Detail = "backup " + b.ID
	err := s.Guard.Commit(ctx, call, need, op, func(tx store.Tx) (err error) {
		if w.lease, err = s.acquire(ctx, tx, owner); err != nil {
			return err
		}
		// They are held from before the state is taken.
		if b.Needs, err = needsOf(ctx, tx); err != nil {
			return err
		}
		if err := s.hold(ctx, tx, b); err != nil {
			return err
		}
		return b.put(ctx, tx)
	})
	if err != nil {
		return nil, err
	}
	b.revision++
	told := *b
	progress := new(archive.Progress)
	w.progress = func(b *Backup) { b.Rows, b.Bytes = progress.Rows.Load(), progress.Bytes.Load() }
	var end *archive.End
	w.start(func(ctx context.Context) (err error) {
		end, err = s.write(ctx, &told, progress)
		return err
	}, func(b *Backup, err error) {
		w.progress(b)
		b.Ended = clock.Micro(s.Clock.Now())
		if err != nil {
			b.State, b.Error = Failed, s.told("the backup", b.ID, err)
			if err := s.removeFiles(b); err != nil {
				s.Logger.Error("what there is of a backup that failed could not be removed", "backup", b.ID, "error", err)
			}
			return
		}
		b.State, b.Tables = Done, end.Tables
	})
	return &told, nil
}

// write makes the file: under another name until it is whole and on disk.
func (s *Service) write(ctx context.Context, b *Backup, p *archive.Progress) (_ *archive.End, err error) {
	if err := os.MkdirAll(s.Dir, 0o700); err != nil {
		return nil, fault.Wrap(err, fault.Unavailable, "the directory of backups cannot be made: see the server's log")
	}
	part := s.path(b.File + partSuffix)
	f, err := os.OpenFile(part, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fault.Wrap(err, fault.Unavailable, "the file of the backup cannot be made: see the server's log")
	}
	defer func() {
		if f.Close(); err != nil {
			os.Remove(part) // even where another node ends the row: it does not see this directory
		}
	}()
	recipients := append([]age.Recipient{}, s.recipients...)
	recipients = append(recipients, &archive.Sealed{Ctx: ctx, Seal: s.Seal(), ID: b.ID})
	end, err := archive.Write(ctx, f, archive.Header{ID: b.ID, Made: b.Made, Release: s.Release, Engine: s.Engine, Seal: b.Seal, Node: s.Node}, s.Dumper, recipients, p)
	if err != nil {
		return nil, noRoom(err)
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return nil, noRoom(err)
	}
	if err := os.Rename(part, s.path(b.File)); err != nil {
		return nil, noRoom(err)
	}
	return end, syncDir(s.Dir)
}

// noRoom tells of a file that could not be written.
func noRoom(err error) error {
	var path *os.PathError
	if errors.As(err, &path) {
		return fault.Wrap(err, fault.Unavailable, "the file of the backup could not be written: %s; make room, or name another directory", reasonOf(path))
	}
	return err
}

// reasonOf is the error without the path, which is the machine's.
func reasonOf(err *os.PathError) string { return strings.TrimSpace(fmt.Sprint(err.Err)) }

// Delete removes a backup, its file first. Of one whose file lies on another node, or is lost, it removes what is known alone when forget is set.
func (s *Service) Delete(ctx context.Context, call *guard.Call, id string, forget bool) error {
	need := guard.Need{Action: authz.BackupDelete, Scope: scope, Detail: "backup " + fault.Clip(id)}
	if err := s.Guard.Operate(ctx, call, &need); err != nil {
		return err
	}
	b, err := s.get(ctx, id)
	if err != nil {
		return s.Guard.Refuse(ctx, call, need, err)
	}
	if !forget && b.State == Done && !s.here(b) {
		_, _, err := s.openFile(b)
		return s.Guard.Refuse(ctx, call, need, err)
	}
	return s.remove(ctx, call, need, b)
}

// remove deletes a backup under the lease, by which nobody makes, proves or deletes it meanwhile.
func (s *Service) remove(ctx context.Context, call *guard.Call, need guard.Need, b *Backup) error {
	var lease *store.Lease
	owner := s.owner()
	err := s.update(ctx, func(tx store.Tx) (err error) {
		lease, err = s.acquire(ctx, tx, owner)
		return err
	})
	if err != nil {
		return s.Guard.Refuse(ctx, call, need, err)
	}
	defer s.giveBack(ctx, lease)
	if err := s.removeFiles(b); err != nil {
		return s.Guard.Refuse(ctx, call, need, err)
	}
	return s.Guard.Commit(ctx, call, need, store.NewOp(s.Clock.Now()), func(tx store.Tx) error {
		if err := tx.CheckLease(ctx, lease); err != nil {
			return err
		}
		if err := tx.DeleteBackup(ctx, b.ID); err != nil {
			return err
		}
		return s.release(ctx, tx, b)
	})
}

func (s *Service) giveBack(ctx context.Context, l *store.Lease) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), finishTimeout)
	defer cancel()
	if err := s.update(ctx, func(tx store.Tx) error { return tx.ReleaseLease(ctx, l) }); err != nil {
		s.Logger.WarnContext(ctx, "the lease of the work on backups was not given back: it runs out by itself", "error", err)
	}
}
