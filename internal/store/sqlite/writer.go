package sqlite

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/fault"
	"github.com/keywright/keywright/internal/store"
)

// maxGroup bounds the updates of one group, and with it how long the first of them waits for the others.
const maxGroup = 256

// errAbandoned ends an update whose closure never returned: it panicked or ended its goroutine.
var errAbandoned = errors.New("the closure of an update did not return")

// request is one Update on its way through the writer.
//
//	waiting ──begin──▶ under way: turn (a transaction, or nil when the group failed before) ─▶ ran ─▶ answer
//	   └────withdraw─▶ withdrawn
type request struct {
	op store.Op
	// begun decides between the writer, which begins the request, and its caller, who may withdraw it before.
	begun  atomic.Bool
	turn   chan *tx
	ran    chan error
	answer chan error

	// The outcome, owned by the writer.
	tx     *tx
	err    error
	commit *store.Commit
}

func newRequest(op store.Op) *request {
	return &request{op: op, turn: make(chan *tx, 1), ran: make(chan error, 1), answer: make(chan error, 1)}
}

// claim reports whether the caller of it is the first, and so decides what becomes of the request.
func (r *request) claim() bool { return r.begun.CompareAndSwap(false, true) }

// Update implements store.Store. fn must not call the store.
func (s *Store) Update(ctx context.Context, op store.Op, fn func(store.Tx) error) error {
	if err := checkOp(op); err != nil {
		return err
	}
	op.At = clock.Micro(op.At)
	return s.submit(ctx, op, fn)
}

// probe makes one durable write that the journal does not show.
func (s *Store) probe(ctx context.Context) error {
	return s.submit(ctx, store.Op{}, func(t store.Tx) error { return t.(*tx).touch() })
}

func (s *Store) submit(ctx context.Context, op store.Op, fn func(store.Tx) error) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("writing to the store: %w", err)
	}
	r := newRequest(op)
	select {
	case s.queue <- r:
	case <-ctx.Done():
		return fmt.Errorf("waiting to write to the store: %w", ctx.Err())
	}
	var t *tx
	select {
	case t = <-r.turn:
	case <-ctx.Done():
		if r.claim() {
			return fmt.Errorf("waiting to write to the store: %w", ctx.Err())
		}
		t = <-r.turn
	}
	if t != nil {
		r.run(t, fn)
	}
	return <-r.answer
}

// run calls the closure in the goroutine of its caller and tells the writer in every case, a panic included.
func (r *request) run(t *tx, fn func(store.Tx) error) {
	err := errAbandoned
	defer func() { r.ran <- err }()
	err = fn(t)
}

// runWriter is the writer goroutine: groups, and between two of them the log's new start.
func (s *Store) runWriter() {
	defer s.background.Done()
	for {
		select {
		case r := <-s.queue:
			s.serve(r)
		case <-s.restartLog:
			s.restart()
		case <-s.stop:
			return
		}
	}
}

// next returns a request that waits already, or nil.
func (s *Store) next() *request {
	select {
	case r := <-s.queue:
		return r
	default:
		return nil
	}
}

// serve runs first and whatever else waits as one group, and answers all of them.
func (s *Store) serve(first *request) {
	var group []*request
	var failure error
	for r := first; r != nil && failure == nil && len(group) < maxGroup; r = s.next() {
		if !r.claim() {
			continue
		}
		if len(group) == 0 {
			failure = s.begin()
		}
		group = append(group, r)
		if failure == nil {
			failure = s.perform(r)
		} else {
			r.turn <- nil
		}
		if failure != nil {
			break
		}
	}
	if len(group) == 0 {
		return
	}
	if failure == nil {
		failure = s.commit(group)
	}
	if failure != nil {
		s.rollback()
		failure = unavailable(failure)
	}
	s.setFailing(failure)
	for _, r := range group {
		if failure != nil {
			r.err = failure
		}
		r.answer <- r.err
	}
}

// begin opens a group. In doubt it first shows the watchers what was stored although it was reported lost, and makes sure
// that the group writes something: its COMMIT then covers the part of the log that the doubt is about.
func (s *Store) begin() error {
	doubt := s.doubt.Load()
	if doubt {
		if err := s.catchUp(); err != nil {
			return err
		}
	}
	if _, err := s.writer.exec("BEGIN IMMEDIATE"); err != nil {
		return err
	}
	if doubt {
		return (&tx{conn: s.writer, writable: true}).touch()
	}
	return nil
}

// catchUp shows the watchers the entries after the last one that they have seen.
func (s *Store) catchUp() error {
	t := &tx{conn: s.writer}
	missed, err := t.Commits(context.Background(), s.last, 0)
	if err != nil {
		return err
	}
	for _, c := range missed {
		s.watchers.show(c)
		s.last = c.Position
	}
	s.last, err = lastPosition(s.writer)
	return err
}

// perform runs one update of the group, in its savepoint. The error that it returns ends the group; the update's own is
// kept in the request.
func (s *Store) perform(r *request) error {
	if _, err := s.writer.exec("SAVEPOINT one"); err != nil {
		r.turn <- nil
		return err
	}
	t := &tx{conn: s.writer, writable: true, op: r.op, last: s.last + store.Position(s.pending)}
	r.tx = t
	r.turn <- t
	err := <-r.ran
	t.over = true
	if t.broken != nil {
		return t.broken
	}
	if r.op.ID != "" {
		r.commit, err = t.seal(err)
	}
	if t.broken != nil {
		return t.broken
	}
	if err != nil {
		r.err, r.commit = err, nil
		if _, err := s.writer.exec("ROLLBACK TO one"); err != nil {
			return err
		}
	}
	if r.commit != nil {
		s.pending++
	}
	_, err = s.writer.exec("RELEASE one")
	return err
}

// commit makes the group durable and shows it to the watchers.
func (s *Store) commit(group []*request) error {
	if err := s.commitDurably(); err != nil {
		s.doubt.Store(true)
		return err
	}
	s.doubt.Store(false)
	var changes int64
	for _, r := range group {
		changes += r.tx.writes
		if r.commit != nil {
			s.watchers.show(r.commit)
			s.last = r.commit.Position
		}
	}
	s.pending = 0
	s.wrote(changes)
	return nil
}

func (s *Store) commitDurably() error {
	if f := s.faults.BeforeCommit; f != nil {
		if err := f(); err != nil {
			return err
		}
	}
	if _, err := s.writer.exec("COMMIT"); err != nil {
		return err
	}
	if f := s.faults.AfterCommit; f != nil {
		return f()
	}
	return nil
}

// rollback ends the group's transaction. SQLite may have ended it already, so its error says nothing.
func (s *Store) rollback() {
	s.pending = 0
	s.writer.exec("ROLLBACK")
}

// setFailing remembers whether the last group could be committed, and logs when that changes.
func (s *Store) setFailing(err error) {
	was := s.failing.Load()
	if err == nil {
		if was != nil {
			s.failing.Store(nil)
			s.log.Info("the store takes writes again")
		}
		return
	}
	if was == nil || fault.As(*was).Message != fault.As(err).Message {
		s.log.Error("the store does not take writes", "error", err)
	}
	s.failing.Store(&err)
}
