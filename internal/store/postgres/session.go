package postgres

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/store/relational"
)

// session runs the statements of a group's updates on the writer's connection. It implements relational.Conn.
type session struct {
	conn *conn
	// now and at are the database's clock, read when the group had the lock, and when that was by the clock of the process.
	now, at time.Time
	// queue waits to be sent.
	queue []*statement

	// Of the update under way: strict waits for every statement; sent says that the server has its savepoint; broken is the error that its transaction cannot
	// go on after without being taken back.
	strict, sent bool
	broken       error
	// earlier is how much of the queue updates before it left there.
	earlier int
}

// maxQueue bounds the statements that nobody waits for, and with them the memory of an update that loads a store.
const maxQueue = 256

// Savepoints: one for each update, and within it one for each statement of a strict update.
const (
	savepoint     = "SAVEPOINT one"
	rollback      = "ROLLBACK TO SAVEPOINT one"
	release       = "RELEASE SAVEPOINT one"
	innerPoint    = "SAVEPOINT two"
	innerRollback = "ROLLBACK TO SAVEPOINT two"
	innerRelease  = "RELEASE SAVEPOINT two"
)

// begin opens an update.
func (s *session) begin(strict bool) {
	s.strict, s.sent, s.broken, s.earlier = strict, false, nil, len(s.queue)
	s.later(control(savepoint))
}

func (s *session) later(list ...*statement) { s.queue = append(s.queue, list...) }

// flush sends the queue, and behind it the statements of the list, and checks what nobody waited for.
func (s *session) flush(list ...*statement) error {
	if s.broken != nil {
		return s.broken
	}
	waiting := len(s.queue)
	all := append(s.queue, list...)
	if len(all) == 0 {
		return nil
	}
	s.queue, s.sent = nil, true
	failed, err := s.conn.run(context.Background(), all...)
	if err != nil {
		err = s.fail(err, failed < waiting && !all[failed].control)
	}
	// Behind an error of whoever reads the rows too: all statements have run.
	if s.broken == nil && slices.ContainsFunc(all[:waiting], func(q *statement) bool { return q.n < q.least }) {
		s.broken = errAgain
	}
	if s.broken != nil {
		return s.broken
	}
	return err
}

// fail notes an error of the server, after which the transaction has to go back to a savepoint. Of a statement that nobody waited for, and of a key that is
// taken, the closure has to hear in its place.
func (s *session) fail(err error, early bool) error {
	again := early || errors.Is(err, relational.ErrTaken) && !s.strict
	switch {
	case fault.Is(err, fault.Unavailable):
	case again:
		err = errAgain
	case sqlState(err) == "":
		return err // of whoever reads the rows
	}
	s.broken = err
	return err
}

// Query implements relational.Conn.
func (s *session) Query(_ context.Context, query string, args []any, each func(relational.Row) error) error {
	q, err := newStatement(query, args)
	if err != nil {
		return err
	}
	q.each = each
	return s.flush(q)
}

// Exec implements relational.Conn.
func (s *session) Exec(_ context.Context, query string, args []any) (int64, error) {
	q, err := newStatement(query, args)
	if err != nil {
		return 0, err
	}
	if s.strict {
		err = s.guarded(q)
	} else {
		err = s.flush(q)
	}
	return q.n, err
}

// Expect implements relational.Conn.
func (s *session) Expect(ctx context.Context, least int64, query string, args []any) (int64, error) {
	if s.strict {
		return s.Exec(ctx, query, args)
	}
	if s.broken != nil {
		return 0, s.broken
	}
	q, err := newStatement(query, args)
	if err != nil {
		return 0, err
	}
	q.least = least
	s.later(q)
	if len(s.queue) >= maxQueue {
		return least, s.flush()
	}
	return least, nil
}

// guarded runs a statement under a savepoint of its own, so that the transaction goes on after a key that is taken.
func (s *session) guarded(q *statement) error {
	err := s.flush(control(innerPoint), q, control(innerRelease))
	if err == nil || !errors.Is(err, relational.ErrTaken) {
		return err
	}
	s.broken = nil
	if _, lost := s.conn.run(context.Background(), control(innerRollback), control(innerRelease)); lost != nil {
		s.broken = unavailable(lost)
		return s.broken
	}
	return err
}

// keep ends an update whose statements have all done what was expected.
func (s *session) keep() error {
	if !s.sent && len(s.queue) == s.earlier+1 {
		s.queue = s.queue[:s.earlier] // it ran nothing
		return nil
	}
	if slices.ContainsFunc(s.queue, func(q *statement) bool { return !q.control }) {
		if err := s.flush(); err != nil {
			return err
		}
	}
	if s.broken == nil {
		s.later(control(release)) // not with the others: until they are checked there must be a way back
	}
	return s.broken
}

// undo takes an update back.
func (s *session) undo() error {
	if !s.sent {
		s.queue = s.queue[:s.earlier]
		s.broken = nil
		return nil
	}
	s.queue = nil
	broken := s.broken
	s.broken = nil
	if broken == nil {
		s.later(control(rollback), control(release))
		return nil
	}
	_, err := s.conn.run(context.Background(), control(rollback), control(release))
	return err
}

// clock is the database's.
func (s *session) clock(context.Context) (time.Time, error) {
	return s.now.Add(time.Since(s.at)), nil
}
