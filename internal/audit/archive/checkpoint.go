package archive

import (
	"bytes"
	"context"
	"errors"

	"golang.org/x/mod/sumdb/note"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/merkle"
	"github.com/keywright/keywright/internal/store"
)

// Checkpoint is an audit.CheckpointSink that keeps a checkpoint in the store: who changes the log's files has to change the database as well. It refuses one
// that does not continue what the store has: then two processes write one log, or the directory was set back while it was open.
func (s *Shipper) Checkpoint(ctx context.Context, signed []byte) error {
	origin := s.Log.Origin()
	var known *store.AuditLog
	err := s.Store.View(ctx, func(tx store.Tx) (err error) {
		known, err = tx.AuditLog(ctx, origin)
		return err
	})
	if err != nil {
		return err
	}
	v, err := verifier(known)
	if err != nil {
		return err
	}
	c, err := merkle.OpenCheckpoint(signed, origin, note.VerifierList(v))
	if err != nil {
		return err
	}
	if c.Size == known.Size {
		return nil
	}
	if c.Size < known.Size {
		return forked(origin, known.Size, c.Size)
	}
	if err := Continues(ctx, s.Log, known); err != nil {
		return err
	}
	s.mu.Lock()
	keep := s.Clock.Now().Sub(s.kept) >= KeepEvery
	s.mu.Unlock()
	err = s.Store.Update(ctx, store.NewOp(s.Clock.Now()), func(tx store.Tx) error {
		log, err := tx.AuditLog(ctx, origin)
		if err != nil {
			return err
		}
		if log.Size > c.Size {
			return forked(origin, log.Size, c.Size)
		}
		log.Checkpoint, log.Size = signed, c.Size
		if err := tx.PutAuditLog(ctx, log); err != nil || !keep {
			return err
		}
		err = tx.AddAuditCheckpoint(ctx, &store.AuditCheckpoint{Origin: origin, Size: c.Size, Signed: signed})
		if fault.Is(err, fault.Conflict) {
			return nil // it was stored by a commit that was reported lost
		}
		return err
	})
	if errors.Is(err, store.ErrCommitted) {
		err = nil
	}
	if err == nil && keep {
		s.mu.Lock()
		s.kept = s.Clock.Now()
		s.mu.Unlock()
	}
	return err
}

func forked(origin string, has, signs int64) error {
	return fault.New(fault.Conflict, "the store has a checkpoint of the audit log %s that covers %d records, and this process signs %d: another process writes this log, or the "+
		"directory was set back; stop one of the two", origin, has, signs).Because(SetBack)
}

// CheckpointOrigin returns which log a checkpoint says that it is of: the first line of its text.
func CheckpointOrigin(signed []byte) string {
	origin, _, _ := bytes.Cut(signed, []byte("\n"))
	return string(origin)
}

// signatureMark begins each signature line of a signed note (golang.org/x/mod/sumdb/note).
const signatureMark = "\u2014 "

// SplitCheckpoints takes signed checkpoints that stand one behind the other apart: each ends with its last signature line. What is no checkpoint stays one
// piece, which does not hold then.
func SplitCheckpoints(text []byte) (list [][]byte) {
	begin, signed := 0, false
	for at := 0; at < len(text); {
		end := len(text)
		if i := bytes.IndexByte(text[at:], '\n'); i >= 0 {
			end = at + i + 1
		}
		mark := bytes.HasPrefix(text[at:end], []byte(signatureMark))
		if signed && !mark {
			list, begin = append(list, text[begin:at]), at
		}
		signed, at = mark, end
	}
	if len(bytes.TrimSpace(text[begin:])) > 0 {
		list = append(list, text[begin:])
	}
	return list
}

// Checkpoints lists the newest checkpoints of the other logs that the store knows.
func (r *Reader) Checkpoints(ctx context.Context) (list [][]byte, err error) {
	all, _, err := r.logs(ctx)
	for _, log := range all {
		if log.Origin != r.Own.Origin() && log.Size > 0 {
			list = append(list, log.Checkpoint)
		}
	}
	return list, err
}
