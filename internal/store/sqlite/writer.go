package sqlite

import (
	"context"
	"errors"
	"fmt"

	"github.com/keywright/keywright/internal/clock"
	"github.com/keywright/keywright/internal/store"
	"github.com/keywright/keywright/internal/store/relational"
)

// maxGroup bounds the updates of one group, and with it how long the first of them waits for the others.
const maxGroup = 256

// errAbandoned ends an update whose closure never returned: it panicked or ended its goroutine.
var errAbandoned = errors.New("the closure of an update did not return")

// update is one Update on its way. Until its group is done it belongs to whoever has the turn.
type update struct {
	op    store.Op
	tx    relational.Tx
	group *group
	// leads is set when it began its group, and so has to end it.
	leads bool
	err   error
	// commit is its entry of the journal, nil when it made none.
	commit *store.Commit
}

// update returns a transaction on the writer's connection, which runs its statements whatever becomes of a context.
func (s *Store) update(op store.Op, last store.Position) relational.Tx {
	return relational.Update(s.writer, s.leaseNow, op, last).Carrying()
}

// lastPosition returns the newest position that was ever given out: entries may have been pruned.
func (s *Store) lastPosition() (store.Position, error) {
	t := s.update(store.Op{}, 0)
	p, err := t.Head(context.Background())
	if err != nil {
		return 0, fmt.Errorf("reading the end of the journal: %w", err)
	}
	return p, nil
}

// group is what is committed together: one transaction of SQLite. The update that began it leads it.
type group struct {
	updates []*update
	// over is set when the group was committed or has failed. It belongs to whoever has the turn.
	over bool
	// err says why the group failed as a whole. It may be read once done is closed, by whoever ends the group.
	err  error
	done chan struct{}
}

// Update implements store.Store. fn must not call the store.
func (s *Store) Update(ctx context.Context, op store.Op, fn func(store.Tx) error) error {
	if err := relational.CheckOp(op); err != nil {
		return err
	}
	op.At = clock.Micro(op.At)
	return s.submit(ctx, op, fn)
}

// probe makes one durable write that the journal does not show.
func (s *Store) probe(ctx context.Context) error {
	return s.submit(ctx, store.Op{}, func(t store.Tx) error { return t.(*relational.Tx).Touch(ctx) })
}

func (s *Store) submit(ctx context.Context, op store.Op, fn func(store.Tx) error) (err error) {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("writing to the store: %w", err)
	}
	if err := s.turn.Take(ctx); err != nil {
		return err
	}
	u := &update{op: op, err: errAbandoned}
	// Deferred, because others wait for the turn and for the group even if fn panics.
	defer func() { err = s.finish(u) }()
	s.join(u)
	if !u.group.over {
		s.perform(u, fn)
	}
	return nil
}

// join adds an update to the open group, or begins one, which the update then leads.
func (s *Store) join(u *update) {
	if s.group == nil {
		s.group, u.leads = &group{done: make(chan struct{})}, true
	}
	u.group = s.group
	u.group.updates = append(u.group.updates, u)
	if u.leads {
		if err := s.begin(); err != nil {
			s.end(u.group, err)
		}
	}
}

// finish passes the turn on and waits for the end of the group.
func (s *Store) finish(u *update) error {
	s.conclude(u)
	<-u.group.done
	if u.group.err != nil {
		return u.group.err
	}
	return u.err
}

// conclude passes the turn on. The leader lets everybody who waits already join, and then commits; it need not wait in line when
// there is nobody. Passing is deferred: a watcher that panics must not stop the store.
func (s *Store) conclude(u *update) {
	defer s.turn.Pass()
	g := u.group
	full := len(g.updates) >= maxGroup
	if u.leads && !g.over && !full {
		s.turn.Yield()
	}
	if !g.over && (u.leads || full) {
		s.end(g, nil)
	}
}

// end commits the group, unless it has failed already, and wakes its callers.
func (s *Store) end(g *group, failure error) {
	g.over, s.group = true, nil
	defer close(g.done)
	if failure == nil {
		failure = s.commitDurably()
		s.doubt.Store(failure != nil)
	}
	if failure != nil {
		s.rollback()
		failure = unavailable(failure)
	}
	g.err = failure
	s.outcome.Set(s.log, failure)
	if failure == nil {
		s.show(g)
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
		t := s.update(store.Op{}, 0)
		return t.Touch(context.Background())
	}
	return nil
}

// catchUp shows the watchers the entries after the last one that they have seen.
func (s *Store) catchUp() error {
	t := s.update(store.Op{}, 0)
	missed, err := t.Commits(context.Background(), s.last, 0)
	if err != nil {
		return err
	}
	for _, c := range missed {
		s.watchers.Show(c)
		s.last = c.Position
	}
	s.last, err = s.lastPosition()
	return err
}

// perform runs one update of the group. The first can take the whole transaction back and needs no savepoint.
func (s *Store) perform(u *update, fn func(store.Tx) error) {
	g := u.group
	savepoint := len(g.updates) > 1
	if savepoint {
		if _, err := s.writer.exec("SAVEPOINT one"); err != nil {
			s.end(g, err)
			return
		}
	}
	u.tx = s.update(u.op, s.last+store.Position(s.pending))
	defer func() {
		if err := s.seal(u, savepoint); err != nil {
			s.end(g, err)
		}
	}()
	u.err = fn(&u.tx)
}

// seal ends an update whose closure has returned, or never will. The error that it returns ends the group; the update's own is
// kept in it.
func (s *Store) seal(u *update, savepoint bool) (err error) {
	t := &u.tx
	t.End()
	if t.Broken() == nil && u.op.ID != "" {
		u.commit, u.err = t.Seal(context.Background(), u.err)
	}
	if err := t.Broken(); err != nil {
		return err
	}
	if u.err != nil {
		u.commit = nil
		if err := s.undo(t, savepoint); err != nil {
			return err
		}
	}
	if u.commit != nil {
		s.pending++
	}
	if savepoint {
		_, err = s.writer.exec("RELEASE one")
	}
	return err
}

// undo takes back what an update wrote.
func (s *Store) undo(t *relational.Tx, savepoint bool) error {
	if savepoint {
		_, err := s.writer.exec("ROLLBACK TO one")
		return err
	}
	if t.Writes() == 0 {
		return nil
	}
	if _, err := s.writer.exec("ROLLBACK"); err != nil {
		return err
	}
	return s.begin()
}

// show tells the watchers of a group that was committed. One that panics must not keep the store from going on.
func (s *Store) show(g *group) {
	var changes int64
	for _, u := range g.updates {
		changes += u.tx.Writes()
		if u.commit != nil {
			s.last = u.commit.Position
		}
	}
	s.pending = 0
	s.wrote(changes)
	for _, u := range g.updates {
		if u.commit != nil {
			s.watchers.Show(u.commit)
		}
	}
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
