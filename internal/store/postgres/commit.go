package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/store/relational"
)

// errLost is a group that is known not to have been stored.
func errLost(err error) *fault.Error {
	return &fault.Error{Kind: fault.Unavailable, Err: err, Message: "the connection to the store's database was lost before anything was stored: repeat the change"}
}

// commit commits a group and returns nil when it is known to be stored.
func (s *Store) commit(g *group) error {
	if f := s.config.Faults.BeforeCommit; f != nil {
		if err := f(); err != nil {
			s.writer.cut()
			return errLost(err)
		}
	}
	end := control("COMMIT")
	if g.entries > 0 {
		position, err := newStatement("UPDATE meta SET value = ? WHERE name = 'position'", []any{int64(g.last)})
		if err != nil {
			return err
		}
		g.session.later(position)
		if s.notifies.Load() {
			hint, err := newStatement("SELECT pg_notify(?, '')", []any{s.config.Schema})
			if err != nil {
				return err
			}
			g.session.later(hint)
		}
	}
	s.writer.warned = false
	all := append(g.session.queue, end)
	failed, err := s.writer.run(context.Background(), all...)
	if err == nil && end.tag != "COMMIT" {
		return errLost(fmt.Errorf("the server answered COMMIT with %s", end.tag))
	}
	if err == nil && s.config.Faults.AfterCommit != nil {
		if err = s.config.Faults.AfterCommit(); err != nil {
			s.writer.cut()
		}
	}
	switch state := sqlState(err); {
	case err == nil && !s.writer.warned:
		return nil
	case state != "" && state != completionUnknown && !s.writer.dead():
		return unavailable(fmt.Errorf("statement %d of %d of the commit: %w", failed+1, len(all), err))
	}
	s.writer.cut()
	if err == nil {
		err = errors.New("the server answered COMMIT with a warning")
	}
	return s.resolve(g, err)
}

// resolve finds out what became of a group whose COMMIT was not answered. Under the lock the lost transaction has ended. What it did is acknowledged
// only after another commit, which is durable only if everything before it is.
func (s *Store) resolve(g *group, lost error) error {
	unknown := &fault.Error{Kind: fault.Unavailable, Err: lost,
		Message: "the connection to the store's database was lost during a commit, and its outcome cannot be found out now: look before you repeat the change"}
	commits := g.commits()
	if len(commits) == 0 {
		return unknown // it entered nothing by which it could be recognised, and may be repeated
	}
	stored, err := s.lookUp(string(commits[0].Op.ID))
	switch {
	case err != nil:
		s.log.Warn("the outcome of a commit is not known", "lost", lost, "error", err)
		return unknown
	case !stored:
		return errLost(lost).Because(repeatable)
	}
	return nil
}

// lookUp reports whether an operation is stored, for good.
func (s *Store) lookUp(op string) (stored bool, err error) {
	if f := s.config.Faults.Resolve; f != nil {
		if err := f(); err != nil {
			return false, err
		}
	}
	if s.writer, err = s.connect(context.Background(), writer); err != nil {
		return false, err
	}
	defer func() {
		if err != nil {
			s.dropWriter()
		}
	}()
	look, err := newStatement("SELECT 1 FROM journal WHERE op = ?", []any{op})
	if err != nil {
		return false, err
	}
	look.each = func(relational.Row) error {
		stored = true
		return nil
	}
	lock := &statement{query: lockPosition}
	touch := &statement{query: "UPDATE meta SET value = value + 1 WHERE name = 'touch'"}
	end := control("COMMIT")
	if _, err := s.writer.run(context.Background(), control("BEGIN ISOLATION LEVEL READ COMMITTED"), lock, look, touch, end); err != nil {
		return false, err
	}
	if end.tag != "COMMIT" || s.writer.warned {
		return false, errors.New("the commit behind it may not be durable either")
	}
	return stored, nil
}
